"""The Parquet schemas of what a run leaves behind, writing them atomically, and reading sweeps back."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweep.core.atomic_files import replacing
from sweep.core.errors import SweepError, summarise_exception
from sweep.store.schema import EPOCH, EPOCHS, MAY_BE_NULL, RESULT, SCHEMA_VERSION, UTC_TIME, NewerSchema

MANY_RESULTS = 1000
"""From so many on, results are collected rather than opened one by one again and again."""
DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError, OverflowError)
"""What reading a file with wrong bytes raises."""


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows` to `path` with exactly the columns of `schema`, atomically; the file is whole or absent.

    A key that the schema lacks, or a column that a row lacks, is a programming error and raises KeyError.
    """
    rows = list(rows)
    for row in rows:
        if unknown := set(row) ^ set(schema.names):
            raise KeyError(f"{path.name}: row and schema differ in {sorted(unknown)}")
    write_parquet(path, pa.Table.from_pylist(rows, schema=schema))


def write_parquet(path: Path, table: pa.Table, compression: str = "snappy") -> None:
    """Write `table` to `path` with a checksum for each page, atomically."""
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression=compression, write_page_checksum=True)
    # written by Python, since pyarrow takes no path that is not UTF-8
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())


def read_parquet(path: Path, use_threads: bool = False) -> pa.Table:
    """Read a whole file. By default in one thread: handing single values to others takes longer than reading them.

    Raises one of `DAMAGE` for a file that is not whole, for a page that has another checksum (older files have none), and for
    text that is not UTF-8.
    """
    # not `pq.read_table`, which imports pyarrow.dataset
    file = pq.ParquetFile(pa.BufferReader(path.read_bytes()), page_checksum_verification=True)
    table = file.read(use_threads=use_threads)
    table.validate(full=True)
    return table


def require_values(table: pa.Table) -> None:
    """Raise one of `DAMAGE` for a null in a column that never is, and for a time outside the calendar."""
    for name in table.column_names:
        if name not in MAY_BE_NULL and table[name].null_count:
            raise ValueError(f"column {name!r} lacks a value")
    rows_of(table.select([field.name for field in table.schema if field.type == UTC_TIME]))


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read one file written by `write_rows`, brought forward to `schema`.

    Raises:
        SweepError: not a whole Parquet file of this project.
        NewerSchema: written by a newer prunesweep.
        FileNotFoundError: there is no file.
    """
    try:
        table = read_parquet(path)
        version = version_of(path, table.schema)
        if version == 0:
            raise SweepError(f"{path}: not written by prunesweep")
        require_values(table)
        return brought_forward(table, schema, version)
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise SweepError(f"{path}: not a whole Parquet file ({summarise_exception(error)})") from None


def version_of(path: Path, schema: pa.Schema) -> int:
    """The schema version that the file `path` says it has; 0 if it says none. Raises NewerSchema."""
    version = int((schema.metadata or {}).get(b"prunesweep_schema", b"0"))
    if version > SCHEMA_VERSION:
        raise NewerSchema(
            f"{path}: schema {version} is newer than this prunesweep's {SCHEMA_VERSION}; update prunesweep"
        )
    return version


def brought_forward(table: pa.Table, schema: pa.Schema, version: int) -> pa.Table:
    """The rows of a file of schema `version`, none newer than this one, with the columns of `schema`."""
    if version == SCHEMA_VERSION:
        require_schema(table, schema)
        return table.replace_schema_metadata(schema.metadata)
    if version < 2:
        table = _from_1(table, schema)
    if schema is RESULT and version < 4:  # all runs were on the CPU
        table = table.append_column("device", pa.array(["cpu"] * len(table)))
    if schema is RESULT:
        table = _renamed(table, {"density_asked": "target_density"})
    return _migrated(table, schema)


def require_schema(table: pa.Table, schema: pa.Schema) -> None:
    """Raise ValueError unless `table` has exactly the columns of `schema`."""
    if not table.schema.equals(schema):
        raise ValueError(f"its columns are not those of schema {SCHEMA_VERSION}")


def _from_1(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Schema 1: every product was in float32, and epochs were evaluated on the test rows, which gave two columns their names."""
    if schema is RESULT:
        return table.append_column("precision", pa.array(["float32"] * len(table)))
    if schema is EPOCHS:
        table = _renamed(table, {"test_loss": "eval_loss", "test_metric": "eval_metric"})
        return table.append_column("eval_split", pa.array(["test"] * len(table)))
    return table


def _renamed(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def _migrated(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Columns that an older file lacks are null; the order and types are the schema's."""
    return pa.table([_column(table, field) for field in schema], schema=schema)


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    if field.name not in table.column_names:
        return pa.nulls(len(table), field.type)
    column = table[field.name]
    return column if column.type == field.type else column.cast(field.type)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """As `table.to_pylist()`, which for times in a zone imports pandas where it is installed, and that takes half a second."""
    times = [field.name for field in table.schema if field.type == UTC_TIME]
    for name in times:
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name in times:
            if row[name] is not None:
                row[name] = EPOCH + timedelta(microseconds=row[name])
    return rows


def read_result(path: Path) -> dict[str, Any] | None:
    """The row of a `result.parquet`; None where there is no file. Raises SweepError as `read_table` does."""
    try:
        rows = rows_of(read_table(path, RESULT))
    except FileNotFoundError:
        return None
    if len(rows) != 1:
        raise SweepError(f"{path}: {len(rows)} rows instead of one")
    return rows[0]
