"""Speed of the masked linear layer against density, with the physical limit: a figure of what masked_linear.py has measured.

    python benchmarks/masked_linear_plot.py benchmarks/results/masked_linear.json FIGURE.svg [--threads 1]

Speed is A's time divided by a baseline's, as in masked_linear.py. The limit is that of a layer which does only the work that the
mask leaves: three products of 2 * N * (kept weights) operations at the rate of this machine's dense product, or, if that
takes longer, reading x, dy and the weight and writing y, dx, dW and the mask's zeros at the rates of its memory.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from sweep.report.style import blank, marker_style, stand_alone, styled, to_svg

BASELINES = {"ours": "masked_linear", "B": "B: masked after each step", "CSR": "CSR (MKL)"}
BYTES = 4
COLUMNS = 4


def least_seconds(name: str, density: float, limits: dict[str, float]) -> float:
    """What a forward and backward pass takes at best."""
    out, n_in, rows = map(int, name.split("x"))
    operations = 3 * 2 * rows * out * n_in * density
    # forward x and W; backward dy, x and W
    read = BYTES * (2 * rows * n_in + rows * out + 2 * out * n_in * density)
    written = BYTES * (rows * out + rows * n_in + out * n_in)
    return max(operations / limits["flops"], read / limits["read"] + written / limits["write"])


def draw(axes: Axes, name: str, cells: list[dict[str, Any]], limits: dict[str, float]) -> None:
    cells = sorted(cells, key=lambda cell: cell["density"])
    densities = [cell["density"] for cell in cells]
    for index, (baseline, label) in enumerate(BASELINES.items()):
        points = [
            (c["density"], c["speed_against_A"][baseline]) for c in cells if baseline in c["speed_against_A"]
        ]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **marker_style(index))
    at_best = [
        c["seconds"]["A"] / least_seconds(name, d, limits) for c, d in zip(cells, densities, strict=True)
    ]
    axes.plot(densities, at_best, "--", color="0.5", label="physical limit")
    axes.axhline(1, color="0.5", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_xaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_title(name, fontsize=10)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measurements", type=Path)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    found = json.loads(arguments.measurements.read_text())
    panels: dict[str, list[dict[str, Any]]] = {}
    for cell in found["cells"]:
        if cell["threads"] == arguments.threads:
            panels.setdefault(cell["name"], []).append(cell)
    rows = -(-len(panels) // COLUMNS)
    with styled():
        figure, axes = blank(2.6 * COLUMNS, 2.5 * rows + 0.6, rows, COLUMNS)
        for panel, (name, cells) in zip(axes, panels.items(), strict=False):
            draw(panel, name, cells, found["limits"][str(arguments.threads)])
        figure.supxlabel("weights kept")
        figure.supylabel("speed, F.linear(x, W * M) = 1")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9)
        arguments.figure.write_text(stand_alone(to_svg(figure)))


if __name__ == "__main__":
    main()
