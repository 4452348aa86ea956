"""Finding runs of a sweep: one by the beginning of its id, several by their values."""

from collections.abc import Sequence
from pathlib import Path

from sweep.config.key_values import parse_only, select_runs
from sweep.core.errors import UsageError, nearest
from sweep.store.layout import SweepPaths, existing_sweep, results_root
from sweep.store.submissions import read_runs


def find_run(
    beginning: str, name: str | None, results: Path | None, *, logs: bool = False
) -> tuple[SweepPaths, str]:
    """The one run whose id starts with `beginning`, in the sweep `name` or in all sweeps.

    `logs` is for `sweep logs`, which takes a sweep with --failed and has no --name: errors say so.

    Raises:
        UsageError: none, or more than one.
    """
    root = results_root(results)
    sweeps = (
        [existing_sweep(name, results)]
        if name is not None
        else [SweepPaths(grid.parent) for grid in sorted(root.glob("*/grid.yaml"))]
    )
    ids = [(sweep, run_id) for sweep in sweeps for run_id in read_runs(sweep)]
    exact = [found for found in ids if found[1] == beginning]
    found = exact or [found for found in ids if found[1].startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if beginning in [sweep.name for sweep in sweeps]:
        hint = "add --failed, or give the id of a run" if logs else "give the id of a run"
        raise UsageError(f"{beginning!r} is a sweep: {hint}")
    if not found:
        raise UsageError(
            f"no run {beginning!r} in {name or root}{nearest(beginning, (run_id for _, run_id in ids))}"
        )
    several = ", ".join(f"{sweep.name}: {run_id}" for sweep, run_id in found[:3])
    hint = "write more of the id" + ("" if logs else ", or give --name")
    raise UsageError(f"{beginning!r} fits {len(found)} runs ({several}, ..); {hint}")


def select_in_sweep(sweep: SweepPaths, only: Sequence[str]) -> set[str]:
    """Ids of the sweep's runs with the values of `--only`; all without any. Raises UsageError where there is none."""
    chosen = select_runs(read_runs(sweep).values(), parse_only(only))
    if not chosen:
        raise UsageError(f"--only {','.join(only)}: no run of sweep {sweep.name!r} fits; see `sweep status`")
    return chosen
