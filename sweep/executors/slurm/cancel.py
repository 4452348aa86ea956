"""Cancelling the jobs of runs."""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from sweep.core.atomic_files import write_text
from sweep.executors.slurm.auto_retry import cancel_follow_ups
from sweep.executors.slurm.commands import SlurmUnavailable, ask
from sweep.executors.slurm.job_status import places, with_slurm
from sweep.executors.slurm.launch import reconcile_all
from sweep.executors.slurm.smoke_jobs import cancel_smoke_tests
from sweep.store.layout import SweepPaths
from sweep.store.lock import locked
from sweep.store.status import RunStatus, survey

_JOBS_PER_COMMAND = 200
_POLL_SECONDS = 1.0
_TIMEOUT_SECONDS = 600.0


def cancel(sweep: SweepPaths, run_ids: Collection[str], say: Callable[[str], None]) -> int:
    """Cancel the jobs of these runs and wait until Slurm has released them; returns how many jobs there were.

    A launch afterwards cannot overlap with what was cancelled. A job that also has other active runs is left alone.

    Raises:
        SlurmUnavailable: Slurm does not answer, or has not released them after ten minutes.
    """
    with locked(sweep.arrays, say=say):
        reconcile_all(sweep, say)
        active = _active(sweep)
        everything = all(status.run_id in run_ids for status in active)
        if everything:
            cancel_follow_ups(sweep)
        chosen = _wholly(active, run_ids, say)
        placed = places(sweep)
        for status in chosen:
            place = placed[status.run_id]
            # first, so that a job which is about to requeue itself sees it
            write_text(Path(place.array.cancelled(place.index)), "")
        jobs = sorted({status.job for status in chosen})
        for begin in range(0, len(jobs), _JOBS_PER_COMMAND):
            ask("scancel", *jobs[begin : begin + _JOBS_PER_COMMAND])
        if everything:
            cancel_smoke_tests(sweep)
        if jobs:
            say(f"{len(jobs)} jobs cancelled; waiting until Slurm has released them")
        end = time.monotonic() + _TIMEOUT_SECONDS
        gone = {status.run_id for status in chosen}
        while still := [status for status in _active(sweep) if status.run_id in gone]:
            if time.monotonic() > end:
                raise SlurmUnavailable(
                    f"{len(still)} cancelled jobs still exist, e.g. {still[0].job}; check again later"
                )
            time.sleep(_POLL_SECONDS)
        return len(jobs)


def _active(sweep: SweepPaths) -> list[RunStatus]:
    found, problem = with_slurm(sweep, survey(sweep))
    if problem:
        raise SlurmUnavailable(problem)
    return [status for status in found if status.job]


def _wholly(
    active: Sequence[RunStatus], run_ids: Collection[str], say: Callable[[str], None]
) -> list[RunStatus]:
    """Of the active runs those to be cancelled, without the ones whose job has others that are active."""
    kept = {status.job: status.run_id for status in active if status.run_id not in run_ids}
    for job, run_id in kept.items():
        if any(status.job == job and status.run_id in run_ids for status in active):
            say(f"job {job} also has {run_id}, which is not cancelled: it is left alone")
    return [status for status in active if status.run_id in run_ids and status.job not in kept]
