"""A document as Markdown; its figures and long tables are files next to it."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from sweep.report.blocks import Block, Document, Figure, Notice, Points, Table, Text


def to_markdown(document: Document) -> str:
    parts = [f"# {inert(document.title)}"]
    for section in document.sections:
        parts.append(f"{'#' * section.level} {inert(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return inert(text)
        case Points(items):
            return "\n".join(f"- {inert(item)}" for item in items)
        case Notice(level, text, details):
            ids = "; ".join(f"`{line.replace('`', chr(39))}`" for line in details[:5])
            more = f"; and {len(details) - 5} more" if len(details) > 5 else ""
            return f"> **{level.capitalize()}.** {inert(text)}" + (f" {ids}{more}" if ids else "")
        case Figure(name, caption, alt):
            figure, data = _link(f"plots/{name}.svg"), _link(f"tables/{name}_data.csv")
            return f"![{inert(alt)}]({figure})\n\n{inert(caption)} [Data]({data})"
        case Table() if block.long:
            return f"{inert(block.caption)} [{len(block.lines):,} rows]({_link(f'tables/{block.name}.csv')})"
        case Table():
            return f"{inert(block.caption)}\n\n{cells_of(block)}"


def inert(text: str) -> str:
    """`text` without HTML and links of its own: what is between backticks is shown as it is anyway."""
    parts = re.split(r"(`[^`\n]*`)", text)
    for index in range(0, len(parts), 2):
        parts[index] = parts[index].replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")
    return "".join(parts)


def _link(path: str) -> str:
    """`path` as the target of a link."""
    return quote(path)


def cells_of(block: Table) -> str:
    """The cells of a table, whatever is in them."""
    rule = ["---:" if column.numeric else "---" for column in block.columns]
    lines = [[column.title for column in block.columns]]
    lines += [[cell.text for cell in line.cells] for line in block.lines]
    escaped = [[cell(text) for text in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [escaped[0], rule, *escaped[1:]])


def table(header: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table; every column but the first `left` is aligned right."""
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def cell(text: str) -> str:
    """`text` as the content of a table's cell, whatever it contains."""
    return " ".join(inert(text).replace("\\", "\\\\").replace("|", "\\|").split())
