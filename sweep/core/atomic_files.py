"""Files that are either there and whole, or not there: written next to their place, synced, then renamed."""

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sweep.core.errors import FullDiskError, StorageError

# Readers of Parquet directories skip names that start with a dot, and so does everything here.
_PREFIX = ".tmp-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in `path`'s directory; when the block succeeds it becomes `path`, atomically and durably.

    A reader sees the old file or the new one, whole, whatever is killed at any moment. An `OSError` inside the block (a full
    disk, a read-only directory) becomes a `StorageError` that names the file; the old file stays.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # renamed, or never made
            temporary.unlink()


def cannot_write(path: Path, error: OSError) -> StorageError:
    """The one-line form of a failed write, with what to do about it."""
    problem = f"cannot write {path}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FullDiskError(f"{problem}; make room, then repeat the command")
    fix = "use another directory, then repeat the command (`sweep launch` with --retry failed)"
    return StorageError(f"{problem}; {fix}")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 through `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON through `replacing`."""
    # escaped, since a path that is not UTF-8 has characters that cannot be written otherwise
    write_text(path, json.dumps(value, indent=1) + "\n")


def create(path: Path, text: str) -> bool:
    """Create `path` with `text` if nothing is there yet; False if something is. Exactly one of many callers gets True.

    The content is complete from the first moment: a finished file is linked to its name, and `link` fails where the name is
    taken, also on NFS.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        sync(temporary)
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


def remove_leftovers(directory: Path) -> None:
    """Delete what a killed writer left half-written in `directory`."""
    for leftover in directory.glob(f"{_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A name that no other writer has: process numbers repeat between machines and containers."""
    return path.with_name(f"{_PREFIX}{secrets.token_hex(6)}-{path.name}")


def sync(path: Path) -> None:
    """Make a file durable, or, of a directory, the renames in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
