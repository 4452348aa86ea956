"""Write `columns.md`, every column of the result tables, from the schemas: `python docs/columns.py`."""

from pathlib import Path

import pyarrow as pa

from sweep.store.schema import EPOCHS, LAYERS, MAY_BE_NULL, RESULT, SCHEMA_VERSION

PAGE = Path(__file__).with_suffix(".md")

_HEAD = f"""# Every column

What `sweep.load` returns, and what `result.parquet`, `epochs.parquet` and `layers.parquet` hold, at schema version
{SCHEMA_VERSION}. Each file carries these descriptions and units as metadata of its columns (`doc`, `unit`). A number without a
dimension has the unit 1; text and truth values have none. "null" marks columns in which a null says something; in any other
column it is damage.
`python docs/columns.py` writes this page.
"""

_TABLES = {
    "result": (RESULT, "A row for each finished run."),
    "epochs": (EPOCHS, "A row for each epoch of each run."),
    "layers": (LAYERS, "A row for each masked layer of each run, after pruning."),
}


def page() -> str:
    """The page as it should be."""
    sections = [f"## {name}\n\n{what}\n\n{_table(schema)}" for name, (schema, what) in _TABLES.items()]
    return "\n".join([_HEAD, *sections])


def _table(schema: pa.Schema) -> str:
    lines = ["| column | type | unit | null | meaning |", "|---|---|---|---|---|"]
    for field in schema:
        doc, unit = (field.metadata[key].decode().replace("|", "\\|") for key in (b"doc", b"unit"))
        null = "null" if field.name in MAY_BE_NULL else ""
        lines.append(f"| `{field.name}` | {field.type} | {unit} | {null} | {doc} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
