"""A table as CSV: whole numbers where the report rounds, and intervals in their parts."""

import csv
import io

from sweep.report.blocks import Table


def _inert(value: object) -> object:
    """Text that a spreadsheet would take for a formula, with an apostrophe in front; numbers as they are."""
    if (
        isinstance(value, str)
        and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        and not _is_number(value)
    ):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def to_csv(table: Table) -> str:
    """A header and a line for each row; a column of estimates becomes mean, low, high and n. Missing is empty."""
    parts = [
        list(dict.fromkeys(name for line in table.lines for name in line.cells[index].parts))
        for index in range(len(table.columns))
    ]
    header: list[str] = []
    for column, names in zip(table.columns, parts, strict=True):
        header += [f"{column.title} {name}" for name in names] or [column.title]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_inert, header))
    for line in table.lines:
        values: list[object] = []
        for cell, names in zip(line.cells, parts, strict=True):
            single = "" if cell.text == "–" else cell.text.replace("**", "")
            values += [cell.parts.get(name) for name in names] or [
                single if cell.value is None else cell.value
            ]
        writer.writerow(map(_inert, values))
    return out.getvalue()
