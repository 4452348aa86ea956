"""The figures of a task over compression: the metric, the paired difference, the cost."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from sweep.report.blocks import Column, Figure, Line, Table, compact, estimate, plain, word
from sweep.report.inputs import TaskResults
from sweep.report.stats import Summary, paired_differences
from sweep.report.style import blank, legend_below, mark, marker_style, shown, styled

COMPRESSION = "compression c (density = 10⁻ᶜ)"
_DOTS = 30
"""Seeds up to which each is a dot."""


def metric(task: TaskResults) -> Figure:
    """Every seed (dots), mean (line) and 95 % interval (band and bars) against compression; the paper's values hollow."""
    found = task.cells("test_metric")
    published = task.paper.metric if task.paper else {}
    with styled():
        figure, (axes,) = blank()
        owners: dict[str, str] = {}
        for index, pruner in enumerate(task.pruners):
            points = [(c, s) for c in task.compressions if (s := found.get((pruner, c)))]
            _estimates(axes, points, pruner, index, len(task.pruners))
            owners |= {shown(pruner): pruner}
            theirs = sorted((c, value) for (name, c), value in published.items() if name == pruner)
            if theirs:
                label = shown(f"{pruner}, the paper")
                (line,) = axes.plot(
                    *zip(*theirs, strict=True), **marker_style(index), markersize=7, markerfacecolor="none", linestyle=":",
                    linewidth=1, label=label,
                )  # fmt: skip
                mark(line, pruner)
                owners[label] = pruner
        _limits(axes, [v for s in found.values() for v in s.values] + list(published.values()))
        axes.set_xticks(task.compressions, [f"{c:g}" for c in task.compressions])
        axes.set_xlabel(COMPRESSION)
        axes.set_ylabel(f"test {shown(task.metric)}")
        legend_below(figure, axes, owners)
    lines = [
        Line([compact(c), word(p), estimate(found[p, c]), compact(published.get((p, c)))], p)
        for c in task.compressions
        for p in task.pruners
        if (p, c) in found
    ]
    columns = [Column("compression"), Column("pruner", numeric=False), Column("ours"), Column("the paper")]
    name = f"{task.name}_{task.metric}"
    paper = " Hollow points on dotted lines are the paper's single runs." if published else ""
    caption = (
        f"Test {task.metric} against compression: dots are seeds, lines means, bands and bars 95 % intervals, which may "
        f"extend beyond the axis.{paper}"
    )
    table = Table(f"{name}_data", caption, columns, lines)
    return Figure(name, caption, f"{task.name}: test {task.metric} against compression", figure, table)


def difference(task: TaskResults) -> Figure | None:
    """Paired differences to random with their intervals: a panel with its own scale for each compression."""
    found = {p: paired_differences(task.rows, "test_metric", p, "random") for p in task.compared_pruners}
    compressions = sorted({c for differences in found.values() for c in differences})
    if not compressions:
        return None
    across = min(4, len(compressions))
    down = -(-len(compressions) // across)
    with styled():
        figure, panels = blank(
            5.0 if across < 3 else 1.7 * across, 0.5 + 2.5 * down, down, across, sharey=False
        )
        for axes, c in zip(panels, compressions, strict=False):
            axes.set_title(f"c = {c:g}", fontsize=9)
            axes.axhline(0, color="gray", linewidth=1)
            for x, (pruner, differences) in enumerate(found.items()):
                if c in differences:
                    _estimate(axes, x, differences[c], pruner, task.pruners.index(pruner))
            axes.set_xlim(-0.6, len(found) - 0.4)
            axes.set_xticks([])
            axes.grid(False, axis="x")
            axes.tick_params(labelsize=8)
        for axes in panels[len(compressions) :]:
            axes.set_axis_off()
        panels[0].set_ylabel(f"{shown(task.metric)}, pruner − random")
        legend_below(figure, panels[0], {shown(p): p for p in found})
    lines = [
        Line([compact(c), word(p), estimate(s, signed=True)], p)
        for p, differences in found.items()
        for c, s in differences.items()
    ]
    columns = [Column("compression"), Column("pruner", numeric=False), Column("pruner − random")]
    caption = (
        f"Difference to random in test {task.metric}, paired by seed, each panel with its own scale: dots are seeds, bars 95 % "
        "intervals. Where a bar crosses zero, the runs do not distinguish the two."
    )
    name = f"{task.name}_difference"
    table = Table(f"{name}_data", caption, columns, lines)
    return Figure(name, caption, f"{task.name}: paired difference to random", figure, table, wide=across > 2)


def _estimate(axes: Axes, x: float, summary: Summary, pruner: str, index: int) -> None:
    """Dots, mean and interval bar at one place."""
    if 1 < summary.n <= _DOTS:
        (dots,) = axes.plot(
            [x - 0.22] * summary.n, summary.values, ".", color=marker_style(index)["color"], alpha=0.5
        )
        mark(dots, pruner)
    bars = axes.errorbar(
        [x], [summary.mean], yerr=[summary.half_width or 0.0], **marker_style(index), markersize=6, capsize=3, linestyle="",
        elinewidth=1.2, label=shown(pruner),
    )  # fmt: skip
    for artist in bars.get_children():
        mark(artist, pruner)


def wall_time(task: TaskResults) -> Figure:
    """Seconds of training against density."""
    found = task.cells("seconds_train")
    with styled():
        figure, (axes,) = blank(height=3.4)
        for index, pruner in enumerate(task.pruners):
            points = [(c, s) for c in task.compressions if (s := found.get((pruner, c)))]
            _estimates(axes, points, pruner, index, len(task.pruners), density=True)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("density (fraction of the prunable weights kept)")
        axes.set_ylabel("seconds of training")
        legend_below(figure, axes, {shown(p): p for p in task.pruners})
    lines = [
        Line([plain(10**-c, 4), word(p), estimate(found[p, c], 1)], p)
        for c in task.compressions
        for p in task.pruners
        if (p, c) in found
    ]
    columns = [Column("density"), Column("pruner", numeric=False), Column("seconds of training")]
    caption = (
        "Wall time of training against density. Runs that shared a machine with others took longer; only runs on one machine "
        "under equal load are comparable."
    )
    name = f"{task.name}_time"
    return Figure(
        name,
        caption,
        f"{task.name}: training time against density",
        figure,
        Table(f"{name}_data", caption, columns, lines),
    )


def pareto(task: TaskResults) -> Figure:
    """FLOPs remaining against the metric; the front is the cells that no other beats in both."""
    flops, test = task.cells("flops_remaining"), task.cells("test_metric")
    dense = task.pruners[0]
    keys = [(p, c) for c in task.compressions for p in task.pruners if (p, c) in test and (c or p == dense)]
    on_front = front([(flops[key].mean, test[key].mean) for key in keys])
    with styled():
        figure, (axes,) = blank(height=3.4)
        for index, pruner in enumerate(task.pruners):
            mine = [key for key in keys if key[0] == pruner and key[1]]
            (points,) = axes.plot(
                [flops[key].mean for key in mine],
                [test[key].mean for key in mine],
                **marker_style(index),
                linestyle="",
                label=shown(pruner),
            )
            mark(points, pruner)
        if (dense, 0.0) in test:
            axes.plot(
                flops[dense, 0.0].mean, test[dense, 0.0].mean, "*", color="gray", markersize=10, label="dense"
            )
        best = sorted((flops[key].mean, test[key].mean) for key, on in zip(keys, on_front, strict=True) if on)
        axes.step(
            *zip(*best, strict=True),
            where="post",
            color="gray",
            linewidth=1,
            linestyle="--",
            label="Pareto front",
        )
        axes.set_xscale("log")
        axes.set_xlabel("FLOPs remaining, of the dense network's")
        axes.set_ylabel(f"test {shown(task.metric)}, mean")
        legend_below(figure, axes, {shown(p): p for p in task.pruners})
    lines = [
        Line(
            [
                plain(flops[p, c].mean, 4),
                plain(test[p, c].mean, 2),
                word(p if c else "dense"),
                compact(c),
                word("yes" if on else "no"),
            ],
            p if c else None,
        )
        for (p, c), on in zip(keys, on_front, strict=True)
    ]
    columns = [
        Column("FLOPs remaining"), Column(f"test {task.metric}"), Column("pruner", numeric=False), Column("compression"),
        Column("on the front", numeric=False),
    ]  # fmt: skip
    caption = (
        "FLOPs remaining (of all matrix products, with the positions that each processes) against the metric, means over the "
        "seeds. The front connects the cells that no other beats in both; means inside each other's intervals may swap places."
    )
    name = f"{task.name}_pareto"
    return Figure(
        name,
        caption,
        f"{task.name}: FLOPs remaining against {task.metric}",
        figure,
        Table(f"{name}_data", caption, columns, lines),
    )


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which of (cost, worth) no other point beats: none costs as little and is worth more, or costs less and is worth as much."""
    return [
        not any((c <= cost and w > worth) or (c < cost and w >= worth) for c, w in points)
        for cost, worth in points
    ]


def _estimates(
    axes: Axes,
    points: Sequence[tuple[float, Summary]],
    pruner: str,
    index: int,
    of: int,
    density: bool = False,
) -> None:
    """Dots, means, interval bars and band of one pruner."""
    colour = marker_style(index)["color"]
    # side by side, so that overlapping intervals can be read
    shift = 0.02 * (index - (of - 1) / 2)
    xs = [10 ** -(c + shift) if density else c + shift for c, _ in points]
    for x, (_, summary) in zip(xs, points, strict=True):
        if 1 < summary.n <= _DOTS:
            (dots,) = axes.plot([x] * summary.n, summary.values, ".", color=colour, alpha=0.45, markersize=6)
            mark(dots, pruner)
    means = [s.mean for _, s in points]
    halves = [s.half_width or 0.0 for _, s in points]
    bars = axes.errorbar(
        xs,
        means,
        yerr=halves,
        **marker_style(index),
        markersize=5,
        capsize=3,
        linewidth=1.5,
        elinewidth=1,
        label=shown(pruner),
    )
    for artist in bars.get_children():
        mark(artist, pruner)
    low, high = ([m + sign * h for m, h in zip(means, halves, strict=True)] for sign in (-1, 1))
    mark(axes.fill_between(xs, low, high, color=colour, alpha=0.15 / max(1, of - 1), linewidth=0), pruner)


def _limits(axes: Axes, values: Sequence[float]) -> None:
    """The axis covers what was measured; an interval may go beyond it."""
    seen = list(filter(math.isfinite, values)) or [0.0]
    margin = 0.05 * (max(seen) - min(seen)) or 1.0
    axes.set_ylim(min(seen) - margin, max(seen) + margin)
