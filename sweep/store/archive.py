"""A copy of a sweep that consists of its rows: for publishing, or for keeping when the runs' own files are not kept.

It has the grid, the list of runs, the collection, whose rows need no other file, and the samples of translations. `sweep status`,
`sweep report`, `sweep.load` and a launch use it as they use the sweep itself.
"""

import json
from collections.abc import Iterable
from typing import Any

from sweep.core.atomic_files import write_text
from sweep.core.errors import StorageError, UsageError, summarise_exception
from sweep.store.collection import SOURCE, TABLES, Collected, write_collection
from sweep.store.layout import SweepPaths
from sweep.store.load import load_sweep


def archive(sweep: SweepPaths, target: SweepPaths) -> Collected:
    """Write a copy of `sweep` to `target`. Results that are stale or damaged are left out and named.

    Raises:
        UsageError: `target` exists.
    """
    if target.directory.exists():
        raise UsageError(f"{target.directory} exists; delete it, or name another directory with --to")
    tables, problems = {}, []
    for name in TABLES:
        tables[name], left_out = load_sweep(sweep, name)
        problems += [line for line in left_out if line not in problems]
    results = tables["result"]
    tasks = dict(zip(results["run_id"].to_pylist(), results["task"].to_pylist(), strict=True))
    for name, table in tables.items():
        write_collection(target, name, table.append_column(SOURCE, table["run_id"]), tasks)
    for task in set(tasks.values()):
        samples, damaged = _samples(sweep, task, [run_id for run_id in tasks if tasks[run_id] == task])
        problems += damaged
        if samples:
            lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in samples.items()]
            write_text(target.collected_samples(task), "".join(lines))
    write_text(target.runs_list, sweep.runs_list.read_text(encoding="utf-8"))
    write_text(target.grid, sweep.grid.read_text(encoding="utf-8"))  # last: what has a grid is a sweep
    return Collected(len(tasks), len(tasks), problems)


def archived_samples(sweep: SweepPaths, task: str) -> dict[str, Any]:
    """By run id the content of `samples.json` of runs that have no directory; empty in a sweep that is not an archive.

    Raises:
        StorageError: the file is damaged.
    """
    path = sweep.collected_samples(task)
    try:
        with path.open(encoding="utf-8") as lines:
            found = dict(map(json.loads, lines))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{path}: cannot be read ({summarise_exception(error)})") from None
    return {run_id: samples for run_id, samples in found.items() if not sweep.run(run_id).directory.exists()}


def _samples(sweep: SweepPaths, task: str, run_ids: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """The samples of runs of one task by run id, and a line for each file that is damaged."""
    found = archived_samples(sweep, task)
    problems = []
    for run_id in run_ids:
        path = sweep.run(run_id).samples
        try:
            found[run_id] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems.append(f"{path}: cannot be read ({summarise_exception(error)})")
    return found, problems
