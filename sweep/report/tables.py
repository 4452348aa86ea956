"""The tables of a task."""

from sweep.report.blocks import MISSING, Cell, Column, Line, Table, compact, estimate, plain, word
from sweep.report.inputs import TaskResults
from sweep.report.stats import MOST_FLIPPED, Summary, holm, paired_differences, sign_flip_p, smallest_p


def over_compressions(
    task: TaskResults, column: str, name: str, caption: str, digits: int = 2, bare: bool = False
) -> Table:
    """Compression down, pruners across: mean and interval, or with `bare` the mean alone."""
    found = task.cells(column)
    columns = [Column("compression"), Column("density"), *(Column(p, p) for p in task.pruners)]
    lines = []
    for c in task.compressions:
        summaries = [found.get((pruner, c)) for pruner in task.pruners]
        shown = [plain(s.mean if s else None, digits) if bare else estimate(s, digits) for s in summaries]
        lines.append(Line([compact(c), _density(c), *shown]))
    return Table(f"{task.name}_{name}", caption, columns, lines)


def _density(compression: float) -> Cell:
    return Cell(f"{10**-compression:.3g}", 10**-compression)


def paired(task: TaskResults) -> Table:
    """Per pruner and compression the difference to random: interval first, then the exact test, then Holm over the table."""
    found: list[tuple[str, float, Summary]] = [
        (pruner, compression, summary)
        for pruner in task.compared_pruners
        for compression, summary in paired_differences(task.rows, "test_metric", pruner, "random").items()
    ]
    tested = [sign_flip_p(s.values) if s.n <= MOST_FLIPPED else None for *_, s in found]
    adjusted = iter(holm([p for p in tested if p is not None]))
    lines = []
    for (pruner, compression, summary), p in zip(found, tested, strict=True):
        p_values = [p, smallest_p(summary.n), next(adjusted)] if p is not None else [None] * 3
        shown = [Cell(MISSING) if value is None else Cell(f"{value:.3g}", value) for value in p_values]
        lines.append(
            Line([compact(compression), word(pruner), estimate(summary, signed=True), *shown], pruner)
        )
    caption = (
        f"Difference to random in test {task.metric}, paired by seed (same initial weights, same batch order): mean ± "
        "half-width of the 95 % t-interval; then the p-value of the exact two-sided sign-flip test, the smallest that n seeds "
        f"can attain, and Holm's correction over the {len(lines)} rows."
    )
    columns = [
        Column("compression"),
        Column("pruner", numeric=False),
        Column("pruner − random"),
        Column("p"),
        Column("smallest p"),
        Column("p, Holm"),
    ]
    return Table(f"{task.name}_paired", caption, columns, lines)


_MASKS = {"density": 4, "effective_density": 4, "dead_units": 1, "empty_layers": 1, "ties": 1}


def masks(task: TaskResults) -> Table:
    """Target and actual density and what the masks leave, per pruner and compression."""
    means = {column: task.cells(column) for column in _MASKS}
    lines = []
    for c in [c for c in task.compressions if c]:
        for pruner in task.pruners:
            if (pruner, c) in means["density"]:
                found = {column: means[column].get((pruner, c)) for column in _MASKS}
                shown = [plain(s.mean if s else None, _MASKS[name]) for name, s in found.items()]
                lines.append(Line([compact(c), word(pruner), plain(10**-c, 4), *shown], pruner))
    columns = [
        Column("compression"),
        Column("pruner", numeric=False),
        Column("target density"),
        Column("density"),
        *(Column(name.replace("_", " ")) for name in list(_MASKS)[1:]),
    ]
    caption = (
        "What the masks leave, mean over the runs: the fraction of weights kept, and on a live path from input to output; units "
        "without a live input or output; layers that kept nothing; scores equal to the threshold (1: no tie)."
    )
    return Table(f"{task.name}_masks", caption, columns, lines)


def runs(task: TaskResults) -> Table:
    """A row for each complete run."""
    columns = [
        Column("pruner", numeric=False),
        Column("compression"),
        Column("seed"),
        Column(f"test {task.metric}"),
        Column("training loss"),
        Column("kept"),
        Column("FLOPs remaining"),
        Column("seconds"),
        Column("attempts"),
        Column("mask effective", numeric=False),
        Column("run", numeric=False),
    ]
    lines = [
        Line(
            [
                word(row["pruner"]),
                compact(row["compression"]),
                compact(row["seed"]),
                plain(row["test_metric"], 2),
                plain(row["train_loss"], 4),
                Cell(f"{row['kept']:,}", row["kept"]),
                plain(row["flops_remaining"], 4),
                plain(row["seconds_total"], 1),
                compact(row["attempt"]),
                word({True: "yes", False: "**no**", None: "unknown"}[row["mask_effective"]]),
                word(row["run_id"]),
            ],
            row["pruner"],
            row["seed"],
        )
        for row in task.rows
    ]
    return Table(f"{task.name}_runs", "Every complete run.", columns, lines, long=True)
