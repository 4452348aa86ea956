"""Submitting runs to Slurm as job arrays."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep.core.errors import ExitCode, SweepError
from sweep.executors.base import Executor
from sweep.executors.slurm.commands import Limits
from sweep.executors.slurm.manifest import Manifest, new_token
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.sbatch import check_directory, parameters, text
from sweep.executors.slurm.smoke_jobs import SmokeJob, SmokeTests, tasks_of
from sweep.executors.slurm.submission import SubmissionRejected, submit
from sweep.run.smoke import representatives
from sweep.store.layout import SubmissionNumber, SweepPaths
from sweep.store.run_record import RunRecord


class PartialSubmission(SweepError):
    """Slurm takes no more for now; what it took is on record, and the same command submits the rest, the runs `left`."""

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, wanted: Sequence[RunRecord], taken: Collection[str], why: str) -> None:
        self.taken = len(taken)
        self.left = [spec.id for spec in wanted if spec.id not in taken]
        super().__init__(
            f"{len(taken)} of {len(wanted)} runs are submitted, for now Slurm takes no more ({why}); "
            "the same command submits the rest"
        )


class InvalidJob(SweepError):
    """Slurm does not take such jobs at all."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class Group:
    """Tasks of equal resources. Each task is a list of runs of `threads` threads each, which are executed at the same time.

    `concurrent` is how many of the tasks may run at a time; None: as many as Slurm starts. A smoke test takes the runs `tried`,
    of all groups that have the profile.
    """

    profile: Profile
    threads: int
    tasks: list[list[str]]
    tried: Sequence[RunRecord]
    concurrent: int | None

    @property
    def cpus(self) -> int:
        """Cores that a task's runs use."""
        return self.threads * max(map(len, self.tasks))


@dataclass(frozen=True)
class JobPlan:
    """How runs are divided into jobs, and what each job asks for.

    Attributes:
        profile: what jobs ask for.
        by_task: per task what replaces the profile's keys.
        by_run: per run id what replaces them, for runs that lacked something before.
        pack: runs that share a job.
        concurrent: jobs at a time, shared by the groups; None: as many as Slurm starts.
    """

    profile: Profile
    by_task: Mapping[str, Mapping[str, Any]]
    by_run: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pack: int = 1
    concurrent: int | None = None

    def of_task(self, task: str) -> Profile:
        """The profile of a task's jobs."""
        return self.profile.overridden(self.by_task.get(task, {}), f"the grid's slurm.{task}")

    def groups(self, specs: Sequence[RunRecord]) -> list[Group]:
        """The runs by equal resources, in the order of the first run of each group."""
        profiles = {task: self.of_task(task) for task in {spec.task for spec in specs}}
        members: dict[tuple[str, int], tuple[Profile, list[str]]] = {}
        by_profile: dict[str, list[RunRecord]] = {}
        for spec in specs:
            profile, changes = profiles[spec.task], dict(self.by_run.get(spec.id, {}))
            if "exclude" in changes:
                changes["exclude"] = [*profile.exclude, *changes["exclude"]]
            profile = profile.model_copy(update=changes)
            key = profile.model_dump_json()
            members.setdefault((key, spec.threads), (profile, []))[1].append(spec.id)
            by_profile.setdefault(key, []).append(spec)
        tried = {key: representatives(alike) for key, alike in by_profile.items()}
        packed = {key: _packs(ids, self.pack) for key, (_, ids) in members.items()}
        total = sum(map(len, packed.values()))
        return [
            Group(profile, key[1], packed[key], tried[key[0]], self._share(len(packed[key]), total))
            for key, (profile, _) in members.items()
        ]

    def _share(self, tasks: int, total: int) -> int | None:
        """The part of the jobs at a time that a group of so many tasks gets, at least one."""
        return None if self.concurrent is None else max(1, self.concurrent * tasks // total)


class SlurmExecutor(Executor):
    """Submits runs as job arrays, one or more for each group of equal resources.

    Args:
        sweep: where the runs are.
        submission: number of the submission that records where the data is.
        jobs: how runs are divided into jobs, and what each asks for.
        code: the snapshot that jobs import.
        again: ids of runs to execute even if they are complete.
        smoke: the smoke tests that the arrays wait for; None: they wait for none.
        say: reports what happens, a line at a time.
    """

    def __init__(
        self,
        sweep: SweepPaths,
        submission: SubmissionNumber,
        jobs: JobPlan,
        code: Path,
        again: Collection[str] = (),
        smoke: SmokeTests | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        check_directory(sweep.directory)
        self.sweep, self.submission, self.jobs, self.code = sweep, submission, jobs, code
        self.again, self.smoke, self.say = again, smoke, say

    def execute(self, specs: Sequence[RunRecord]) -> None:
        """Submit the runs with these specifications.

        Raises:
            PartialSubmission: a limit keeps the rest from being submitted.
            InvalidJob: Slurm does not take such jobs.
            SlurmUnavailable: Slurm does not answer.
        """
        limits = Limits.ask()
        array_number = 0
        taken: set[str] = set()
        for group in self.jobs.groups(specs):
            waiting, most = list(group.tasks), limits.array_size
            after = self._smoke_job(group, limits, specs, taken)
            while waiting:
                size = limits.room(min(len(waiting), most))
                if size == 0:
                    raise _full(specs, taken, limits)
                array_number += 1
                try:
                    self._submit(array_number, group, waiting[:size], after)
                except SubmissionRejected as rejected:
                    if not is_limit(str(rejected)):
                        raise InvalidJob(f"Slurm rejects the jobs: {rejected}; fix the profile") from rejected
                    if size == 1:
                        raise PartialSubmission(specs, taken, str(rejected)) from rejected
                    most = size // 2  # an array is taken as a whole or not at all
                    continue
                taken |= {run_id for task in waiting[:size] for run_id in task}
                del waiting[:size]

    def scripts(self, specs: Sequence[RunRecord], limits: Limits) -> Iterator[str]:
        """The sbatch scripts that `execute` would submit, if nothing limits it."""
        array_number = 0
        for group in self.jobs.groups(specs):
            for begin in range(0, len(group.tasks), limits.array_size):
                array_number += 1
                array = self.sweep.array(self.submission, array_number)
                token = new_token(self.sweep.name)
                settings = parameters(group.profile, token, group.cpus, self.code, group.concurrent)
                count = len(group.tasks[begin : begin + limits.array_size])
                yield text(group.profile, array, count, settings)

    def _smoke_job(
        self, group: Group, limits: Limits, wanted: Sequence[RunRecord], taken: Collection[str]
    ) -> SmokeJob | None:
        """The job that the arrays of `group` wait for, submitted right before the first of them. Raises as `execute`.

        So no job is spent on trying out runs that a limit keeps out.
        """
        if self.smoke is None:
            return None
        if limits.room(2) < 2:  # for itself and for one that waits for it
            raise _full(wanted, taken, limits)
        try:
            return self.smoke.job(group.profile, group.tried)
        except SubmissionRejected as rejected:
            if is_limit(str(rejected)):
                raise PartialSubmission(wanted, taken, str(rejected)) from rejected
            raise InvalidJob(
                f"Slurm rejects the smoke test of {tasks_of(group.tried)}: {rejected}; "
                "fix the profile, or what the grid's slurm says of them"
            ) from rejected

    def _submit(
        self, array_number: int, group: Group, tasks: list[list[str]], after: SmokeJob | None
    ) -> None:
        array = self.sweep.array(self.submission, array_number)
        ids = {run_id for task in tasks for run_id in task}
        manifest = Manifest(
            token=new_token(self.sweep.name),
            submission=self.submission,
            tasks=tasks,
            code=str(self.code),
            again=not ids.isdisjoint(self.again),
            after=str(after.log.relative_to(self.sweep.directory)) if after else "",
        )
        dependency = f"afterok:{after.job_id}" if after else ""
        settings = parameters(
            group.profile, manifest.token, group.cpus, self.code, group.concurrent, dependency
        )
        job_id = submit(array, manifest, group.profile, settings)
        self.say(f"job {job_id}: {len(ids)} runs  ({manifest.token})")


def _full(wanted: Sequence[RunRecord], taken: Collection[str], limits: Limits) -> PartialSubmission:
    return PartialSubmission(wanted, taken, f"the cluster holds MaxJobCount = {limits.jobs} jobs")


def _packs(ids: Sequence[str], size: int) -> list[list[str]]:
    return [list(ids[begin : begin + size]) for begin in range(0, len(ids), size)]


def is_limit(message: str) -> bool:
    """Whether what Slurm objects to is the count of jobs, so that fewer may do."""
    if any(words in message for words in ("array specification", "temporarily unable", "MaxJobCount")):
        return True
    # newer versions of Slurm name the limit; the sentence that follows is the same for all of them
    named = re.search(r"\b(?:QOS|Assoc)\w+", message)
    return "Submit" in named[0] if named else "job submit limit" in message
