"""The paper's tables beside ours: paper, ours, difference, and whether the paper's number is one that our runs could give."""

from collections.abc import Sequence

from sweep.report.blocks import Cell, Column, Line, Points, Section, Table, Text, compact, estimate, word
from sweep.report.inputs import TaskResults
from sweep.report.paper import TITLE, Figures
from sweep.report.stats import Cells
from sweep.store.schema import DENSE

FLOPS_TOLERANCE = 0.01
"""The paper rounds to two digits."""

_PAPERS_WAY = {"train_accuracy": "training accuracy", "bleu_paper": "BLEU against raw references"}
"""Other columns that the paper's figures may be, and what they are called here."""


def beside_the_paper(task: TaskResults) -> list[Section]:
    """The section on the paper; none for a task that it does not have."""
    if task.paper is None:
        return []
    sources = {"test_metric": f"test {task.metric}"}
    sources |= {column: name for column, name in _PAPERS_WAY.items() if task.has(column)}
    tables, verdicts = [], []
    for column, name in sources.items():
        table = _against(task, task.paper.metric, task.cells(column), column, name, task.paper.metric_table)
        tables.append(table)
        subject = f"{task.paper.metric_table} against our {name}"
        within = sum(line.cells[-2].text == "yes" for line in table.lines)
        more = f"in the interval of our mean: {within}"
        verdicts.append(_verdict(table, subject, "lying where 95 % of single runs would", more))
    flops = _flops(task, task.paper.flops_remaining, task.paper.flops_table)
    how = f"within {FLOPS_TOLERANCE}"
    verdicts.append(_verdict(flops, f"FLOPs remaining ({task.paper.flops_table})", how))
    caution = (
        "The paper ran each cell once and gives no spread. So a number of it counts as reproduced where one more run of ours "
        "could have given it: in mean ± t·s·√(1 + 1/n), with s the deviation of our n runs. The interval of our mean narrows "
        "with every seed, and a single run need not lie in it. With few seeds either can be so wide that it holds anything."
    )
    title = f"{task.name} beside {TITLE}"
    return [Section(title, [Points(verdicts), *tables, flops, Text(caution)], task.name, 3)]


def cells_of_paper(task: TaskResults, published: Figures) -> list[tuple[str, float, float]]:
    """(pruner, compression, the paper's number) in the order of the grid; the dense network is one cell."""
    found: dict[tuple[str, float], float] = {}
    for (pruner, compression), value in published.items():
        if pruner in task.pruners:
            found[pruner if compression else DENSE, compression] = value
    order = [DENSE, *task.pruners]
    return sorted(
        ((p, c, v) for (p, c), v in found.items()), key=lambda cell: (cell[1], order.index(cell[0]))
    )


def _against(
    task: TaskResults, published: Figures, ours: Cells, column: str, name: str, table_name: str
) -> Table:
    lines = []
    for pruner, compression, value in cells_of_paper(task, published):
        summary = ours.get((task.pruners[0] if pruner == DENSE else pruner, compression))
        held = [summary.contains(value), summary.foresees(value)] if summary else []
        answers = [{True: "yes", False: "no", None: "no interval"}[each] for each in held] or ["not run"] * 2
        difference = Cell("–") if summary is None else _signed(summary.mean - value, 2)
        cells = [
            compact(compression),
            word(pruner),
            Cell(f"{value:.2f}", value),
            estimate(summary),
            difference,
        ]
        lines.append(Line([*cells, *map(word, answers)], pruner))
    caption = f"{table_name} of the paper beside our {name} (mean ± half-width of the 95 % t-interval)."
    return Table(
        f"{task.name}_paper_{column}",
        caption,
        _columns(f"our {name}", "within our interval", "within our single runs"),
        lines,
    )


def _flops(task: TaskResults, published: Figures, table_name: str) -> Table:
    ours = task.cells("flops_remaining_paper")
    lines = []
    for pruner, compression, value in cells_of_paper(task, published):
        summary = ours.get((pruner, compression))
        if summary is None:
            cells, answer = [Cell("–"), Cell("–")], "not run"
        else:
            difference = summary.mean - value
            cells = [Cell(f"{summary.mean:.4f}", summary.mean), _signed(difference, 4)]
            answer = "yes" if abs(difference) <= FLOPS_TOLERANCE else "no"
        lines.append(Line([compact(compression), word(pruner), compact(value), *cells, word(answer)], pruner))
    caption = (
        f'{table_name} of the paper, its "FLOP sparsity", beside ours: the fraction of the linear layers\' operations that '
        "remains, (kept weights + biases) / (all weights + biases), positions not counted. The mask has the same number of "
        "weights for every seed, so there is no interval."
    )
    columns = _columns("our FLOPs remaining", f"within {FLOPS_TOLERANCE}")
    return Table(f"{task.name}_paper_flops", caption, columns, lines)


def _columns(ours: str, *within: str) -> list[Column]:
    return [
        Column("compression"),
        Column("pruner", numeric=False),
        Column("paper"),
        Column(ours),
        Column("ours − paper"),
        *(Column(each, numeric=False) for each in within),
    ]


def _verdict(table: Table, subject: str, how: str, more: str = "") -> str:
    """How many cells of the table are reproduced, and which; what cannot be said of is counted apart."""
    answers = {"yes": [], "no": [], "no interval": [], "not run": []}  # type: dict[str, list[str]]
    for line in table.lines:
        answers[line.cells[-1].text].append(_cell_name(line))
    inside, outside = answers["yes"], answers["no"]
    parts = []
    if inside or outside:
        parts.append(
            f"{len(inside)} of {len(inside) + len(outside)} cells reproduced, {how}{_listed(inside)}"
        )
    if outside:
        parts.append(f"not reproduced: {len(outside)}{_listed(outside)}")
    if parts and more:
        parts.append(more)
    for answer, meaning in (("no interval", "one seed, no interval"), ("not run", "not run")):
        if answers[answer]:
            parts.append(f"{meaning}: {len(answers[answer])}")
    return f"{subject}: {'; '.join(parts)}."


def _cell_name(line: Line) -> str:
    compression, pruner = line.cells[0].text, line.cells[1].text
    return pruner if pruner == DENSE else f"{pruner} at {compression}"


def _listed(items: Sequence[str]) -> str:
    return f" ({'; '.join(items)})" if items else ""


def _signed(value: float, digits: int) -> Cell:
    return Cell(f"{value:+.{digits}f}".replace("-", "−"), value)
