"""What commands end with."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    OK = 0  # all complete, or all submitted
    FAILED = 1  # some run failed
    USAGE = 2  # usage, configuration or data
    INCOMPLETE = 3  # some run is not complete
    INTERRUPTED = 130  # Ctrl-C


BUSY = 75
"""`python -m sweep.run`: another attempt holds the run (EX_TEMPFAIL)."""
