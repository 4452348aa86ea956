"""One style for all figures, and SVG that is small, deterministic, and follows the page's colours when it is inside one."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote

from markupsafe import escape
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito (2008), "Color universal design": distinguishable with every common colour blindness
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

INK = "#1A1B1C"
"""Of text and axes; no other colour of a figure equals it, so that a page can replace it by its own."""

STYLE: dict[str, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.facecolor": "none",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "prunesweep",
}


@contextmanager
def styled() -> Iterator[None]:
    """The project's style, whatever a `matplotlibrc` or a plug-in has set; both drawing and saving have to be inside."""
    with style.context(STYLE, after_reset=True):
        yield


def blank(
    width: float = 5.0, height: float = 3.7, rows: int = 1, columns: int = 1, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure in inches, and its axes in reading order."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_facecolor("none")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    return figure, list(axes.flat)


def marker_style(index: int) -> dict[str, Any]:
    """Colour and marker of the pruner at `index`."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def legend_below(figure: Figure, axes: Axes, pruners: dict[str, str]) -> None:
    """One legend under the axes. pruners: whose entry each label, as it is `shown`, is, for the page's filter."""
    found = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if not found:
        return
    # in the pruners' order, whatever kind of mark each is
    labels = [label for label in pruners if label in found] + [
        label for label in found if label not in pruners
    ]
    handles = [found[label] for label in labels]
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)), fontsize=9)
    for label, handle, text in zip(labels, legend.legend_handles, legend.get_texts(), strict=True):
        if label in pruners and handle is not None:
            mark(handle, pruners[label])
            mark(text, pruners[label])


def shown(name: str) -> str:
    """A name as matplotlib shows it: `$` begins no formula, and what begins with `_` is not left out of a legend."""
    return ("\u2009" if name.startswith("_") else "") + name.replace("$", r"\$")


def mark(artist: Any, pruner: str | None = None, seed: int | None = None) -> None:
    """Record whose an artist is; `to_svg` turns it into attributes for the page's filters."""
    artist.set_gid(f"of|{quote(pruner or '', safe='')}|{'' if seed is None else seed}")


def to_svg(figure: Figure) -> str:
    """The figure as SVG: no date, no version, no ids but those that are referred to, text as text."""
    buffer = io.StringIO()
    with styled():
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=metadata)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font: \1px system-ui, 'DejaVu Sans', sans-serif", svg)
    svg = re.sub(r'id="of\|([^"|]*)\|([^"|]*)"', _owner, svg)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r' (?:d|x|y|x1|x2|y1|y2|width|height|points|transform|viewBox)="[^"]*"', _rounded, svg)
    return re.sub(r"\n\s*", "\n", svg)


def _rounded(match: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point. Text and names are not touched: their digits mean something."""
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", match[0])


def _owner(match: re.Match[str]) -> str:
    pruner = f'data-pruner="{escape(unquote(match[1]))}"' if match[1] else ""
    return pruner + (f' data-seed="{match[2]}"' if match[2] else "")


def stand_alone(svg: str) -> str:
    """As a file: on white, since a viewer's background may be black."""
    head, rest = svg.split(">", 1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}>\n<rect width="100%" height="100%" fill="white"/>{rest}'


def inline(svg: str, prefix: str, title: str) -> str:
    """For a page: unique ids, the page's ink, colours that the page may lighten, as wide as there is room.

    Args:
        svg: as `to_svg` gives it.
        prefix: of its ids: letters, digits and `-`.
        title: escaped.
    """
    svg = re.sub(
        r' (id|href|xlink:href|clip-path|style|fill|stroke|mask)="[^"]*"',
        lambda match: re.sub(r'(^ id="|href="#|url\(#)', lambda start: f"{start[0]}{prefix}-", match[0]),
        svg,
    )
    svg = svg.replace(INK.lower(), "currentColor")
    for index, colour in enumerate(COLOURS):
        svg = svg.replace(colour.lower(), f"var(--c{index})")
    head, rest = svg.split(">", 1)
    width = re.search(r'width="([\d.]+)pt"', head)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    size = f' style="max-width: {float(width[1]) * 4 / 3:.0f}px"' if width else ""
    return f'{head} role="img" aria-label="{title}"{size}>{rest}'
