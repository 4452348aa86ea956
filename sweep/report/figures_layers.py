"""The figures of a task over its layers: how much of each is left, and when one is empty."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import fmean

from sweep.report.blocks import Cell, Column, Figure, Line, Table, compact, plain, word
from sweep.report.inputs import TaskResults
from sweep.report.style import blank, legend_below, mark, marker_style, shown, styled

Key = tuple[str, float]


def densities(task: TaskResults) -> Figure | None:
    """A heat map of the density that each pruner leaves in each layer; None for one layer, whose density is the network's."""
    found: dict[str, dict[Key, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in task.rows:
        for layer in task.layers.get(row["run_id"], ()) if row["compression"] else ():
            found[layer["layer"]][row["pruner"], row["compression"]].append(layer["density"])
    keys = [
        (p, c) for p in task.pruners for c in task.compressions if any((p, c) in of for of in found.values())
    ]
    if len(found) < 2 or not keys:
        return None
    means = {layer: {key: fmean(of[key]) for key in keys if key in of} for layer, of in found.items()}
    with styled():
        figure, (axes,) = blank(2.2 + 0.62 * len(keys), 1.2 + 0.24 * len(means))
        axes.grid(False)
        for y, of in enumerate(means.values()):
            for x, key in enumerate(keys):
                if key in of:
                    _cell(axes, x, y, of[key])
        axes.set_xlim(-0.5, len(keys) - 0.5)
        axes.set_ylim(len(means) - 0.5, -0.5)
        axes.set_xticks(range(len(keys)), [f"{shown(p)}\nc={c:g}" for p, c in keys], fontsize=8)
        axes.set_yticks(range(len(means)), list(map(shown, means)), fontsize=8)
    columns = [Column("layer", numeric=False), *(Column(f"{p} at {c:g}", p) for p, c in keys)]
    lines = [Line([word(layer), *(plain(of.get(key), 4) for key in keys)]) for layer, of in means.items()]
    caption = "Density per layer in percent, mean over the seeds: dark is full, light is sparse, a cross is an empty layer."
    name = f"{task.name}_layers"
    table = Table(f"{name}_data", caption, columns, lines)
    return Figure(name, caption, f"{task.name}: density per layer", figure, table, wide=True)


def _cell(axes, x: int, y: int, density: float) -> None:  # type: ignore[no-untyped-def]
    """Shades by the square root, so that one percent differs from none; the text keeps its contrast on any page."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex
    from matplotlib.patches import Rectangle

    shade = 1 - density**0.5
    colour = to_hex(colormaps["cividis"](shade))
    axes.add_patch(Rectangle((x - 0.49, y - 0.48), 0.98, 0.96, facecolor=colour, linewidth=0))
    text = "✕" if density == 0 else f"{100 * density:.3g}"
    axes.text(
        x, y, text, ha="center", va="center", fontsize=7.5, color="#101010" if shade > 0.5 else "#fafafa"
    )


@dataclass(frozen=True)
class _Collapse:
    """The lowest compression at which a layer is empty in some seed, in how many of the seeds."""

    compression: float
    empty: int
    seeds: int


def collapse(task: TaskResults) -> Figure | None:
    """The lowest compression at which each layer is empty in some seed; None if no layer is empty in any run."""
    first = {
        (pruner, layer): found
        for pruner in task.pruners
        for layer, found in _first_empty(task, pruner).items()
    }
    if not first:
        return None
    order = dict.fromkeys(layer["layer"] for row in task.rows for layer in task.layers.get(row["run_id"], ()))
    layers = [layer for layer in order if any((pruner, layer) in first for pruner in task.pruners)]
    with styled():
        figure, (axes,) = blank(5.6, 1.7 + 0.26 * len(layers))
        for index, pruner in enumerate(task.pruners):
            shift = 0.15 * (index - (len(task.pruners) - 1) / 2)
            marks = [
                (first[pruner, layer].compression, y + shift)
                for y, layer in enumerate(layers)
                if (pruner, layer) in first
            ]
            if marks:
                (points,) = axes.plot(
                    *zip(*marks, strict=True), **marker_style(index), linestyle="", label=shown(pruner)
                )
                mark(points, pruner)
        axes.set_yticks(range(len(layers)), list(map(shown, layers)), fontsize=8)
        axes.set_ylim(len(layers) - 0.5, -0.5)
        axes.set_xlim(0, max(task.compressions) * 1.05)
        axes.set_xlabel("first empty at compression")
        legend_below(figure, axes, {shown(p): p for p in task.pruners})
    lines = [
        Line(
            [
                word(layer),
                word(pruner),
                compact(found.compression),
                Cell(f"{found.empty} of {found.seeds}", found.empty),
            ],
            pruner,
        )
        for (pruner, layer), found in first.items()
    ]
    columns = [
        Column("layer", numeric=False),
        Column("pruner", numeric=False),
        Column("first empty at compression"),
        Column("in seeds"),
    ]
    caption = "Layer collapse: the lowest compression at which a layer keeps nothing in some seed while other layers do."
    name = f"{task.name}_collapse"
    table = Table(f"{name}_data", caption, columns, lines)
    return Figure(name, caption, f"{task.name}: layer collapse", figure, table)


def _first_empty(task: TaskResults, pruner: str) -> dict[str, _Collapse]:
    """By layer, for the layers that are ever empty."""
    first: dict[str, _Collapse] = {}
    for compression in filter(None, reversed(task.compressions)):
        rows = [r for r in task.rows if r["pruner"] == pruner and r["compression"] == compression]
        empty: Counter[str] = Counter()
        for row in rows:
            for layer in task.layers.get(row["run_id"], ()):
                empty[layer["layer"]] += bool(layer["empty"])
        # a lower compression takes the place of a higher one
        first |= {name: _Collapse(compression, seeds, len(rows)) for name, seeds in empty.items() if seeds}
    return first
