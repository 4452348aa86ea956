"""Files that are either there and whole, or not there: written beside their place, synced, then renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sweep.errors import SweepError

# Readers of Parquet folders skip names that start with a dot, and so does everything here.
_PREFIX = ".tmp-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in `path`'s folder; when the block succeeds it becomes `path`, atomically and durably.

    A reader sees the old file or the new one, whole, whatever is killed at any moment. An `OSError` inside the block (a full
    disk, a read-only folder) becomes a `SweepError` that names the file; the old file stays.
    """
    temporary = path.with_name(f"{_PREFIX}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # renamed, or never made
            temporary.unlink()


def cannot_write(path: Path, error: OSError) -> SweepError:
    """The one-line form of a failed write, with what to do about it."""
    mend = "make room or choose another folder with --results, then repeat the command"
    return SweepError(f"cannot write {path}: {error.strerror or error}; {mend}")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 through `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON through `replacing`."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def create(path: Path, text: str) -> bool:
    """Create `path` with `text` if nothing is there yet; False if something is. Exactly one of many callers gets True.

    The content is complete from the first moment: a finished file is linked to its name, and `link` fails where the name is
    taken, also on NFS.
    """
    temporary = path.with_name(f"{_PREFIX}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        _sync(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return True


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed writer left half-written in `folder`."""
    for leftover in folder.glob(f"{_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
