"""The figures of a task's training: curves over the epochs, and BLEU by the weights of its n-grams."""

from collections import defaultdict
from statistics import fmean

from matplotlib.ticker import MaxNLocator

from sweep.report.blocks import Column, Figure, Line, Table, compact, plain, word
from sweep.report.figures_metric import COMPRESSION
from sweep.report.inputs import TaskResults
from sweep.report.style import COLOURS, MARKERS, blank, legend_below, mark, marker_style, shown, styled
from sweep.report.translation import by_weighting
from sweep.store.schema import DENSE


def curves(task: TaskResults) -> Figure | None:
    """The metric after each epoch: a panel for each compression, a thin line for each seed, a thick one for their mean."""
    runs = [(row, task.epochs.get(row["run_id"], ())) for row in task.rows]
    runs = [(row, epochs) for row, epochs in runs if epochs]
    if not runs:
        return None
    split = runs[0][1][0]["eval_split"]
    compressions = sorted({row["compression"] for row, _ in runs})
    means: dict[tuple[float, str, int], list[float]] = defaultdict(list)
    across = min(3, len(compressions))
    down = -(-len(compressions) // across)
    with styled():
        figure, panels = blank(5.0 if across < 3 else 6.6, 0.9 + 2.1 * down, down, across)
        for axes, c in zip(panels, compressions, strict=False):
            axes.set_title("dense" if c == 0 else f"c = {c:g}", fontsize=9)
            for row, epochs in runs:
                if row["compression"] == c:
                    colour = _colour(task, row["pruner"])
                    values = [epoch["eval_metric"] for epoch in epochs]
                    (line,) = axes.plot(
                        [e["epoch"] for e in epochs], values, color=colour, alpha=0.3, linewidth=0.7
                    )
                    mark(line, row["pruner"] if c else None, row["seed"])
                    for epoch in epochs:
                        means[c, row["pruner"], epoch["epoch"]].append(epoch["eval_metric"])
            for pruner in (DENSE, *task.pruners):
                xs = sorted(epoch for at, name, epoch in means if (at, name) == (c, pruner))
                if xs:
                    ys = [fmean(means[c, pruner, x]) for x in xs]
                    (line,) = axes.plot(
                        xs, ys, color=_colour(task, pruner), linewidth=1.6, label=shown(pruner)
                    )
                    mark(line, pruner if c else None)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        for axes in panels[len(compressions) :]:
            axes.set_axis_off()
        panels[0].set_ylabel(f"{split} {shown(task.metric)}")
        legend_below(figure, panels[len(compressions) - 1], {shown(p): p for p in task.pruners})
    lines = [
        Line([compact(c), word(pruner), compact(epoch), plain(fmean(values), 2)], pruner if c else None)
        for (c, pruner, epoch), values in sorted(means.items())
    ]
    columns = [
        Column("compression"), Column("pruner", numeric=False), Column("epoch"), Column(f"{split} {task.metric}, mean"),
    ]  # fmt: skip
    caption = f"Training curves: {task.metric} on the {split} rows after each epoch; thin lines are seeds, thick ones their mean."
    name = f"{task.name}_curves"
    table = Table(f"{name}_data", caption, columns, lines)
    return Figure(name, caption, f"{task.name}: training curves", figure, table, wide=across > 2)


def _colour(task: TaskResults, pruner: str) -> str:
    return str(marker_style(task.pruners.index(pruner))["color"]) if pruner in task.pruners else "gray"


def bleu_weightings(task: TaskResults) -> Figure | None:
    """BLEU of the same translations under several weightings of the n-gram precisions."""
    if not task.has("bleu_paper"):
        return None
    found = by_weighting(task)
    across = len(task.pruners)
    with styled():
        figure, panels = blank(
            5.0 if across < 3 else 6.6, 0.9 + 2.4 * -(-across // 3), -(-across // 3), min(across, 3)
        )
        for axes, pruner in zip(panels, task.pruners, strict=False):
            axes.set_title(shown(pruner), fontsize=9)
            for index, (name, cells) in enumerate(found.items()):
                points = [(c, cells[pruner, c].mean) for c in task.compressions if (pruner, c) in cells]
                if points:
                    axes.plot(
                        *zip(*points, strict=True),
                        color=COLOURS[index],
                        marker=MARKERS[index],
                        markersize=4,
                        label=shown(name),
                    )
            axes.set_xlabel(COMPRESSION, fontsize=8)
        for axes in panels[across:]:
            axes.set_axis_off()
        panels[0].set_ylabel("BLEU, mean over the seeds")
        legend_below(figure, panels[0], {})
    columns = [Column("compression"), Column("pruner", numeric=False), *(Column(name) for name in found)]
    lines = [
        Line([compact(c), word(p), *(plain(cells[p, c].mean, 2) for cells in found.values())], p)
        for c in task.compressions
        for p in task.pruners
        if (p, c) in found["BLEU-4"]
    ]
    caption = "BLEU of the same translations under several weightings of the n-gram precisions."
    name = f"{task.name}_bleu_weights"
    table = Table(f"{name}_data", caption, columns, lines)
    return Figure(
        name, caption, f"{task.name}: BLEU under several weightings", figure, table, wide=across > 2
    )
