"""Errors a user can mend: one line that names the thing, the value and the mend; no traceback."""

from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import shorten


class SweepError(Exception):
    """Base of every error that is shown as one line. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(SweepError):
    """What was asked cannot be done: unknown name, bad value, a name that is taken."""

    exit_code = 2


class DataError(SweepError):
    """The data is missing, corrupt, unverified or malformed."""

    exit_code = 2


class StorageError(SweepError):
    """A file or folder cannot be read or written: a full disk, missing permission, damage."""

    exit_code = 2


def in_one_line(error: BaseException) -> str:
    """What a traceback ends with, `ValueError: no rows`, without line breaks and in at most 500 letters."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return shorten(text, 500, placeholder=" ...")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the known name nearest to `word`, or an empty string."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""
