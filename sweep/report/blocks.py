"""What a report consists of, before it is Markdown, HTML, LaTeX or CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from matplotlib.figure import Figure as Drawing

from sweep.report.stats import Summary, format_interval

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """text: what is shown. value: what it is sorted by. parts: what the CSV file has instead, by the name of the sub-column."""

    text: str
    value: float | str | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """pruner: whose column it is, for the filter. numeric: aligned right."""

    title: str
    pruner: str | None = None
    numeric: bool = True


@dataclass(frozen=True)
class Line:
    """A row of a table, and whose it is, for the filters."""

    cells: Sequence[Cell]
    pruner: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Table:
    """name: of its files. long: a table to search in, which Markdown and LaTeX leave to the CSV file."""

    name: str
    caption: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    long: bool = False


@dataclass(frozen=True)
class Figure:
    """alt: what it shows, for those who do not see it. data: the numbers in it. wide: scrolls on a narrow screen."""

    name: str
    caption: str
    alt: str
    drawing: Drawing
    data: Table
    wide: bool = False


@dataclass(frozen=True)
class Text:
    """A paragraph. `code`, *emphasis* and **strong** are Markdown's."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Notice:
    """What a reader has to know before trusting a conclusion (`warning`), or to interpret one (`note`)."""

    level: Literal["warning", "note"]
    text: str
    details: Sequence[str] = ()


Block = Table | Figure | Text | Points | Notice


@dataclass(frozen=True)
class Section:
    """task: whose it is, for the filter."""

    title: str
    blocks: Sequence[Block]
    task: str | None = None
    level: int = 2


@dataclass(frozen=True)
class Document:
    """title: the sweep's name. choices: what the filters offer."""

    title: str
    sections: Sequence[Section]
    choices: Mapping[str, Sequence[str]]


def plain(value: float | None, digits: int) -> Cell:
    """A number, rounded where it is shown and whole where it is stored."""
    return Cell(MISSING) if value is None else Cell(f"{value:.{digits}f}", value)


def compact(value: float | None) -> Cell:
    """A number in as few digits as it has."""
    if value is None:
        return Cell(MISSING)
    return Cell(str(value) if isinstance(value, int) else f"{value:g}", value)


def word(text: str) -> Cell:
    return Cell(text, text)


def estimate(summary: Summary | None, digits: int = 2, signed: bool = False) -> Cell:
    """Mean and interval with n; the CSV file has their parts, empty where one seed gives no interval."""
    if summary is None:
        return Cell(MISSING, None, {"mean": None, "low": None, "high": None, "n": 0})
    half = summary.half_width
    text = format_interval(summary, digits, signed=signed)
    low, high = (None, None) if half is None else (summary.mean - half, summary.mean + half)
    return Cell(text, summary.mean, {"mean": summary.mean, "low": low, "high": high, "n": summary.n})
