"""Files of public data sets: found or downloaded, and compared with the published hash."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep.core.errors import DataError


@dataclass(frozen=True)
class PublishedFile:
    """A file of a public data set: where it is and the hash of its content, in the algorithm that its publisher chose."""

    url: str
    digest: str
    algorithm: str = "md5"

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class FileContent:
    """A file as it was when its hash was taken; nothing is read from the disk again after that."""

    path: Path
    content: bytes
    digest: str
    verified: bool


def find_local(directories: Sequence[Path], names: Sequence[str], what: str) -> Path:
    """The first file called one of `names` in the first of `directories` that has any.

    Raises:
        DataError: there is none; `what` says of which data.
    """
    for directory in directories:
        for name in names:
            if (directory / name).is_file():
                return directory / name
    places = " or ".join(str(directory) for directory in directories)
    raise DataError(
        f"{what}: no {' or '.join(names)} in {places}; put the file there, launch or prepare with "
        "another --data-dir (SWEEP_DATA), or without one to download it"
    )


def download(file: PublishedFile, directory: Path, task: str) -> Path:
    """Download `file` into `directory` unless it is there already with the right hash; return its path.

    Raises:
        DataError: no connection, another content than the published one, or a directory that cannot be written.
    """
    import pooch

    try:
        return Path(
            pooch.retrieve(file.url, f"{file.algorithm}:{file.digest}", fname=file.name, path=directory)
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{task}: cannot download {file.url} to {directory}: {reason}; run `sweep prepare --task {task}` where there is "
            "internet, with the same SWEEP_CACHE, or launch with a --data-dir (SWEEP_DATA) that has a copy"
        ) from error


def read_verified(path: Path, published: PublishedFile, allow_unverified: bool) -> FileContent:
    """Read `path` and compare its hash with the published one.

    Raises:
        DataError: it cannot be read, or its hash is another and `allow_unverified` is false.
    """
    content = _read(path)
    digest = hashlib.new(published.algorithm, content, usedforsecurity=False).hexdigest()
    verified = digest == published.digest
    if not verified and not allow_unverified:
        raise DataError(
            f"{path} has {published.algorithm.upper()} {digest}, the published {published.name} has {published.digest}; "
            "replace it, or launch or prepare with --allow-unverified-data (each result then says so)"
        )
    return FileContent(path, content, digest, verified)


def read_own(path: Path) -> FileContent:
    """Read a custom file, which has no published hash. Raises DataError if it cannot be read."""
    content = _read(path)
    return FileContent(path, content, hashlib.sha256(content).hexdigest(), verified=False)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}; fix it, or launch or prepare with another --data-dir (SWEEP_DATA)"
        ) from error


def combined_hash(files: Mapping[str, FileContent]) -> str:
    """One hash (SHA-256, hex) for the content of several files and what each is used for."""
    lines = "".join(f"{use} {file.digest}\n" for use, file in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
