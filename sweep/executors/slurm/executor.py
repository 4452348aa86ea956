"""Handing runs over to Slurm."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.core.errors import ExitCode, SweepError
from sweep.executors.slurm.commands import Limits
from sweep.executors.slurm.manifest import Manifest, new_token
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.sbatch import check_folder, parameters, text
from sweep.executors.slurm.smoke_jobs import SmokeJob, SmokeTests, tasks_of
from sweep.executors.slurm.submission import Refused, submit
from sweep.run.smoke import representatives
from sweep.store.layout import SubmissionNumber, SweepPaths
from sweep.store.run_record import RunRecord


class Partly(SweepError):
    """Slurm takes no more for now; what it took is on record, and the same command submits the rest, the runs `left`."""

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, wanted: Sequence[RunRecord], taken: Collection[str], why: str) -> None:
        self.taken = len(taken)
        self.left = [spec.id for spec in wanted if spec.id not in taken]
        super().__init__(
            f"{len(taken)} of {len(wanted)} runs are submitted, for now Slurm takes no more ({why}); "
            "the same command submits the rest"
        )


class Unacceptable(SweepError):
    """Slurm does not take such jobs at all."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class Group:
    """Tasks of equal resources. Each task is a list of runs of so many threads each, which are executed at once.

    A smoke test takes the runs `tried`, of all groups that have the profile.
    """

    profile: Profile
    threads: int
    tasks: list[list[str]]
    tried: Sequence[RunRecord]

    @property
    def cpus(self) -> int:
        """Processors that a task's runs use."""
        return self.threads * max(map(len, self.tasks))


class SlurmEngine:
    """Submits runs as job arrays, one or more for each group of equal resources.

    Args:
        sweep: where the runs are.
        submission: number of the submission that says where the data is.
        profile: what jobs ask for.
        by_task: per task what replaces the profile's.
        code: the snapshot that jobs import.
        again: ids of runs to make anew, also complete ones.
        concurrent: jobs at a time, shared by the arrays of this launch; None: as many as Slurm starts.
        pack: runs that share a job.
        by_run: per run id what replaces the profile's, for runs that lacked something before.
        smoke: the smoke tests that the arrays wait for; None: for none.
        say: told what happens, a line at a time.
    """

    def __init__(
        self,
        sweep: SweepPaths,
        submission: SubmissionNumber,
        profile: Profile,
        by_task: Mapping[str, Mapping[str, Any]],
        code: Path,
        again: Collection[str] = (),
        concurrent: int | None = None,
        pack: int = 1,
        by_run: Mapping[str, Mapping[str, Any]] | None = None,
        smoke: SmokeTests | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        check_folder(sweep.folder)
        self.sweep, self.submission, self.profile, self.by_task = sweep, submission, profile, by_task
        self.code, self.again, self.concurrent = code, again, concurrent
        self.pack, self.by_run, self.smoke, self.say = pack, by_run or {}, smoke, say

    def execute(self, specs: Sequence[RunRecord]) -> None:
        """Submit the runs with these specifications.

        Raises:
            Partly: a limit keeps the rest from being submitted.
            Unacceptable: Slurm refuses such jobs.
            NoAnswer: Slurm does not answer.
        """
        limits = Limits.ask()
        number = 0
        taken: set[str] = set()
        for group, concurrent in self._shared(self._groups(specs)):
            waiting, most = list(group.tasks), limits.array_size
            after = self._tried_by(group, limits, specs, taken)
            while waiting:
                size = limits.room(min(len(waiting), most))
                if size == 0:
                    raise _full(specs, taken, limits)
                number += 1
                try:
                    self._submit(number, group, waiting[:size], concurrent, after)
                except Refused as refused:
                    if not is_limit(str(refused)):
                        raise Unacceptable(
                            f"Slurm refuses the jobs: {refused}; mend the profile"
                        ) from refused
                    if size == 1:
                        raise Partly(specs, taken, str(refused)) from refused
                    most = size // 2  # an array is taken as a whole or not at all
                    continue
                taken |= {run_id for task in waiting[:size] for run_id in task}
                del waiting[:size]

    def scripts(self, specs: Sequence[RunRecord], limits: Limits) -> Iterator[str]:
        """The sbatch scripts that `execute` would submit, if nothing limits it."""
        number = 0
        for group, concurrent in self._shared(self._groups(specs)):
            for begin in range(0, len(group.tasks), limits.array_size):
                number += 1
                array = self.sweep.array(self.submission, number)
                settings = parameters(
                    group.profile, new_token(self.sweep.name), group.cpus, self.code, concurrent
                )
                yield text(
                    group.profile, array, len(group.tasks[begin : begin + limits.array_size]), settings
                )

    def _tried_by(
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
        except Refused as refused:
            if is_limit(str(refused)):
                raise Partly(wanted, taken, str(refused)) from refused
            raise Unacceptable(
                f"Slurm refuses the smoke test of {tasks_of(group.tried)}: {refused}; "
                "mend the profile, or what the grid's slurm says of them"
            ) from refused

    def _submit(
        self,
        number: int,
        group: Group,
        tasks: list[list[str]],
        concurrent: int | None,
        after: SmokeJob | None,
    ) -> None:
        array = self.sweep.array(self.submission, number)
        ids = {run_id for task in tasks for run_id in task}
        manifest = Manifest(
            token=new_token(self.sweep.name),
            submission=self.submission,
            tasks=tasks,
            code=str(self.code),
            again=not ids.isdisjoint(self.again),
            after=str(after.log.relative_to(self.sweep.folder)) if after else "",
        )
        dependency = f"afterok:{after.job_id}" if after else ""
        settings = parameters(group.profile, manifest.token, group.cpus, self.code, concurrent, dependency)
        job_id = submit(array, manifest, group.profile, settings)
        self.say(f"job {job_id}: {len(ids)} runs  ({manifest.token})")

    def _groups(self, specs: Sequence[RunRecord]) -> list[Group]:
        profiles = {
            task: self.profile.overridden(self.by_task.get(task, {}), f"the grid's slurm.{task}")
            for task in {spec.task for spec in specs}
        }
        members: dict[tuple[str, int], tuple[Profile, list[str]]] = {}
        alike: dict[str, list[RunRecord]] = {}
        for spec in specs:
            profile, changes = profiles[spec.task], dict(self.by_run.get(spec.id, {}))
            if "exclude" in changes:
                changes["exclude"] = [*profile.exclude, *changes["exclude"]]
            profile = profile.model_copy(update=changes)
            key = profile.model_dump_json()
            members.setdefault((key, spec.threads), (profile, []))[1].append(spec.id)
            alike.setdefault(key, []).append(spec)
        tried = {key: representatives(of_profile) for key, of_profile in alike.items()}
        return [
            Group(profile, threads, _packs(ids, self.pack), tried[key])
            for (key, threads), (profile, ids) in members.items()
        ]

    def _shared(self, groups: Sequence[Group]) -> list[tuple[Group, int | None]]:
        """Each group with its part of the jobs at a time, by size, and one at least."""
        if self.concurrent is None:
            return [(group, None) for group in groups]
        total = sum(len(group.tasks) for group in groups)
        return [(group, max(1, self.concurrent * len(group.tasks) // total)) for group in groups]


def _full(wanted: Sequence[RunRecord], taken: Collection[str], limits: Limits) -> Partly:
    return Partly(wanted, taken, f"the cluster holds MaxJobCount = {limits.jobs} jobs")


def _packs(ids: Sequence[str], size: int) -> list[list[str]]:
    return [list(ids[begin : begin + size]) for begin in range(0, len(ids), size)]


def is_limit(said: str) -> bool:
    """Whether it is a number of jobs that Slurm objects to, of which fewer may do."""
    if "array specification" in said or "temporarily unable" in said or "MaxJobCount" in said:
        return True
    # newer Slurms name the limit; the sentence that follows is the same for all of them
    named = re.search(r"\b(?:QOS|Assoc)\w+", said)
    return "Submit" in named[0] if named else "job submit limit" in said
