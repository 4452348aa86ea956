"""What the runs of a sweep that are still to do will cost, from finished runs of the same kind."""

import itertools
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sweep.errors import SweepError
from sweep.paths import SweepPaths
from sweep.store import read_result

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


def estimate(specs: Iterable[Mapping[str, Any]], finished: Iterable[Mapping[str, Any]]) -> Estimate:
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
        known = [kind for kind in _kinds(spec) if kind in times]
        if known:
            groups[known[0]] += 1
            threads[known[0]] = spec["threads"]
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


def rows_beside(sweep: SweepPaths) -> list[Mapping[str, Any]]:
    """A few results of each sweep beside `sweep`."""
    rows: list[Mapping[str, Any]] = []
    for neighbour in sorted(sweep.folder.parent.glob("*/runs")):
        if neighbour.parent == sweep.folder:
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
    known = {"device": "cpu", **run, "options": options}  # runs of older sweeps do not say on which device
    work = tuple(known[name] for name in _SAME_WORK)
    return [(*work, run["compression"], run["pruner"]), (*work, run["compression"]), work]
