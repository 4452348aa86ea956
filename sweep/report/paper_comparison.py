"""The paper's tables next to ours: paper, ours, difference, and whether our runs reproduce the paper's value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from sweep.report.blocks import (
    MISSING,
    Cell,
    Column,
    Line,
    Points,
    Section,
    Table,
    Text,
    compact,
    estimate,
    word,
)
from sweep.report.inputs import TaskResults, cell_name
from sweep.report.paper import TITLE, Figures
from sweep.report.stats import Cells, Summary
from sweep.store.schema import DENSE

FLOPS_TOLERANCE = 0.01
"""The paper rounds to two digits."""

_OTHER_METRICS = {"train_accuracy": "training accuracy", "bleu_paper": "BLEU against raw references"}
"""Other columns that the paper's metric may be, and their names in the report."""


class Verdict(Enum):
    """Whether a value of the paper agrees with our runs. The text is what a table shows."""

    YES = "yes"
    NO = "no"
    NO_INTERVAL = "no interval"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Comparison:
    """A cell of the paper's table and our runs of it.

    published: the paper's value.
    ours: None if the cell was not run.
    reproduced: whether the paper's value agrees with our runs.
    in_interval: for the metric, whether it is in the interval of our mean, which is narrower than what `reproduced` asks.
    """

    pruner: str
    compression: float
    published: float
    ours: Summary | None
    reproduced: Verdict
    in_interval: Verdict | None = None

    @property
    def name(self) -> str:
        return cell_name(self.pruner, self.compression)


def compare_with_paper(task: TaskResults) -> list[Section]:
    """The section on the paper; none for a task that it does not have."""
    paper = task.paper
    if paper is None:
        return []
    sources = {"test_metric": f"test {task.metric}"}
    sources |= {column: name for column, name in _OTHER_METRICS.items() if task.has(column)}
    tables, conclusions = [], []
    for column, name in sources.items():
        found = compare_metric(task, paper.metric, task.cells(column))
        tables.append(_metric_table(task, found, column, name, paper.metric_table))
        inside = sum(each.in_interval is Verdict.YES for each in found)
        conclusions.append(
            _conclusion(
                found,
                f"{paper.metric_table} against our {name}",
                "inside the 95 % prediction interval of a single run",
                f"in the interval of our mean: {inside}",
            )
        )
    found = compare_flops(task, paper.flops_remaining)
    tables.append(_flops_table(task, found, paper.flops_table))
    conclusions.append(
        _conclusion(found, f"FLOPs remaining ({paper.flops_table})", f"within {FLOPS_TOLERANCE}")
    )
    caution = (
        "The paper ran each cell once and gives no spread. Its value therefore counts as reproduced if one more run of ours "
        "could have given it: if it is inside the prediction interval mean ± t·s·√(1 + 1/n), with s the standard deviation of "
        "our n runs. The interval of our mean narrows with every seed, and a single run need not be in it. With few seeds "
        "either can be so wide that it contains anything."
    )
    title = f"{task.name} compared with {TITLE}"
    return [Section(title, [Points(conclusions), *tables, Text(caution)], task.name, 3)]


def compare_metric(task: TaskResults, published: Figures, ours: Cells) -> list[Comparison]:
    """Each cell of the paper against the intervals over our seeds; the dense runs count for the first pruner."""
    found = []
    for pruner, compression, value in cells_of_paper(task, published):
        summary = ours.get((task.pruners[0] if pruner == DENSE else pruner, compression))
        reproduced, in_interval = (
            (_verdict(summary.foresees(value)), _verdict(summary.contains(value)))
            if summary
            else (Verdict.NOT_RUN, Verdict.NOT_RUN)
        )
        found.append(Comparison(pruner, compression, value, summary, reproduced, in_interval))
    return found


def compare_flops(task: TaskResults, published: Figures) -> list[Comparison]:
    """Each cell of the paper against our count, which is the same for every seed."""
    ours = task.cells("flops_remaining_paper")
    found = []
    for pruner, compression, value in cells_of_paper(task, published):
        summary = ours.get((pruner, compression))
        reproduced = _verdict(abs(summary.mean - value) <= FLOPS_TOLERANCE) if summary else Verdict.NOT_RUN
        found.append(Comparison(pruner, compression, value, summary, reproduced))
    return found


def _verdict(agrees: bool | None) -> Verdict:
    if agrees is None:
        return Verdict.NO_INTERVAL
    return Verdict.YES if agrees else Verdict.NO


def cells_of_paper(task: TaskResults, published: Figures) -> list[tuple[str, float, float]]:
    """(pruner, compression, the paper's value) in the order of the grid; the dense network is one cell."""
    found: dict[tuple[str, float], float] = {}
    for (pruner, compression), value in published.items():
        if pruner in task.pruners:
            found[pruner if compression else DENSE, compression] = value
    order = [DENSE, *task.pruners]
    return sorted(
        ((p, c, v) for (p, c), v in found.items()), key=lambda cell: (cell[1], order.index(cell[0]))
    )


def _metric_table(
    task: TaskResults, found: Sequence[Comparison], column: str, name: str, table_name: str
) -> Table:
    lines = [
        Line(
            [
                compact(each.compression),
                word(each.pruner),
                Cell(f"{each.published:.2f}", each.published),
                estimate(each.ours),
                _difference(each, 2),
                *(word(verdict.value) for verdict in (each.in_interval, each.reproduced) if verdict),
            ],
            each.pruner,
        )
        for each in found
    ]
    caption = f"{table_name} of the paper next to our {name} (mean ± half-width of the 95 % t-interval)."
    columns = _columns(f"our {name}", "in interval", "in prediction interval")
    return Table(f"{task.name}_paper_{column}", caption, columns, lines)


def _flops_table(task: TaskResults, found: Sequence[Comparison], table_name: str) -> Table:
    lines = [
        Line(
            [
                compact(each.compression),
                word(each.pruner),
                compact(each.published),
                Cell(f"{each.ours.mean:.4f}", each.ours.mean) if each.ours else Cell(MISSING),
                _difference(each, 4),
                word(each.reproduced.value),
            ],
            each.pruner,
        )
        for each in found
    ]
    caption = (
        f'{table_name} of the paper, its "FLOP sparsity", next to ours: the fraction of the linear layers\' operations that '
        "remains, (kept weights + biases) / (all weights + biases), positions not counted. The mask has the same number of "
        "weights for every seed, so there is no interval."
    )
    columns = _columns("our FLOPs remaining", f"within {FLOPS_TOLERANCE}")
    return Table(f"{task.name}_paper_flops", caption, columns, lines)


def _columns(ours: str, *verdicts: str) -> list[Column]:
    return [
        Column("compression"),
        Column("pruner", numeric=False),
        Column("paper"),
        Column(ours),
        Column("ours − paper"),
        *(Column(verdict, numeric=False) for verdict in verdicts),
    ]


def _difference(comparison: Comparison, digits: int) -> Cell:
    if comparison.ours is None:
        return Cell(MISSING)
    value = comparison.ours.mean - comparison.published
    return Cell(f"{value:+.{digits}f}".replace("-", "−"), value)


def _conclusion(found: Sequence[Comparison], subject: str, how: str, more: str = "") -> str:
    """How many cells are reproduced, and which; those without an answer are counted separately."""
    names: Mapping[Verdict, list[str]] = {
        verdict: [each.name for each in found if each.reproduced is verdict] for verdict in Verdict
    }
    inside, outside = names[Verdict.YES], names[Verdict.NO]
    parts = []
    if inside or outside:
        parts.append(
            f"{len(inside)} of {len(inside) + len(outside)} cells reproduced, {how}{_listed(inside)}"
        )
    if outside:
        parts.append(f"not reproduced: {len(outside)}{_listed(outside)}")
    if parts and more:
        parts.append(more)
    for verdict, meaning in (
        (Verdict.NO_INTERVAL, "one seed, no interval"),
        (Verdict.NOT_RUN, "not run"),
    ):
        if names[verdict]:
            parts.append(f"{meaning}: {len(names[verdict])}")
    return f"{subject}: {'; '.join(parts)}."


def _listed(items: Sequence[str]) -> str:
    return f" ({'; '.join(items)})" if items else ""
