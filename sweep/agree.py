"""Saying what a launch will cost, and asking before it costs much."""

import sys

from rich.text import Text

from sweep import show
from sweep.errors import UsageError
from sweep.estimate import Estimate

ASK_ABOVE_HOURS = 24.0
"""Core-hours above which a launch asks on a terminal."""


def told(cost: Estimate, gpus: int = 0) -> str:
    """The estimate in one line; `gpus` is how many each run holds."""
    if not cost.runs:
        return "expected: nothing to do"
    if cost.unknown == cost.runs:
        return "expected: unknown, no run of this kind has finished yet"
    hours = f"{_hours(cost.core_seconds)} core time ({_hours(cost.low)} to {_hours(cost.high)})"
    if gpus:
        hours += f", {_hours(gpus * cost.core_seconds)} GPU time"
    line = f"expected: {hours}, from {cost.samples} finished runs of the same kind"
    return f"{line}; nothing is known of {cost.unknown} of {cost.runs} runs" if cost.unknown else line


def require_consent(cost: Estimate, ask_above: float, yes: bool) -> None:
    """Ask on a terminal whether a launch of more than `ask_above` core-hours shall go on; elsewhere nobody is there to ask.

    Raises:
        UsageError: the answer was no.
    """
    if yes or cost.core_seconds <= 3600 * ask_above or not (sys.stdin and sys.stdin.isatty()):
        return
    show.console.print(Text(f"this is more than {ask_above:g} core-hours. Launch? [y/N] "), end="")
    if input().strip().lower() not in ("y", "yes"):
        raise UsageError(
            "not launched; take fewer runs with --only, or answer y, or give --yes or --ask-above HOURS"
        )


def _hours(seconds: float) -> str:
    return show.duration(seconds) if seconds < 3600 else f"{seconds / 3600:.1f} h"
