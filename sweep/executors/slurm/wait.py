"""Waiting until none of a sweep's jobs is left."""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from sweep.executors.slurm.commands import SlurmUnavailable
from sweep.executors.slurm.job_status import release_failed_starts, with_slurm
from sweep.store.layout import SweepPaths
from sweep.store.status import RunStatus, survey
from sweep.store.submissions import DataStamp
from sweep.terminal.progress import Display

_SECONDS = 3.0


def wait(
    sweep: SweepPaths, run_ids: Collection[str], data: Mapping[str, DataStamp], display: Display
) -> None:
    """Return when no run of `run_ids` is running or in Slurm's queue. While Slurm does not answer, this waits."""
    active: dict[str, RunStatus] = {}
    last_problem = ""
    quiet = 0
    while quiet < 2:  # a job that is being requeued may be between two states at one check
        statuses, problem = with_slurm(sweep, survey(sweep, data))
        if problem != last_problem:
            display.note(problem or "Slurm answers again")
            last_problem = problem
        mine = {status.run_id: status for status in statuses if status.run_id in run_ids}
        with suppress(SlurmUnavailable):  # at the next check, then
            release_failed_starts(mine.values(), display.note)
        for run_id, status in mine.items():
            before = active.get(run_id)
            if status.state == "running" and not (before and before.state == "running"):
                display.started(status)
            if before and not _is_active(status, problem):
                display.ended(status)
        active = {run_id: status for run_id, status in mine.items() if _is_active(status, problem)}
        running = [status for status in active.values() if status.state == "running"]
        display.tick(running, len(active) - len(running))
        quiet = quiet + 1 if not active else 0
        if quiet < 2:
            time.sleep(_SECONDS)


def _is_active(status: RunStatus, problem: str) -> bool:
    return bool(status.job) or status.state == "running" or bool(problem and status.state == "unknown")
