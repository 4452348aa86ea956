"""Pieces of Markdown."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table; every column but the first `left` is aligned right."""
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def cell(text: str) -> str:
    """`text` as the content of a table's cell, whatever it contains."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())
