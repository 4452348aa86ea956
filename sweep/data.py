"""Where data comes from, how it is verified, and the shape in which tasks hand it out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sweep.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    Batch = tuple[tuple[Tensor, ...], Tensor]
    """`(inputs, target)`, used as `loss(model(*inputs), target)`."""


@dataclass(frozen=True)
class DataSource:
    """Where a task may take its data from. Environment, not science: it never changes a run's numbers.

    Attributes:
        data_dir: folder with local copies; None: download.
        allow_unverified: take local files whose hash is not the published one.
        cache: folder for downloads and token ids.
    """

    data_dir: Path | None
    allow_unverified: bool
    cache: Path

    @classmethod
    def from_env(
        cls,
        data_dir: Path | str | None = None,
        allow_unverified: bool = False,
        cache: Path | str | None = None,
    ) -> DataSource:
        """Fill in what is not given: `SWEEP_DATA`, `SWEEP_CACHE`, else the user's cache folder.

        Raises:
            UsageError: no cache folder is named and there is no home folder.
        """
        local = data_dir or os.environ.get("SWEEP_DATA") or None
        return cls(
            data_dir=Path(local).expanduser().absolute() if local else None,
            allow_unverified=allow_unverified,
            cache=Path(cache or os.environ.get("SWEEP_CACHE") or _user_cache()).expanduser().absolute(),
        )

    @property
    def downloads(self) -> Path:
        """Folder of downloaded files."""
        return self.cache / "downloads"

    @property
    def tokens(self) -> Path:
        """Folder of token caches."""
        return self.cache / "tokens"


def _user_cache() -> Path:
    import pooch

    try:
        return Path(pooch.os_cache("prunesweep")).expanduser()
    except RuntimeError as error:
        raise UsageError(
            "no home folder to keep downloads and token ids in; set SWEEP_CACHE to a folder"
        ) from error


class Split(Protocol):
    """Rows of examples."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def batches(self, batch_size: int, order: Tensor | None = None) -> Sequence[Batch]:
        """The rows as batches, put together when they are asked for.

        Args:
            batch_size: rows in a batch; the last one may have fewer.
            order: row indices, int64, a permutation or a subset; None: all rows as in the file.
        """
        ...


@dataclass(frozen=True)
class Dataset:
    """What a task's `prepare` gives.

    Attributes:
        train, test: the examples.
        data_hash: identifies the content of all files that the examples come from.
        data_verified: whether that content is the published one.
        info: what the task's model needs to know of the data, e.g. `vocab_size`.
    """

    train: Split
    test: Split
    data_hash: str
    data_verified: bool
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def train_rows(self) -> int:
        return len(self.train)

    @property
    def test_rows(self) -> int:
        return len(self.test)


@dataclass(frozen=True)
class PublishedFile:
    """A file of a public data set: where it is and the MD5 of its content."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class FileContent:
    """A file as it was when its hash was taken; nothing is read from the disk again after that."""

    path: Path
    content: bytes
    md5: str
    verified: bool


def find_local(folders: Sequence[Path], names: Sequence[str], what: str) -> Path:
    """The first file called one of `names` in the first of `folders` that has any.

    Raises:
        DataError: there is none; `what` says of which data.
    """
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    places = " or ".join(str(folder) for folder in folders)
    raise DataError(
        f"{what}: no {' or '.join(names)} in {places}; put the file there, name another folder with --data-dir "
        "(SWEEP_DATA), or leave both out to download it"
    )


def download(file: PublishedFile, folder: Path, task: str) -> Path:
    """Download `file` into `folder` unless it lies there already with the right hash; return its path.

    Raises:
        DataError: no connection, another content than the published one, or a folder that cannot be written.
    """
    import pooch

    try:
        return Path(pooch.retrieve(file.url, known_hash=f"md5:{file.md5}", fname=file.name, path=folder))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{task}: cannot download {file.url} to {folder}: {reason}; run `sweep prepare --task {task}` where there is "
            "internet, with the same SWEEP_CACHE, or name a folder that has a copy with --data-dir (SWEEP_DATA)"
        ) from error


def read_verified(path: Path, published: PublishedFile, allow_unverified: bool) -> FileContent:
    """Read `path` and compare its hash with the published one.

    Raises:
        DataError: it cannot be read, or its hash is another and `allow_unverified` is false.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}; mend it or name another folder with --data-dir"
        ) from error
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    verified = md5 == published.md5
    if not verified and not allow_unverified:
        raise DataError(
            f"{path} has MD5 {md5}, the published {published.name} has {published.md5}; replace it, or take it as it is with "
            "--allow-unverified-data (each result then says so)"
        )
    return FileContent(path, content, md5, verified)


def combined_hash(files: Mapping[str, FileContent]) -> str:
    """One hash (SHA-256, hex) for the content of several files and what each is used for."""
    lines = "".join(f"{use} {file.md5}\n" for use, file in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
