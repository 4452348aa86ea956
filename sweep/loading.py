"""Reading the results of sweeps, for whoever analyses them."""

import logging
from pathlib import Path

import pyarrow as pa

from sweep.catalog import DataStamp, current_data
from sweep.errors import SweepError, UsageError
from sweep.paths import SweepPaths
from sweep.status import staleness
from sweep.store import EPOCHS, LAYERS, RESULT, read_result, read_table

_log = logging.getLogger(__name__)


def load(path: str | Path, table: str = "result") -> pa.Table:
    """Read the results of one sweep, or of every sweep below a folder.

    Args:
        path: a sweep's folder, or a folder of sweeps (`results`).
        table: `"result"` (a row a run), `"epochs"` or `"layers"`.

    Returns:
        pyarrow.Table with the columns of `RESULT`, `EPOCHS` or `LAYERS`, ordered by run folder. Files that are not whole or not
        the project's, and results that are stale, are left out and named in a warning of the logger `sweep.loading`.

    Raises:
        UsageError: no such folder, or nothing in it has been launched.
    """
    schema = {"result": RESULT, "epochs": EPOCHS, "layers": LAYERS}[table]
    folder = Path(path).expanduser()
    sweeps = [folder] if (folder / "runs").is_dir() else sorted(p.parent for p in folder.glob("*/runs"))
    if not sweeps:
        raise UsageError(f"no sweep in {folder}; give a sweep's folder or the folder that holds them")
    tables = [schema.empty_table()]
    for sweep in sweeps:
        data = current_data(SweepPaths(sweep))
        for file in sorted(sweep.glob(f"runs/*/{table}.parquet")):
            try:
                _check_current(file.with_name("result.parquet"), data)
                tables.append(read_table(file, schema))
            except SweepError as error:
                _log.warning("left out: %s", error)
    return pa.concat_tables(tables)


def _check_current(result: Path, data: dict[str, DataStamp]) -> None:
    row = read_result(result)
    if row is None:
        raise SweepError(f"{result.parent}: no result yet")
    if reason := staleness(row, data.get(row["task"])):
        raise SweepError(f"{result}: stale ({reason})")
