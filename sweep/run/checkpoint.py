"""Saving a run in the middle, so that resuming from there equals never having stopped."""

import errno
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

from sweep.core.atomic_files import replacing
from sweep.core.env import checkpoint_seconds
from sweep.core.errors import StorageError, summarise_exception

FORMAT = 2


class Checkpoint:
    """The checkpoint file of one run: saved atomically, at most once a minute, and only believed by the same run.

    Args:
        path: the file.
        identity: what has to be equal for the saved numbers to be the ones this process would have computed (run, data, torch).
        guard: called before each save; raises if this process may no longer write.
    """

    def __init__(
        self, path: Path, identity: dict[str, Any], guard: Callable[[], None] = lambda: None
    ) -> None:
        self.path = path
        self.guard = guard
        self.identity = {"format": FORMAT, **identity}
        self.interval = checkpoint_seconds()
        self._last = time.monotonic()

    def load(self, say: Callable[[str], None]) -> dict[str, Any] | None:
        """What was saved last; None if nothing was, if it belongs to another identity, or (which `say` gets) if it is damaged.

        It was written whole or not at all, so damage is the disk's doing and not a crash's; it costs time, and no number.

        Raises:
            StorageError: the file is there and the system does not give it out.
        """
        if not self.path.exists():
            return None
        try:
            _require_whole(self.path)
            saved = torch.load(self.path, weights_only=True, map_location="cpu")
            return saved["state"] if saved["identity"] == self.identity else None
        except (
            OSError,
            RuntimeError,
            EOFError,
            UnpicklingError,
            LookupError,
            ValueError,
            TypeError,
            zipfile.BadZipFile,
        ) as error:
            problem = f"checkpoint {self.path} cannot be read ({summarise_exception(error)})"
            # damage may point to a place before the file's start, which the system refuses with EINVAL
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise StorageError(
                    f"{problem}; make it readable or delete it, then repeat the launch command with --retry failed"
                ) from error
            say(f"{problem}; restarting from scratch")
            return None

    def due(self) -> bool:
        """Whether a minute (`SWEEP_CHECKPOINT_SECONDS`) has passed since the last save."""
        return time.monotonic() - self._last >= self.interval

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file with `state`: tensors, numbers, text, and lists and dicts of them."""
        self.guard()
        save_tensors(self.path, {"identity": self.identity, "state": state})
        self._last = time.monotonic()

    def delete(self) -> None:
        """Remove the file, once the result is durable."""
        self.path.unlink(missing_ok=True)


def _require_whole(path: Path) -> None:
    """Raise BadZipFile unless every part of a file of `save_tensors` has its checksum, which `torch.load` does not check."""
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            # torch writes neither; of what is marked as a directory it reads nothing and leaves the tensor as memory was
            if part.compress_type != zipfile.ZIP_STORED or part.external_attr:
                raise zipfile.BadZipFile(f"part {part.filename!r} is not a plain file")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"part {damaged!r} does not have its checksum")


def save_tensors(path: Path, content: Any) -> None:
    """`torch.save` through `replacing`. Raises StorageError if the file cannot be written."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        remembering = _Remembering(file)
        try:
            torch.save(content, remembering)  # type: ignore[arg-type]
        except RuntimeError:
            # torch's writer reports a full disk as "unexpected pos 576 vs 534"
            if remembering.failure:
                raise remembering.failure from None
            raise


class _Remembering:
    """Passes bytes on to a file and remembers the system's error."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self.file.flush()
