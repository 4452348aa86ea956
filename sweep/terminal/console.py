"""The console, its colours and its units."""

import os

from rich.console import Console

from sweep.store.status import State

STYLES: dict[State, str] = {
    "done": "green",
    "running": "cyan",
    "pending": "dim",
    "interrupted": "yellow",
    "failed": "red",
    "stale": "magenta",
    "unknown": "yellow",
}

WIDE = 100
"""Columns from which on there is room for bars."""


# no markup: a name such as `[bold]` is a name
console = Console(highlight=False, markup=False)
if not console.is_terminal and "COLUMNS" not in os.environ:
    console.width = 160  # a table in a file or a pipe has no reason to wrap its cells


def duration(seconds: float | None) -> str:
    """`3.2 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
