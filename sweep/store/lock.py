"""One process at a time for what is in a directory, and who that is."""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sweep.core.atomic_files import cannot_write
from sweep.core.errors import ExitCode, StorageError, cut

PATIENCE = 600.0
"""Seconds after which whoever waits gives up."""
_QUIET = 2.0
"""Seconds of waiting before anything is said."""
_POLL_SECONDS = 0.1


class Locked(StorageError):
    """Another process holds the lock."""

    exit_code = ExitCode.INCOMPLETE


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def locked(
    directory: Path, patience: float = PATIENCE, say: Callable[[str], None] = _to_stderr
) -> Iterator[None]:
    """Hold the lock of `directory`; the system releases a dead process's.

    Args:
        directory: created if it is not there.
        patience: seconds to wait for another process; 0: none.
        say: takes a line about whom it waits for, after two seconds.

    Raises:
        Locked: another process still holds it.
        StorageError: the file system has no locks, or the directory cannot be written.
    """
    lock = directory / ".lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # nobody else may open it: whoever can, can hold it
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise cannot_write(lock, error) from error
    try:
        _acquire(file, lock, patience, say)
        yield
    finally:
        os.close(file)


def _acquire(file: int, lock: Path, patience: float, say: Callable[[str], None]) -> None:
    begin = time.monotonic()
    said = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            waited = time.monotonic() - begin
            if waited >= patience:
                after = f" after {patience:.0f} s" if patience else ""
                raise Locked(f"{_holder(lock)} holds {lock}{after}; end it, or try again later") from None
            if waited >= _QUIET and not said:
                say(f"waiting for {_holder(lock)}, which holds {lock}")
                said = True
            time.sleep(_POLL_SECONDS)
        except OSError as error:
            raise StorageError(
                f"cannot lock {lock}: {error.strerror}; its file system has no locks: have it mounted with them "
                "(Lustre: -o flock), or launch with another --results"
            ) from error
    _sign(file)


def _sign(file: int) -> None:
    """Write into the lock who holds it; a full disk is no reason not to hold it."""
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().isoformat(timespec="seconds"),
        "command": " ".join(sys.argv[:2]),
    }
    try:
        if os.fstat(file).st_uid == os.geteuid():
            os.fchmod(file, 0o600)  # those of earlier versions are open to all
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(holder).encode(), 0)
    except OSError:
        return


def _holder(lock: Path) -> str:
    """Who holds a lock, in words."""
    try:
        found = json.loads(lock.read_text(encoding="utf-8"))
        return cut(f"process {found['pid']} on {found['host']} ({found['command']}, since {found['since']})")
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
