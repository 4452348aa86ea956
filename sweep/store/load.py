"""Reading the results of sweeps, for whoever analyses them."""

import logging
from pathlib import Path

import pyarrow as pa

from sweep.core.errors import UsageError, nearest
from sweep.store.collection import SOURCE, TABLES, read_rows
from sweep.store.layout import SweepPaths
from sweep.store.status import staleness
from sweep.store.submissions import current_data

_log = logging.getLogger(__name__)


def load(path: str | Path, table: str = "result") -> pa.Table:
    """Read the results of one sweep, or of every sweep below a directory.

    Args:
        path: a sweep's directory, or a directory of sweeps (`results`).
        table: `"result"` (a row a run), `"epochs"` or `"layers"`.

    Returns:
        pyarrow.Table with the columns of `RESULT`, `EPOCHS` or `LAYERS`, ordered by run directory. Files that are not whole or
        not the project's, and results that are stale, are left out and named in a warning of the logger `sweep.store.load`, as is
        a directory without any. What
        `sweep collect` has gathered is used where it is current, which is what makes 10,000 runs load in half a second.

    Raises:
        UsageError: no such directory, nothing in it has been launched, or no such table.
    """
    if table not in TABLES:
        raise UsageError(f"no table {table!r}{nearest(table, TABLES)}; there are {', '.join(TABLES)}")
    directory = Path(path).expanduser()
    sweeps = [directory] if _is_sweep(directory) else sorted(filter(_is_sweep, directory.glob("*")))
    if not sweeps:
        raise UsageError(
            f"no sweep in {directory}; give a sweep's directory or the directory that holds them"
        )
    tables = [TABLES[table].empty_table()]
    for each in sweeps:
        loaded, problems = load_sweep(SweepPaths(each), table)
        tables.append(loaded)
        for problem in problems:
            _log.warning("left out: %s", problem)
    whole = pa.concat_tables(tables)
    if not len(whole):
        _log.warning("no results in %s", directory)
    return whole


def _is_sweep(directory: Path) -> bool:
    """Whether there are runs in it; a directory of sweeps may have one called `runs`, from before that was refused."""
    return any(
        (directory / name).is_dir() and not (directory / name / "grid.yaml").exists()
        for name in ("runs", "collected")
    )


def load_sweep(sweep: SweepPaths, table: str) -> tuple[pa.Table, list[str]]:
    """The current rows of one sweep, and a line for each file that was left out."""
    results = read_rows(sweep, "result")
    directories = [source.partition("\t")[0] for source in results.table[SOURCE].to_pylist()]
    data = current_data(sweep)
    columns = (
        "task",
        "pruner",
        "data_hash",
        "pipeline_version",
        "plugins",
        "schema_version",
        "score_samples",
        "score_batch_size",
    )
    stale = {}
    for directory, row in zip(directories, results.table.select(columns).to_pylist(), strict=True):
        if reason := staleness(row, data.get(row["task"])):
            stale[directory] = f"{sweep.run(directory).result}: stale ({reason})"
    current = [directory for directory in directories if directory not in stale]
    problems = [*results.problems, *stale.values()]
    if table == "result":
        keep = pa.array([directory not in stale for directory in directories], pa.bool_())
        return results.table.filter(keep).drop_columns([SOURCE]), problems
    others = read_rows(sweep, table, current)
    return others.table.drop_columns([SOURCE]), [*problems, *others.problems]
