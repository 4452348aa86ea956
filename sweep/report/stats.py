"""Statistics over seeds.

- Mean and interval: Student (1908), "The probable error of a mean".
- Prediction interval of one more run: Hahn and Meeker (1991), "Statistical Intervals", section 4.7.
- Paired differences and the sign-flip test: Fisher (1935), "The Design of Experiments", section 21.
- Several tests at once: Holm (1979), "A simple sequentially rejective multiple test procedure".
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweep.store.schema import DENSE


@dataclass(frozen=True)
class Summary:
    """Values of n seeds, their mean and the half-width of its 95 % interval; None where n = 1 gives none."""

    mean: float
    half_width: float | None
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    def contains(self, value: float) -> bool | None:
        """Whether `value` is in the interval; None if there is none."""
        return None if self.half_width is None else abs(value - self.mean) <= self.half_width

    def foresees(self, value: float) -> bool | None:
        """Whether one more run might well give `value`: it is in the 95 % prediction interval; None if there is none.

        mean ± t(0.975, n - 1) * s * sqrt(1 + 1 / n), which is the mean's half-width times sqrt(n + 1).
        """
        if self.half_width is None:
            return None
        return abs(value - self.mean) <= self.half_width * math.sqrt(self.n + 1)


Cells = Mapping[tuple[str, float], Summary]
"""(pruner, compression) -> summary."""


def summarise(values: Sequence[float]) -> Summary:
    """Mean and Student's t interval: mean ± t(0.975, n - 1) * s / sqrt(n), s the sample standard deviation."""
    n = len(values)
    mean = statistics.fmean(values)
    if n < 2:
        return Summary(mean, None, tuple(values))
    # by hand, since `statistics.stdev` takes no NaN, which a run that diverged may have
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    from scipy.special import (
        stdtrit,  # imported late: SciPy takes longer to import than `sweep status` takes to run
    )

    half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
    return Summary(mean, half, tuple(values))


def of_one_metric(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The rows of a task with the metric of the latest, and a line for each of the others: two metrics have no mean."""
    metric = max(rows, key=lambda row: row["finished_at"])["metric"]
    others = [row for row in rows if row["metric"] != metric]
    return [row for row in rows if row["metric"] == metric], [
        f"{row['run_id']}: its metric is {row['metric']}, that of later runs {metric}" for row in others
    ]


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
        (r["pruner"], r["compression"], r["seed"]): r[column] for r in rows if r[column] is not None
    }
    differences: dict[float, list[float]] = defaultdict(list)
    for (name, compression, seed), value in sorted(values.items()):
        if name == pruner and (baseline, compression, seed) in values:
            differences[compression].append(value - values[baseline, compression, seed])
    return {compression: summarise(found) for compression, found in differences.items()}


def drop_from_dense(rows: Iterable[Mapping[str, Any]], column: str, pruner: str) -> dict[float, Summary]:
    """Per compression the summary of `pruner` - the dense network over the seeds that both have."""
    rows = [row for row in rows if row[column] is not None]
    dense = {row["seed"]: row[column] for row in rows if row["pruner"] == DENSE}
    differences: dict[float, list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["compression"], row["seed"])):
        if row["pruner"] == pruner and row["seed"] in dense:
            differences[row["compression"]].append(row[column] - dense[row["seed"]])
    return {compression: summarise(found) for compression, found in differences.items()}


MOST_FLIPPED = 40
"""Seeds up to which `sign_flip_p` is exact in a second: it enumerates 2 ** (n / 2) sums twice."""


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p-value of the exact sign-flip (permutation) test that paired differences are symmetric about zero.

    The fraction of all 2 ** n assignments of signs whose sum is at least as far from zero as the sum observed. Sums of the two
    halves are enumerated and counted against each other, so the cost is that of 2 ** (n / 2).

    Raises:
        ValueError: no difference, or more than `MOST_FLIPPED`.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if not 1 <= n <= MOST_FLIPPED:
        raise ValueError(f"{n} differences; the exact test takes 1 to {MOST_FLIPPED}")
    # sums that differ by rounding alone are the same sum
    observed = abs(values.sum()) - 1e-12 * np.abs(values).sum()
    left, right = _signed_sums(values[: n // 2]), np.sort(_signed_sums(values[n // 2 :]))
    above = len(right) - np.searchsorted(right, observed - left, side="left")
    below = np.searchsorted(right, -observed - left, side="right")
    # where the observed sum is zero, both counts hold everything
    return min(1.0, int(above.sum() + below.sum()) / 2**n)


def _signed_sums(values: np.ndarray) -> np.ndarray:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def smallest_p(n: int) -> float:
    """The smallest p-value that the two-sided sign-flip test of n pairs can give: 2 of its 2 ** n assignments."""
    return 2.0 ** (1 - n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order: the k-th smallest of m times m - k + 1, never falling, at most 1."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def format_interval(
    summary: Summary | None, digits: int = 2, counted: bool = True, signed: bool = False
) -> str:
    """`90.81 ± 0.07 (n=3)`: mean, half-width, number of seeds. One seed has no half-width; None is a dash.

    Args:
        counted: show n.
        signed: for differences: a plus before a positive mean, and a minus sign (U+2212), not a hyphen, before a negative one.
    """
    if summary is None:
        return "–"
    mean = f"{summary.mean:.{digits}f}"
    if signed:
        mean = f"+{mean}" if summary.mean > 0 else mean.replace("-", "−")
    half = "" if summary.half_width is None else f" ± {summary.half_width:.{digits}f}"
    return f"{mean}{half}" + (f" (n={summary.n})" if counted else "")
