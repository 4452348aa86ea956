"""A launch on Slurm: from the runs of a grid to jobs, whatever earlier launches left behind."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from sweep.executors.slurm import code_snapshot
from sweep.executors.slurm.auto_retry import submit_follow_up
from sweep.executors.slurm.commands import Limits, NoAnswer
from sweep.executors.slurm.executor import SlurmEngine
from sweep.executors.slurm.job_status import release_failed_starts, with_slurm
from sweep.executors.slurm.manifest import arrays, read_answer
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.sbatch import check_folder
from sweep.executors.slurm.selection import Choice, choose
from sweep.executors.slurm.smoke_jobs import SmokeTests
from sweep.executors.slurm.submission import settle
from sweep.run.smoke import ABOVE_RUNS
from sweep.store.layout import SubmissionNumber, SweepPaths
from sweep.store.run_record import RunRecord
from sweep.store.status import State, survey
from sweep.store.submissions import Submission, locked


class SlurmRequest(BaseModel):
    """What a launch on Slurm needs to know besides its runs.

    Attributes:
        profile: what jobs ask for.
        by_task: per task what replaces the profile's.
        concurrent: jobs at a time.
        pack: runs that share a job.
        smoke: try a large launch out first.
        retries: how often a run is tried again that ended for want of memory, with its node or at its time limit.
        auto_retry: have a small job do so when the jobs have ended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Profile
    by_task: Mapping[str, Mapping[str, Any]]
    concurrent: int | None = None
    pack: int = 1
    smoke: bool = True
    retries: int = 3
    auto_retry: bool = False

    def memory(self, task: str) -> int | None:
        """MB that a job of the task asks for."""
        return self.profile.overridden(self.by_task.get(task, {}), f"the grid's slurm.{task}").memory


def submit_missing(
    request: SlurmRequest,
    sweep: SweepPaths,
    specs: Mapping[str, RunRecord],
    submission: Submission,
    retried: Collection[State],
    say: Callable[[str], None],
) -> int:
    """Submit every run that is in a state of `retried` and in nobody's hands; returns how many there were.

    Args:
        request: how.
        sweep: where.
        specs: the runs by id.
        submission: with the current data by task, and plug-ins, of which jobs are to load copies.
        retried: states; `done` makes complete ones anew.
        say: told what happens, a line at a time.

    Raises:
        NoAnswer: Slurm does not answer, and nothing is submitted on a guess.
        Partly, Unacceptable: as `SlurmEngine.execute`.
    """
    check_folder(sweep.folder)
    with locked(sweep.arrays):  # one launch after the other: each sees what the one before has submitted
        settle_all(sweep, say)
        statuses, problem = with_slurm(sweep, survey(sweep, submission.data, specs=specs))
        if problem:
            raise NoAnswer(f"nothing is submitted: {problem}; the same command later")
        release_failed_starts(statuses, say)
        choice = choose(sweep, statuses, retried, request.retries, request.memory)
        todo = choice.todo
        _say_choice(choice, request.retries, say)
        if not todo:
            return 0
        code, plugins = code_snapshot.take(sweep, map(Path, submission.plugins))
        number = replace(submission, plugins=[str(path) for path in plugins]).save(sweep)
        again = {status.run_id for status in todo} if "done" in retried else set()
        large = len(todo) > ABOVE_RUNS
        engine = SlurmEngine(
            sweep,
            number,
            request.profile,
            request.by_task,
            code,
            again=again,
            concurrent=request.concurrent,
            pack=request.pack,
            by_run=choice.changes,
            smoke=SmokeTests(sweep, number, code, say) if request.smoke and large else None,
            say=say,
        )
        try:
            engine.execute([status.spec for status in todo])
        finally:  # also after those that Slurm took before it took no more
            if request.auto_retry:
                ids = [status.run_id for status in todo]
                submit_follow_up(sweep, number, request.profile, code, ids, say)
        return len(todo)


def settle_all(sweep: SweepPaths, say: Callable[[str], None]) -> None:
    """Find out about the arrays whose launcher died, or was left without an answer. Raises NoAnswer."""
    for array, manifest in arrays(sweep.arrays):
        if read_answer(array) is None:
            job_id = settle(array, manifest)
            found = f"is job {job_id}" if job_id else "never reached Slurm"
            say(f"an earlier launch ended without Slurm's answer: its array {manifest.token} {found}")


def _say_choice(choice: Choice, retries: int, say: Callable[[str], None]) -> None:
    if choice.again:
        say(f"{choice.again} runs are tried again because of how they ended")
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
    """Print the scripts that would be submitted. A machine without Slurm will do."""
    try:
        limits = Limits.ask()
    except NoAnswer as error:
        limits = Limits()
        say(f"# {error}; MaxArraySize = {limits.array_size + 1} is a guess")
    engine = SlurmEngine(
        sweep,
        SubmissionNumber(1),
        request.profile,
        request.by_task,
        sweep.code / "<hash>",
        concurrent=request.concurrent,
        pack=request.pack,
    )
    for script in engine.scripts(specs, limits):
        say(script)
