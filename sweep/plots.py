"""Figures of the report."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from sweep.files import replacing
from sweep.paper import Figures
from sweep.stats import Cells

# Okabe and Ito's palette: told apart with every common colour blindness
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def metric_against_compression(
    path: Path, title: str, metric: str, found: Cells, pruners: Sequence[str], paper: Figures
) -> None:
    """Draw per pruner every seed (dots), their mean (line) and its 95 % interval (bars) against compression; write `path`.

    The paper's numbers are hollow on a dotted line. The axis covers what was measured; an interval may go beyond it.
    """
    with style.context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for index, pruner in enumerate(pruners):
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            # side by side, so that overlapping intervals can be read
            shift = 0.02 * (index - (len(pruners) - 1) / 2)
            points = sorted(
                (compression, summary) for (name, compression), summary in found.items() if name == pruner
            )
            for compression, summary in points:
                axes.plot(
                    [compression + shift] * summary.n,
                    summary.values,
                    ".",
                    color=colour,
                    alpha=0.45,
                    markersize=6,
                )
            axes.errorbar(
                [compression + shift for compression, _ in points],
                [summary.mean for _, summary in points],
                yerr=[summary.half_width or 0.0 for _, summary in points],
                color=colour, marker=marker, markersize=5, capsize=3, linewidth=1.5, elinewidth=1, label=pruner,
            )  # fmt: skip
            published = sorted(
                (compression, value) for (name, compression), value in paper.items() if name == pruner
            )
            if published:
                axes.plot(
                    *zip(*published, strict=True),
                    color=colour, marker=marker, markersize=7, markerfacecolor="none", linestyle=":", linewidth=1,
                    label=f"{pruner}, the paper",
                )  # fmt: skip
        measured = [value for summary in found.values() for value in summary.values]
        seen = list(filter(math.isfinite, [*measured, *paper.values()])) or [0.0]
        margin = 0.05 * (max(seen) - min(seen)) or 1.0
        axes.set_ylim(min(seen) - margin, max(seen) + margin)
        axes.set_xlabel("compression c (density = 10$^{-c}$)")
        axes.set_ylabel(metric)
        axes.set_title(title, loc="left")
        axes.legend()
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=150)
