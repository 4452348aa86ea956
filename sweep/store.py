"""The Parquet schemas of what a run leaves behind, writing them atomically, and reading sweeps back."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweep.errors import SweepError, UsageError, in_one_line
from sweep.files import replacing

SCHEMA_VERSION = 4
"""Raised when a column is added or changes its meaning; `read_table` brings older files forward."""

MANY_RESULTS = 1000
"""From so many on, results are collected rather than opened one by one again and again."""


class NewerSchema(UsageError):
    """A file written by a newer prunesweep: not to be read, and not to be overwritten."""


_UTC = pa.timestamp("us", tz="UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _schema(columns: Sequence[tuple[str, pa.DataType, str]]) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"doc": doc}) for name, kind, doc in columns]
    return pa.schema(fields, metadata={"prunesweep_schema": str(SCHEMA_VERSION)})


TRANSLATION: Mapping[str, tuple[pa.DataType, str]] = {
    "bleu_precision_1": (pa.float64(), "modified precision of 1-grams on the test rows, percent"),
    "bleu_precision_2": (pa.float64(), "of 2-grams"),
    "bleu_precision_3": (pa.float64(), "of 3-grams"),
    "bleu_precision_4": (pa.float64(), "of 4-grams"),
    "bleu_brevity_penalty": (pa.float64(), "from 0 to 1"),
    "bleu_paper": (pa.float64(), "BLEU of tokens against raw references split at white space, percent"),
    "sacrebleu": (pa.float64(), "sacreBLEU's score of plain text, percent"),
    "sacrebleu_signature": (pa.string(), "how sacreBLEU computed it"),
}
"""What only translation tasks have; null for others."""

RESULT = _schema(
    [
        ("run_id", pa.string(), "stable id of the run's specification"),
        ("sweep", pa.string(), "name of the sweep"),
        ("task", pa.string(), ""),
        ("pruner", pa.string(), "'dense' at compression 0"),
        ("compression", pa.float64(), "density asked = 10 ** -compression"),
        ("seed", pa.int64(), ""),
        # asked
        ("epochs", pa.int64(), ""),
        ("batch_size", pa.int64(), ""),
        ("eval_batch_size", pa.int64(), ""),
        ("lr", pa.float64(), ""),
        ("beta1", pa.float64(), ""),
        ("beta2", pa.float64(), ""),
        ("eps", pa.float64(), ""),
        ("score_samples", pa.int64(), ""),
        ("score_batch_size", pa.int64(), ""),
        ("scope", pa.string(), ""),
        ("iterations", pa.int64(), "pruning iterations"),
        ("schedule", pa.string(), ""),
        ("shuffle", pa.bool_(), ""),
        ("invert", pa.bool_(), ""),
        ("precision", pa.string(), "of the products while training"),
        ("threads", pa.int64(), ""),
        ("device", pa.string(), "'cpu' or 'cuda'"),
        ("options", pa.string(), "the task's own options, as JSON"),
        # reached
        ("metric", pa.string(), "name of the task's metric"),
        ("test_metric", pa.float64(), "the task's metric on the test rows"),
        ("test_accuracy", pa.float64(), "percent"),
        ("train_accuracy", pa.float64(), "percent, over all training rows after the last epoch"),
        ("test_loss", pa.float64(), ""),
        ("train_loss", pa.float64(), "over all training rows after the last epoch"),
        *((name, kind, doc) for name, (kind, doc) in TRANSLATION.items()),
        ("density_asked", pa.float64(), "10 ** -compression"),
        ("density", pa.float64(), "kept / prunable"),
        ("kept", pa.int64(), "weights kept: floor(density_asked * prunable), at scope layer of each layer"),
        ("prunable", pa.int64(), "weights that could be pruned"),
        ("parameters", pa.int64(), "all parameters of the model"),
        (
            "threshold",
            pa.float64(),
            "smallest kept score; null where nothing was pruned or layers have their own",
        ),
        ("ties", pa.int64(), "scores equal to the threshold"),
        ("flops_dense", pa.float64(), "of one forward pass of a batch, nothing pruned"),
        (
            "flops_remaining",
            pa.float64(),
            "fraction of flops_dense left, with the positions each layer really sees",
        ),
        (
            "flops_remaining_paper",
            pa.float64(),
            "the paper's 'FLOP sparsity': (kept + biases) / (prunable + biases), positions not counted",
        ),
        (
            "effective_density",
            pa.float64(),
            "weights on a live path / prunable; null where the network has no linear form",
        ),
        ("empty_layers", pa.int64(), "layers that kept nothing"),
        (
            "dead_units",
            pa.int64(),
            "dead inputs plus dead outputs of all layers: a unit between two layers counts in both",
        ),
        ("layer_collapse", pa.bool_(), "some layer is empty while others are not"),
        (
            "mask_effective",
            pa.bool_(),
            "outputs unchanged when pruned weights are scrambled, after pruning and at the end",
        ),
        (
            "weights_hash",
            pa.string(),
            "SHA-256 of the final parameters and masks: equal for bit-identical runs",
        ),
        # cost
        ("seconds_data", pa.float64(), "wall time of preparing the data"),
        ("seconds_prune", pa.float64(), ""),
        ("seconds_train", pa.float64(), ""),
        ("seconds_evaluate", pa.float64(), ""),
        ("seconds_total", pa.float64(), "wall time of the run over all attempts that saved their work"),
        ("peak_memory_bytes", pa.int64(), "of the process"),
        (
            "peak_gpu_memory_bytes",
            pa.int64(),
            "of the tensors on the GPU, in the last attempt; null on a CPU",
        ),
        # trust
        ("data_hash", pa.string(), ""),
        ("data_verified", pa.bool_(), "the data's hash is the published one"),
        (
            "padding_waste",
            pa.float64(),
            "fraction of the first epoch's tokens that are padding; null without",
        ),
        ("train_rows", pa.int64(), ""),
        ("test_rows", pa.int64(), ""),
        ("pipeline_version", pa.int64(), "of the task: text to batches"),
        ("attempt", pa.int64(), "number of the attempt that finished"),
        ("resumed", pa.int64(), "times that it went on from a checkpoint"),
        (
            "retries",
            pa.int64(),
            "earlier attempts that ended for want of memory, with their node or at a time limit; null before schema 3",
        ),
        ("retry_history", pa.string(), "how each earlier attempt ended, as JSON; null before schema 3"),
        ("started_at", _UTC, "start of the attempt that finished"),
        ("finished_at", _UTC, ""),
        (
            "git_sha",
            pa.string(),
            "of the code when the run began; every one, if it was resumed under another; null outside a checkout",
        ),
        ("git_dirty", pa.bool_(), ""),
        ("plugins", pa.string(), "name and SHA-256 of each plug-in, as JSON"),
        ("prunesweep_version", pa.string(), ""),
        ("python_version", pa.string(), ""),
        ("torch_version", pa.string(), ""),
        ("host", pa.string(), ""),
        ("cpu", pa.string(), ""),
        ("cpu_capability", pa.string(), "instruction set that torch uses"),
        ("gpu", pa.string(), "null on a CPU"),
        ("schema_version", pa.int64(), ""),
    ]
)

EPOCHS = _schema(
    [
        ("run_id", pa.string(), ""),
        ("epoch", pa.int64(), "from 1"),
        ("train_loss", pa.float64(), "mean over the epoch's batches, while training"),
        (
            "eval_split",
            pa.string(),
            "what was evaluated after the epoch: 'validation', or 'test' where there is none",
        ),
        ("eval_loss", pa.float64(), ""),
        ("eval_metric", pa.float64(), ""),
        ("seconds", pa.float64(), "wall time of the epoch's training"),
    ]
)

LAYERS = _schema(
    [
        ("run_id", pa.string(), ""),
        ("layer", pa.string(), "module name"),
        ("position", pa.int64(), "order in the model, from 0"),
        ("prunable", pa.int64(), ""),
        ("kept", pa.int64(), ""),
        ("density", pa.float64(), ""),
        ("effective_density", pa.float64(), "weights on a live path / prunable"),
        ("flops_dense", pa.float64(), "of one forward pass of a batch"),
        ("flops", pa.float64(), "what is left of them"),
        ("empty", pa.bool_(), ""),
        ("dead_inputs", pa.int64(), "input units without a live output"),
        ("dead_outputs", pa.int64(), "output units without a live input"),
    ]
)


MAY_BE_NULL = frozenset(
    {
        *TRANSLATION,
        "test_accuracy",
        "train_accuracy",
        "threshold",
        "effective_density",
        "dead_units",
        "dead_inputs",
        "dead_outputs",
        "padding_waste",
        "gpu",
        "peak_gpu_memory_bytes",
        "git_sha",
        "git_dirty",
        "plugins",
        # of a run that is older than the column, in a collection that has newer ones, too
        "retries",
        "retry_history",
    }
)
"""The columns in which a null says something; in any other column of a file it is damage."""

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
    rows_of(table.select([field.name for field in table.schema if field.type == _UTC]))


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
        raise SweepError(f"{path}: not a whole Parquet file ({in_one_line(error)})") from None


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
    if schema is RESULT:  # all runs were on the CPU
        table = table.append_column("device", pa.array(["cpu"] * len(table)))
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
        renamed = {"test_loss": "eval_loss", "test_metric": "eval_metric"}
        table = table.rename_columns([renamed.get(name, name) for name in table.column_names])
        return table.append_column("eval_split", pa.array(["test"] * len(table)))
    return table


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
    times = [field.name for field in table.schema if field.type == _UTC]
    for name in times:
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name in times:
            if row[name] is not None:
                row[name] = _EPOCH + timedelta(microseconds=row[name])
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
