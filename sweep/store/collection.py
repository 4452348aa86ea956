"""One Parquet file for many runs: `collected/<task>/{result,epochs,layers}.parquet`.

The runs' own files stay the truth. A collected row carries the stamp of the file it was read from, so whoever reads the
collection sees which files have changed since, and reads those again. Only a sweep that was copied as its collection alone
(`sweep.store.archive`) has no such files: its rows have no stamp, and count until the run has a directory of its own again.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweep.core.errors import StorageError, SweepError, summarise_exception
from sweep.store.layout import SweepPaths, is_directory_name
from sweep.store.parquet import (
    DAMAGE,
    MANY_RESULTS,
    brought_forward,
    read_parquet,
    read_table,
    require_schema,
    require_values,
    rows_of,
    version_of,
    write_parquet,
)
from sweep.store.schema import EPOCHS, LAYERS, RESULT, SCHEMA_VERSION

TABLES: Mapping[str, pa.Schema] = {"result": RESULT, "epochs": EPOCHS, "layers": LAYERS}

SOURCE = "source"
"""Column of the collection: run directory, size in bytes and modification time in ns of the file that the row is from. The run
directory alone where the row is all that there is of the run."""

# sorts before every character of a name, so that the order of sources is the order of directories
_STAMP = "\t"

_AT_ONCE = 200
"""Tables of one file that are held before they are joined: each takes 100 KB, which its rows do not."""


@dataclass(frozen=True)
class Reading:
    """Rows of one kind of file of a sweep, ordered by run directory.

    table: the columns of its schema, and `SOURCE`.
    problems: a line for each file that was left out.
    reused, read: files whose rows came from the collection, and from themselves.
    """

    table: pa.Table
    problems: list[str]
    reused: int
    read: int


@dataclass(frozen=True)
class Collected:
    """What `collect` did: runs in the collection, how many of them were read again, and what was left out."""

    runs: int
    read: int
    problems: list[str]


def collect(sweep: SweepPaths) -> Collected:
    """Bring the collection of `sweep` up to date; only files that are new or have changed are read.

    Every readable row is kept as it is, also of stale runs: whether a row counts is decided when it is loaded.

    Raises:
        NewerSchema: the collection is of a newer prunesweep, and is not to be overwritten.
    """
    for path in sweep.collected.glob("*/*.parquet"):
        _version(path)
    results = read_rows(sweep, "result")
    tasks = _tasks(results)
    problems = list(results.problems)
    for name in TABLES:
        reading = results if name == "result" else read_rows(sweep, name, tasks)
        problems += reading.problems if name != "result" else []
        write_collection(sweep, name, reading.table, tasks)
    return Collected(len(tasks), results.read, problems)


def read_rows(sweep: SweepPaths, name: str, only: Iterable[str] | None = None) -> Reading:
    """Read the files `name`.parquet of all runs, or of the run directories in `only`: from the collection where it is current."""
    schema = TABLES[name]
    wanted, present, problems = _scan(sweep, name)
    chosen = None if only is None else set(only)
    if chosen is not None:
        wanted = {directory: stamp for directory, stamp in wanted.items() if directory in chosen}
    stamps = {stamp: directory for directory, stamp in wanted.items()}
    tables = []
    found: set[str] = set()
    for path in sorted(sweep.collected.glob(f"*/{name}.parquet")):
        table, problem = _read_collection(path, schema)
        problems += problem
        if table is not None:
            sources = set(pc.unique(table[SOURCE]).to_pylist())
            alone = {source for source in sources if _is_alone(source)} - present
            if chosen is not None:
                alone &= chosen
            # one run twice would be a run moved between tasks: the first counts
            current = (sources & stamps.keys() | alone) - found
            found |= current
            tables.append(
                table.filter(pc.is_in(table[SOURCE], value_set=pa.array(list(current), pa.string())))
            )
    read = 0
    single: list[pa.Table] = []
    for stamp, directory in sorted(stamps.items()):
        if stamp not in found:
            try:
                table = read_table(sweep.run(directory).directory / f"{name}.parquet", schema)
            except SweepError as error:
                problems.append(str(error))
                continue
            read += 1
            single.append(table.append_column(SOURCE, pa.array([stamp] * len(table), pa.string())))
            if len(single) == _AT_ONCE:
                tables.append(pa.concat_tables(single).combine_chunks())
                single.clear()
    empty = schema.empty_table().append_column(SOURCE, pa.array([], pa.string()))
    whole = pa.concat_tables([empty, *tables, *single]).combine_chunks()
    order = pc.sort_indices(whole, [(SOURCE, "ascending")])  # stable: epochs and layers stay in order
    return Reading(whole.take(order), problems, len(found), read)


class RowReader:
    """Reads `result.parquet` of a run like `read_result`, out of what has been read already where that is current.

    Where that means to open many files, their rows are added to the collection: the next reader has them at once.
    """

    def __init__(self, sweep: SweepPaths) -> None:
        reading = read_rows(sweep, "result")
        if reading.read >= MANY_RESULTS:
            with suppress(
                StorageError
            ):  # a full disk or somebody else's directory: what was asked for is read
                write_collection(sweep, "result", reading.table, _tasks(reading))
        table = reading.table
        self.alone = frozenset(filter(_is_alone, table[SOURCE].to_pylist()))
        """The runs that have a row and no directory."""
        self._rows: dict[Path, dict[str, Any]] = {}
        for directory, row in zip(_directories(table), rows_of(table.drop_columns([SOURCE])), strict=True):
            self._rows[sweep.run(directory).result] = row

    def __call__(self, path: Path) -> dict[str, Any] | None:
        from sweep.store.parquet import read_result

        row = self._rows.get(path)
        return read_result(path) if row is None else row


def row_alone(sweep: SweepPaths, run_id: str, task: str) -> dict[str, Any] | None:
    """The result of a run that has no directory; None where the collection has none either."""
    path = sweep.collection(task, "result")
    if not path.exists():
        return None
    table, _ = _read_collection(path, RESULT)
    rows = (
        [] if table is None else rows_of(table.filter(pc.equal(table[SOURCE], run_id)).drop_columns([SOURCE]))
    )
    return rows[0] if rows else None


def _tasks(results: Reading) -> dict[str, str]:
    """By run directory."""
    return dict(zip(_directories(results.table), results.table["task"].to_pylist(), strict=True))


def write_collection(sweep: SweepPaths, name: str, table: pa.Table, tasks: Mapping[str, str]) -> None:
    """Write `table` as the collections of its tasks, and delete those of tasks of which nothing is left.

    Args:
        sweep: where.
        name: of the kind of table.
        table: the columns of its schema, and `SOURCE`.
        tasks: by run directory.
    """
    of_task = pa.array([tasks[directory] for directory in _directories(table)], pa.string())
    for task in sorted(set(tasks.values())):
        write_parquet(sweep.collection(task, name), table.filter(pc.equal(of_task, task)), "zstd")
    for path in sweep.collected.glob(f"*/{name}.parquet"):
        # what is damaged may be all that there is of an archive: it is left to people
        if path.parent.name not in tasks.values() and _read_collection(path, TABLES[name])[0] is not None:
            path.unlink()


def _scan(sweep: SweepPaths, name: str) -> tuple[dict[str, str], set[str], list[str]]:
    """Per run directory the stamp of its file; all that is among the run directories; and what cannot be a run."""
    stamps, problems = {}, []
    root = os.fspath(sweep.runs)
    present = sorted(os.listdir(root)) if os.path.isdir(root) else []
    for directory in present:
        try:
            status = os.stat(f"{root}/{directory}/{name}.parquet")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problems.append(f"{root}/{directory}/{name}.parquet: {error.strerror}")
            continue
        if is_directory_name(directory):
            stamps[directory] = f"{directory}{_STAMP}{status.st_size}\t{status.st_mtime_ns}"
        else:
            problems.append(f"{os.fsencode(f'{root}/{directory}')!r}: not a run's directory")
    return stamps, set(present), problems


def _is_alone(source: str) -> bool:
    return _STAMP not in source


def _directories(table: pa.Table) -> list[str]:
    return [source.partition(_STAMP)[0] for source in table[SOURCE].to_pylist()]


def _read_collection(path: Path, schema: pa.Schema) -> tuple[pa.Table | None, Sequence[str]]:
    """The collected rows; None where they are damaged: the runs' own files are read then. Of those of an older schema version,
    which are read from the files, too, the rows that have no files."""
    try:
        version = _version(path)
        table = read_parquet(path, use_threads=True)
        if 0 < version < SCHEMA_VERSION:
            table = table.filter(pc.invert(pc.match_substring(table[SOURCE], _STAMP)))
            if not len(table):
                return None, []
            rows = brought_forward(table.drop_columns([SOURCE]), schema, version)
            table = rows.append_column(SOURCE, table[SOURCE])
        require_schema(table, schema.append(pa.field(SOURCE, pa.string())))
        require_values(table)
        return table, []
    except DAMAGE as error:
        problem = (
            f"{path}: not a whole collection ({summarise_exception(error)}); `sweep collect` writes it again"
        )
        return None, [problem]


def _version(path: Path) -> int:
    """The schema version of a collection; 0 where that cannot be read. Raises NewerSchema."""
    try:
        return version_of(path, pq.read_schema(path))
    except DAMAGE:
        return 0
