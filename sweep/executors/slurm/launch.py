"""A launch on Slurm: from the runs of a grid to jobs, whatever earlier launches have left behind."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from sweep.executors.slurm import code_snapshot
from sweep.executors.slurm.auto_retry import submit_follow_up
from sweep.executors.slurm.commands import Limits, SlurmUnavailable
from sweep.executors.slurm.executor import JobPlan, SlurmExecutor
from sweep.executors.slurm.job_status import release_failed_starts, with_slurm
from sweep.executors.slurm.manifest import arrays, read_answer
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.sbatch import check_directory
from sweep.executors.slurm.selection import Choice, choose
from sweep.executors.slurm.smoke_jobs import SmokeTests
from sweep.executors.slurm.submission import reconcile
from sweep.run.smoke import ABOVE_RUNS
from sweep.store.layout import SubmissionNumber, SweepPaths
from sweep.store.lock import PATIENCE, locked
from sweep.store.run_record import RunRecord
from sweep.store.status import State, survey
from sweep.store.submissions import Submission


class SlurmRequest(BaseModel):
    """What a launch on Slurm needs to know in addition to its runs.

    Attributes:
        profile: what jobs ask for.
        by_task: per task what replaces the profile's keys.
        concurrent: jobs at a time.
        pack: runs that share a job.
        smoke: try a large launch out first.
        retries: how often a run is retried that ended by running out of memory, node failure or its time limit.
        auto_retry: have a small job retry when the jobs have ended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Profile
    by_task: Mapping[str, Mapping[str, Any]]
    concurrent: int | None = None
    pack: int = 1
    smoke: bool = True
    retries: int = 3
    auto_retry: bool = False

    def job_plan(self, by_run: Mapping[str, Mapping[str, Any]] | None = None) -> JobPlan:
        """How runs are divided into jobs; `by_run` is what replaces the profile's keys per run id."""
        return JobPlan(self.profile, self.by_task, by_run or {}, self.pack, self.concurrent)


def submit_missing(
    request: SlurmRequest,
    sweep: SweepPaths,
    specs: Mapping[str, RunRecord],
    submission: Submission,
    retried: Collection[State],
    say: Callable[[str], None],
    patience: float = PATIENCE,
) -> int:
    """Submit every run that is in a state of `retried` and not held or queued; returns how many there were.

    Args:
        request: how.
        sweep: where.
        specs: the runs by id.
        submission: with the current data by task, and plug-ins, of which jobs are to load copies.
        retried: states; with `done` complete ones are executed again.
        say: reports what happens, a line at a time.
        patience: seconds to wait for another launch or cancellation of the sweep.

    Raises:
        Locked: another one is still at it.
        SlurmUnavailable: Slurm does not answer, and nothing is submitted on a guess.
        PartialSubmission, InvalidJob: as `SlurmExecutor.execute`.
    """
    check_directory(sweep.directory)
    with locked(
        sweep.arrays, patience, say
    ):  # one launch after the other: each sees what the one before has submitted
        reconcile_all(sweep, say)
        statuses, problem = with_slurm(sweep, survey(sweep, submission.data, specs=specs))
        if problem:
            raise SlurmUnavailable(f"nothing is submitted: {problem}; the same command later")
        release_failed_starts(statuses, say)
        jobs = request.job_plan()
        choice = choose(sweep, statuses, retried, request.retries, lambda task: jobs.of_task(task).memory)
        todo = choice.todo
        _say_choice(choice, request.retries, say)
        if not todo:
            return 0
        code, plugins = code_snapshot.take(sweep, map(Path, submission.plugins), say)
        number = replace(submission, plugins=[str(path) for path in plugins]).save(sweep)
        again = {status.run_id for status in todo} if "done" in retried else set()
        large = len(todo) > ABOVE_RUNS
        smoke = SmokeTests(sweep, number, code, say) if request.smoke and large else None
        executor = SlurmExecutor(sweep, number, request.job_plan(choice.changes), code, again, smoke, say)
        try:
            executor.execute([status.spec for status in todo])
        finally:  # also after those that Slurm took before it took no more
            if request.auto_retry:
                ids = [status.run_id for status in todo]
                submit_follow_up(sweep, number, request.profile, code, ids, say)
        return len(todo)


def reconcile_all(sweep: SweepPaths, say: Callable[[str], None]) -> None:
    """Find out about the arrays whose launcher died or did not get an answer. Raises SlurmUnavailable."""
    for array, manifest in arrays(sweep.arrays):
        if read_answer(array) is None:
            job_id = reconcile(array, manifest)
            found = f"is job {job_id}" if job_id else "never reached Slurm"
            say(f"an earlier launch ended without Slurm's answer: its array {manifest.token} {found}")


def _say_choice(choice: Choice, retries: int, say: Callable[[str], None]) -> None:
    if choice.retried:
        say(f"{choice.retried} runs are retried because of how they ended")
    for run_id, changes in list(choice.changes.items())[:20]:
        say(f"{run_id}: " + ", ".join(f"{key} {value}" for key, value in changes.items()))
    if choice.given_up:
        example = choice.given_up[0]
        say(
            f"{len(choice.given_up)} runs have used up their {retries} retries ({example.run_id}: {example.detail}); "
            "--retry failed takes them too"
        )


def dry_run(
    request: SlurmRequest, sweep: SweepPaths, specs: Sequence[RunRecord], say: Callable[[str], None]
) -> None:
    """Print the scripts that would be submitted. Works on a machine without Slurm, too."""
    try:
        limits = Limits.ask()
    except SlurmUnavailable as error:
        limits = Limits()
        say(f"# {error}; MaxArraySize = {limits.array_size + 1} is a guess")
    executor = SlurmExecutor(sweep, SubmissionNumber(1), request.job_plan(), sweep.code / "<hash>")
    for script in executor.scripts(specs, limits):
        say(script)
