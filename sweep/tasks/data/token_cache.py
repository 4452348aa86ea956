"""Tables that are built once, kept as Arrow files and mapped into memory.

A cache is a directory `<name>-<digest of its key>` with one Arrow IPC file per table and a manifest of their checksums. It is
built in a temporary directory and renamed, so it is there whole or not at all, and any number of processes may build it at once.
"""

import hashlib
import json
import logging
import mmap
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from sweep.core.errors import DataError

logger = logging.getLogger(__name__)

Key = Mapping[str, str | int]
Tables = Mapping[str, pa.RecordBatch]

_MANIFEST = "manifest.json"
_PREFIX = ".tmp-"
_LEFTOVER_SECONDS = 24 * 3600


def load_or_build(root: Path, name: str, key: Key, build: Callable[[], Tables]) -> Tables:
    """The tables kept for `key`, mapped; built first if they are not there or are damaged.

    Args:
        root: directory of caches.
        name: what the tables are of.
        key: everything that the tables depend on.
        build: creates them.

    Raises:
        DataError: they cannot be written or read back.
    """
    directory = root / f"{name}-{_digest(key)}"
    try:
        return _open(directory, key)
    except (OSError, ValueError, LookupError) as error:  # pyarrow's errors are ValueErrors too
        damage = error if directory.exists() else None
    if damage:
        logger.warning("token cache %s is damaged (%s): rebuilding it", directory, _one_line(damage))
    else:
        logger.info("building token cache %s", directory)
    tables = build()
    try:
        if damage:
            _remove(directory)
        _publish(directory, key, tables)
        return _open(directory, key)
    except (OSError, ValueError, LookupError) as error:
        raise DataError(
            f"cannot keep token ids in {directory}: {_one_line(error)}; make room there or set SWEEP_CACHE to another directory"
        ) from error


def _open(directory: Path, key: Key) -> Tables:
    manifest = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
    if manifest["key"] != key:
        raise ValueError(f"made for {manifest['key']}")
    return {name: _map(directory / f"{name}.arrow", checksum) for name, checksum in manifest["crc32"].items()}


def _map(path: Path, checksum: int) -> pa.RecordBatch:
    # opened by Python, since pyarrow takes no path that is not UTF-8
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if zlib.crc32(mapped) != checksum:
        raise ValueError(f"{path.name} has another checksum")
    return pa.ipc.open_file(pa.py_buffer(mapped)).get_batch(0)


def _publish(directory: Path, key: Key, tables: Tables) -> None:
    for leftover in directory.parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # what a killed builder left; a younger one may be at work
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(leftover)
    temporary = _temporary(directory)
    temporary.mkdir(parents=True)
    try:
        checksums = {}
        for name, table in tables.items():
            path = temporary / f"{name}.arrow"
            with open(path, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_batch(table)
            checksums[name] = zlib.crc32(path.read_bytes())
        manifest = json.dumps({"key": dict(key), "crc32": checksums}, indent=1)
        (temporary / _MANIFEST).write_text(manifest, encoding="utf-8")
        try:
            os.rename(temporary, directory)
        except OSError:
            if not directory.exists():
                raise
            logger.info("another process has built %s meanwhile", directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove(directory: Path) -> None:
    """Remove a directory so that no process ever sees half of it."""
    aside = _temporary(directory)
    os.rename(directory, aside)
    shutil.rmtree(aside)


def _temporary(directory: Path) -> Path:
    return directory.with_name(f"{_PREFIX}{secrets.token_hex(8)}")


def _digest(key: Key) -> str:
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:16]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
