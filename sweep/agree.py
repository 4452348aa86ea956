"""Saying what a launch will cost, and asking before it costs much."""

import sys
from collections.abc import Sequence

from rich.text import Text

from sweep import show
from sweep.errors import UsageError
from sweep.estimate import Estimate, estimate, rows_beside
from sweep.paths import SweepPaths
from sweep.status import RunStatus


def expected(sweep: SweepPaths, statuses: Sequence[RunStatus], todo: Sequence[RunStatus]) -> Estimate:
    """What the runs of `todo` will cost, by what has finished in the sweep (`statuses`) or, failing that, beside it."""
    specs = [status.spec for status in todo]
    done = [status.row for status in statuses if status.state == "done" and status.row]
    cost = estimate(specs, done)
    return estimate(specs, [*done, *rows_beside(sweep)]) if cost.unknown else cost


def told(cost: Estimate, cores: int | None = None, gpus: int = 0) -> str:
    """The estimate in one line.

    Args:
        cost: of the runs to do.
        cores: how many work at a time, where that is known.
        gpus: how many each job holds.
    """
    if not cost.runs:
        return "expected: nothing to do"
    if cost.unknown == cost.runs:
        return "expected: unknown, no run of this kind has finished yet"
    hours = f"{_hours(cost.core_seconds)} core time ({_hours(cost.low)} to {_hours(cost.high)})"
    if gpus:
        hours += f", {_hours(gpus * cost.core_seconds)} GPU time"
    if cores:
        hours += f", {show.duration(cost.wall_seconds(cores))} on {cores} core{'s' if cores > 1 else ''}"
    line = f"expected: {hours}, from {cost.samples} finished run{'s' if cost.samples > 1 else ''} of the same kind"
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


def time_left(sweep: SweepPaths, statuses: Sequence[RunStatus]) -> str:
    """When the sweep may be done, with its spread, if as many cores go on working as do now; empty if none does."""
    running = [status for status in statuses if status.state == "running"]
    cores = sum(status.spec["threads"] for status in running)
    if not cores:
        return ""
    left = [status for status in statuses if status.state in ("running", "pending", "interrupted")]
    cost = expected(sweep, statuses, left)
    if cost.unknown == cost.runs:
        return ""
    # what the running ones have behind them
    begun = sum(status.progress.get("fraction", 0.0) for status in running) / len(left)
    part = 1 - begun
    low, high = (show.duration(part * seconds / cores) for seconds in (cost.low, cost.high))
    wall = show.duration(part * cost.core_seconds / cores)
    unknown = f"; nothing is known of {cost.unknown} of {cost.runs} runs" if cost.unknown else ""
    return (
        f"left: about {wall} ({low} to {high}) with {cores} core{'s' if cores > 1 else ''} at work{unknown}"
    )
