"""Taking runs back from Slurm."""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from sweep.core.atomic_files import write_text
from sweep.executors.slurm.auto_retry import cancel_follow_ups
from sweep.executors.slurm.commands import NoAnswer, ask
from sweep.executors.slurm.job_status import places, with_slurm
from sweep.executors.slurm.launch import settle_all
from sweep.executors.slurm.smoke_jobs import cancel_smoke_tests
from sweep.store.layout import SweepPaths
from sweep.store.status import RunStatus, survey
from sweep.store.submissions import locked

_AT_ONCE = 200
_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 600.0


def cancel(sweep: SweepPaths, run_ids: Collection[str], say: Callable[[str], None]) -> int:
    """Cancel the jobs of these runs and wait until Slurm has let go of them; returns how many jobs there were.

    A launch afterwards cannot overlap with what was cancelled. A job that also has runs which are not to be cancelled is left.

    Raises:
        NoAnswer: Slurm does not answer, or holds on for ten minutes.
    """
    with locked(sweep.arrays):
        settle_all(sweep, say)
        active = _active(sweep)
        everything = all(status.run_id in run_ids for status in active)
        if everything:
            cancel_follow_ups(sweep)
        chosen = _wholly(active, run_ids, say)
        at = places(sweep)
        for status in chosen:
            place = at[status.run_id]
            # first, so that a job which is about to put itself back sees it
            write_text(Path(place.array.cancelled(place.index)), "")
        jobs = sorted({status.job for status in chosen})
        for begin in range(0, len(jobs), _AT_ONCE):
            ask("scancel", *jobs[begin : begin + _AT_ONCE])
        if everything:
            cancel_smoke_tests(sweep)
        if jobs:
            say(f"{len(jobs)} jobs cancelled; waiting until Slurm has let go of them")
        end = time.monotonic() + _PATIENCE_SECONDS
        gone = {status.run_id for status in chosen}
        while still := [status for status in _active(sweep) if status.run_id in gone]:
            if time.monotonic() > end:
                raise NoAnswer(
                    f"{len(still)} cancelled jobs are still there, {still[0].job} for one; look again later"
                )
            time.sleep(_POLL_SECONDS)
        return len(jobs)


def _active(sweep: SweepPaths) -> list[RunStatus]:
    found, problem = with_slurm(sweep, survey(sweep))
    if problem:
        raise NoAnswer(problem)
    return [status for status in found if status.job]


def _wholly(
    active: Sequence[RunStatus], run_ids: Collection[str], say: Callable[[str], None]
) -> list[RunStatus]:
    """Of the active runs those to be cancelled, without the ones whose job has others that are active."""
    kept = {status.job: status.run_id for status in active if status.run_id not in run_ids}
    for job, run_id in kept.items():
        if any(status.job == job and status.run_id in run_ids for status in active):
            say(f"job {job} also has {run_id}, which is to go on: it is left")
    return [status for status in active if status.run_id in run_ids and status.job not in kept]
