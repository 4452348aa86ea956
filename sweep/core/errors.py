"""Errors a user can fix: one line that names the thing, the value and the fix; no traceback."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum, StrEnum
from pathlib import Path
from textwrap import shorten
from traceback import extract_tb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError  # which would be half of what `sweep status` imports


class ExitCode(IntEnum):
    """Exit codes of every command."""

    OK = 0  # all complete, or all submitted
    FAILED = 1  # some run failed
    USAGE = 2  # usage, configuration or data
    INCOMPLETE = 3  # some run is not complete
    INTERRUPTED = 130  # Ctrl-C


BUSY = 75
"""`python -m sweep.run`: another attempt holds the run (EX_TEMPFAIL)."""


class Cause(StrEnum):
    """Why an attempt at a run ended, or why its job does not start, where something depends on it.

    The value is what an attempt's file and `sweep status --json` hold; every other end has no cause.
    """

    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_GPU_MEMORY = "out_of_gpu_memory"
    NODE_FAILURE = "node_failure"
    TIME_LIMIT = "time_limit"
    STOP_SIGNAL = "stop_signal"
    """SIGTERM or SIGUSR2, with which Slurm announces the end of a job."""
    NOT_FINITE = "not_finite"
    """A loss or a metric is infinite or not a number."""
    FULL_DISK = "full_disk"
    FAILED_START = "failed_start"
    """Slurm holds the job, since the node that was to start it could not."""

    @classmethod
    def of_signal(cls, name: str) -> "Cause | None":
        """`STOP_SIGNAL` for the name of such a signal."""
        return cls.STOP_SIGNAL if name in ("SIGTERM", "SIGUSR2") else None


class SweepError(Exception):
    """Base of every error that is shown as one line.

    `exit_code` is what the command line ends with, `cause` what an attempt that it ends records.
    """

    exit_code = ExitCode.FAILED
    cause: Cause | None = None


class UsageError(SweepError):
    """What was asked cannot be done: unknown name, bad value, a name that is taken."""

    exit_code = ExitCode.USAGE


class DataError(SweepError):
    """The data is missing, corrupt, unverified or malformed."""

    exit_code = ExitCode.USAGE


class StorageError(SweepError):
    """A file or directory cannot be read or written: a full disk, missing permission, damage."""

    exit_code = ExitCode.USAGE


class FullDiskError(StorageError):
    """There is no room, or no quota, for a file."""

    cause = Cause.FULL_DISK


class OutOfMemoryError(SweepError):
    """This process may have no more memory for this run."""

    cause = Cause.OUT_OF_MEMORY


class OutOfGpuMemoryError(SweepError):
    """A GPU has no memory left for this run."""

    cause = Cause.OUT_OF_GPU_MEMORY


class NotFiniteError(SweepError):
    """A loss or a metric is infinite or not a number."""

    cause = Cause.NOT_FINITE


def summarise_exception(error: BaseException) -> str:
    """What a traceback ends with, `ValueError: no rows`, without line breaks and in at most 500 characters."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return printable(shorten(text, 500, placeholder=" ..."))


def printable(text: str) -> str:
    """`text` without what would move the cursor, change colours or name the window of a terminal that shows it."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\ufffd" for character in text
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the known name nearest to `word`, or an empty string."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def source_line(path: Path, error: BaseException) -> str:
    """`", line N"` for the last line of `path` on the way to `error`."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def summarise_validation(error: "ValidationError") -> str:
    """The first fault of a pydantic error as `field = value: what is wrong`."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("missing", "extra_forbidden"):
        return f"{where}: {what.lower()}"
    return f"{where} = {cut(repr(first['input']))}: {what[0].lower()}{what[1:]}"


def cut(text: str, most: int = 200) -> str:
    """The beginning of what a user gave, for a message of one line."""
    return text if len(text) <= most else f"{text[:most]}.."
