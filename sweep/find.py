"""Finding a run by the beginning of its id, and its log."""

from pathlib import Path

from sweep.catalog import read_runs
from sweep.errors import UsageError, nearest
from sweep.paths import SweepPaths, existing_sweep, results_root
from sweep.status import survey


def find_run(beginning: str, name: str | None, results: Path | None) -> tuple[SweepPaths, str]:
    """The one run whose id begins so, in the sweep `name` or in all sweeps.

    Raises:
        UsageError: none, or more than one.
    """
    root = results_root(results)
    sweeps = (
        [existing_sweep(name, results)]
        if name
        else [SweepPaths(grid.parent) for grid in sorted(root.glob("*/grid.yaml"))]
    )
    ids = [(sweep, run_id) for sweep in sweeps for run_id in read_runs(sweep)]
    exact = [found for found in ids if found[1] == beginning]
    found = exact or [found for found in ids if found[1].startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no run {beginning!r} in {name or root}{nearest(beginning, (run_id for _, run_id in ids))}"
        )
    several = ", ".join(f"{sweep.name}: {run_id}" for sweep, run_id in found[:3])
    raise UsageError(
        f"{beginning!r} fits {len(found)} runs ({several}, ..); write more of the id, or give --name"
    )


def print_logs(which: str, failed: bool, lines: int, results: Path | None) -> None:
    """Print the last `lines` lines of one run's log, or of every failed run's of the sweep `which`."""
    if failed:
        sweep = existing_sweep(which, results)
        runs = [(sweep, status.run_id) for status in survey(sweep) if status.state == "failed"]
        if not runs:
            print(f"no failed run in {which}")
    else:
        runs = [find_run(which, None, results)]
    for sweep, run_id in runs:
        log = sweep.run(run_id).log
        if not log.is_file():
            raise UsageError(f"{run_id} has no log yet; it has not begun")
        print(f"==> {log}")
        print("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]))
