"""Statistics over seeds."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import stdtrit

from sweep.spec import DENSE


@dataclass(frozen=True)
class Summary:
    """Values of n seeds, their mean and the half-width of its 95 % interval; None where n = 1 gives none."""

    mean: float
    half_width: float | None
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)


Cells = Mapping[tuple[str, float], Summary]
"""(pruner, compression) -> summary."""


def summarise(values: Sequence[float]) -> Summary:
    """Mean and Student's t interval: mean ± t(0.975, n - 1) * s / sqrt(n), s the sample standard deviation."""
    n = len(values)
    mean = statistics.fmean(values)
    if n < 2:
        return Summary(mean, None, tuple(values))
    half = float(stdtrit(n - 1, 0.975)) * statistics.stdev(values) / math.sqrt(n)
    return Summary(mean, half, tuple(values))


def cells(rows: Iterable[Mapping[str, Any]], column: str, pruners: Sequence[str]) -> Cells:
    """Summaries of `column` per pruner and compression. The dense runs at compression 0 count for every pruner."""
    values: dict[tuple[str, float], list[float]] = defaultdict(list)
    for row in rows:
        if row[column] is not None:
            for pruner in pruners if row["pruner"] == DENSE else [row["pruner"]]:
                values[pruner, row["compression"]].append(row[column])
    return {key: summarise(found) for key, found in values.items()}


def paired_differences(
    rows: Iterable[Mapping[str, Any]], column: str, pruner: str, baseline: str
) -> dict[float, Summary]:
    """Per compression the summary of `pruner` - `baseline` over the seeds that both have."""
    values: dict[tuple[str, float, int], float] = {
        (r["pruner"], r["compression"], r["seed"]): r[column] for r in rows
    }
    differences: dict[float, list[float]] = defaultdict(list)
    for (name, compression, seed), value in sorted(values.items()):
        if name == pruner and (baseline, compression, seed) in values:
            differences[compression].append(value - values[baseline, compression, seed])
    return {compression: summarise(found) for compression, found in differences.items()}
