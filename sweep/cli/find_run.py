"""Finding runs of a sweep: one by the beginning of its id, several by their values."""

from collections.abc import Sequence
from pathlib import Path

from sweep.config.key_values import parse_only, select_runs
from sweep.core.errors import UsageError, nearest
from sweep.store.layout import SweepPaths, existing_sweep, results_root
from sweep.store.submissions import read_runs


def find_run(
    beginning: str, name: str | None, results: Path | None, hint: str = "give the id of a run"
) -> tuple[SweepPaths, str]:
    """The one run whose id starts with `beginning`, in the sweep `name` or in all sweeps.

    `hint` is what to do where `beginning` is a sweep.

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
        raise UsageError(f"{beginning!r} is a sweep: {hint}")
    if not found:
        raise UsageError(
            f"no run {beginning!r} in {name or root}{nearest(beginning, (run_id for _, run_id in ids))}"
        )
    several = ", ".join(f"{sweep.name}: {run_id}" for sweep, run_id in found[:3])
    more = ", .." if len(found) > 3 else ""
    hints = [] if exact else ["write more of the id"]
    if len({sweep.name for sweep, _ in found}) > 1:
        hints.append("give --name")
    raise UsageError(f"{beginning!r} fits {len(found)} runs ({several}{more}); {', or '.join(hints)}")


def select_in_sweep(sweep: SweepPaths, only: Sequence[str]) -> set[str]:
    """Ids of the sweep's runs with the values of `--only`; all without any. Raises UsageError where there is none."""
    return select_runs(read_runs(sweep).values(), parse_only(only), f"sweep {sweep.name!r}")
