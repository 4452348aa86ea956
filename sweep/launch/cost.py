"""What the runs of a sweep that are still to do will cost, from finished runs of the same kind."""

import itertools
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from sweep.core.errors import SweepError, UsageError
from sweep.store.layout import SweepPaths
from sweep.store.parquet import read_result
from sweep.store.run_record import RunRecord
from sweep.store.status import RunStatus
from sweep.terminal.console import console, duration

_LOOK_AT = 20
"""Results of each other sweep that are looked at."""

# two runs that agree in these take about the same time, whatever is pruned how, and exactly the same work if that agrees too
_SAME_WORK = ("task", "epochs", "batch_size", "eval_batch_size", "precision", "threads", "device", "options")


@dataclass(frozen=True)
class Estimate:
    """Core seconds of some runs.

    Attributes:
        runs: how many runs were asked about.
        unknown: how many of them nothing of their kind has finished for; they are not in the sums.
        samples: finished runs that the estimate rests on.
        core_seconds: mean, and the ends of an interval that holds the sum with 95 % if times are independent and normal.
        longest: wall seconds of the longest of them.
    """

    runs: int
    unknown: int
    samples: int
    core_seconds: float
    low: float
    high: float
    longest: float

    def wall_seconds(self, cores: float) -> float:
        """Wall time where so many cores work at a time: no less than the longest run takes."""
        return max(self.longest, self.core_seconds / cores) if self.runs > self.unknown else 0.0


def estimate(specs: Iterable[RunRecord], finished: Iterable[Mapping[str, Any]]) -> Estimate:
    """Estimate what `specs` will cost from the rows of `finished` runs.

    A run is measured by finished ones of the same work, pruner and compression if there are any, else of the same work and
    compression, else of the same work. The spread of a sum of n times, each from a group of m with standard deviation s, is
    s * sqrt(n + n**2 / m): n times vary, and the mean is itself uncertain.
    """
    times: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in finished:
        for kind in _kinds(row):
            times[kind].append(row["seconds_total"])
    specs = list(specs)
    groups: dict[tuple[Any, ...], int] = defaultdict(int)
    threads: dict[tuple[Any, ...], int] = {}
    unknown = 0
    for spec in specs:
        known = [kind for kind in _kinds(spec.to_json()) if kind in times]
        if known:
            groups[known[0]] += 1
            threads[known[0]] = spec.threads
        else:
            unknown += 1
    total = variance = longest = 0.0
    for kind, number in groups.items():
        seen = times[kind]
        mean = statistics.fmean(seen)
        # one finished run says nothing of the spread: as much as the time itself
        spread = statistics.stdev(seen) if len(seen) > 1 else mean / 2
        total += threads[kind] * number * mean
        variance += (threads[kind] * spread) ** 2 * (number + number**2 / len(seen))
        longest = max(longest, mean)
    half = 1.96 * math.sqrt(variance)
    samples = sum(len(times[kind]) for kind in groups)
    return Estimate(len(specs), unknown, samples, total, max(0.0, total - half), total + half, longest)


def rows_of_other_sweeps(sweep: SweepPaths) -> list[Mapping[str, Any]]:
    """A few results of each other sweep in the same directory."""
    rows: list[Mapping[str, Any]] = []
    for neighbour in sorted(sweep.directory.parent.glob("*/runs")):
        if neighbour.parent == sweep.directory:
            continue
        for file in itertools.islice(neighbour.glob("*/result.parquet"), _LOOK_AT):
            try:
                row = read_result(file)
            except SweepError:
                continue  # `sweep status` and reports name it; here it only has no say
            if row:
                rows.append(row)
    return rows


def _kinds(run: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The groups that a specification or a row belongs to, the narrowest first."""
    options = (
        run["options"] if isinstance(run["options"], str) else json.dumps(run["options"], sort_keys=True)
    )
    work = tuple({**run, "options": options}[name] for name in _SAME_WORK)
    return [(*work, run["compression"], run["pruner"]), (*work, run["compression"]), work]


def expected(sweep: SweepPaths, statuses: Sequence[RunStatus], todo: Sequence[RunStatus]) -> Estimate:
    """What the runs of `todo` will cost, by what has finished in the sweep (`statuses`) or, failing that, in others."""
    specs = [status.spec for status in todo]
    done = [status.row for status in statuses if status.state == "done" and status.row]
    cost = estimate(specs, done)
    return estimate(specs, [*done, *rows_of_other_sweeps(sweep)]) if cost.unknown else cost


def format_cost(cost: Estimate, cores: int | None = None, gpus: int = 0) -> str:
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
        hours += f", {duration(cost.wall_seconds(cores))} on {cores} core{'s' if cores > 1 else ''}"
    line = f"expected: {hours}, from {cost.samples} finished run{'s' if cost.samples > 1 else ''} of the same kind"
    return f"{line}; nothing is known of {cost.unknown} of {cost.runs} runs" if cost.unknown else line


def require_consent(cost: Estimate, ask_above: float, yes: bool) -> None:
    """Ask on a terminal whether a launch of more than `ask_above` core-hours is to start; elsewhere there is nobody to ask.

    Raises:
        UsageError: the answer was no.
    """
    if yes or cost.core_seconds <= 3600 * ask_above or not (sys.stdin and sys.stdin.isatty()):
        return
    console.print(Text(f"this is more than {ask_above:g} core-hours. Launch? [y/N] "), end="")
    if input().strip().lower() not in ("y", "yes"):
        raise UsageError(
            "not launched; take fewer runs with --only, or answer y, or give --yes or --ask-above HOURS"
        )


def _hours(seconds: float) -> str:
    return duration(seconds) if seconds < 3600 else f"{seconds / 3600:.1f} h"


def time_left(sweep: SweepPaths, statuses: Sequence[RunStatus]) -> str:
    """When the sweep may be done, with its spread, if as many cores keep working as do now; empty if none does."""
    running = [status for status in statuses if status.state == "running"]
    cores = sum(status.spec.threads for status in running)
    if not cores:
        return ""
    left = [status for status in statuses if status.state in ("running", "pending", "interrupted")]
    cost = expected(sweep, statuses, left)
    if cost.unknown == cost.runs:
        return ""
    finished = sum(status.progress.get("fraction", 0.0) for status in running) / len(left)
    part = 1 - finished
    low, high = (duration(part * seconds / cores) for seconds in (cost.low, cost.high))
    wall = duration(part * cost.core_seconds / cores)
    unknown = f"; nothing is known of {cost.unknown} of {cost.runs} runs" if cost.unknown else ""
    return f"left: about {wall} ({low} to {high}) with {cores} busy core{'s' if cores > 1 else ''}{unknown}"
