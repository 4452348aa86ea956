"""The short jobs that test a launch before its arrays may start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep.executors.slurm.commands import ask
from sweep.executors.slurm.job_status import live_jobs
from sweep.executors.slurm.manifest import JobKind, Manifest, new_token
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.sbatch import parameters
from sweep.executors.slurm.submission import submit
from sweep.store.layout import SubmissionNumber, SweepPaths
from sweep.store.run_record import RunRecord

_MINUTES = 15


@dataclass(frozen=True)
class SmokeJob:
    """A job that arrays wait for, and where it writes what it tries and what fails."""

    job_id: str
    log: Path


class SmokeTests:
    """The smoke jobs of a launch, one for each profile of its arrays: a task is tried with the resources of its own jobs.

    Arrays wait for the smoke job of their own profile only: a GPU or a setup line that fails there does not concern tasks that
    need neither.

    Args:
        sweep: where the runs are.
        submission: number of the launch.
        code: the snapshot that the jobs import.
        say: reports each job.
    """

    def __init__(
        self, sweep: SweepPaths, submission: SubmissionNumber, code: Path, say: Callable[[str], None]
    ) -> None:
        self._sweep, self._submission, self._code, self._say = sweep, submission, code, say
        self._jobs: dict[str, SmokeJob] = {}

    def job(self, profile: Profile, specs: Sequence[RunRecord]) -> SmokeJob:
        """The job that tries `specs` out, one after the other, with `profile`; submitted on the first call.

        Raises as `sweep.executors.slurm.submission.submit`.
        """
        key = profile.model_dump_json()
        if key not in self._jobs:
            self._jobs[key] = self._submit(profile, specs)
        return self._jobs[key]

    def _submit(self, profile: Profile, specs: Sequence[RunRecord]) -> SmokeJob:
        array = self._sweep.smoke(self._submission, len(self._jobs) + 1)
        manifest = Manifest(
            token=new_token(f"{self._sweep.name}-smoke"),
            submission=self._submission,
            tasks=[[spec.id for spec in specs]],
            code=str(self._code),
            kind=JobKind.SMOKE_TEST,
        )
        short = profile.model_copy(update={"time": min(profile.time, _MINUTES)})
        threads = max(spec.threads for spec in specs)
        job_id = submit(array, manifest, short, parameters(short, manifest.token, threads, self._code))
        self._say(f"job {job_id}: a smoke test, which the runs of {tasks_of(specs)} wait for")
        return SmokeJob(job_id, array.log(job_id))


def cancel_smoke_tests(sweep: SweepPaths) -> None:
    """Cancel those that wait or run, for which no array waits any more. Raises SlurmUnavailable."""
    if jobs := live_jobs(sweep.smokes):
        ask("scancel", *jobs)


def tasks_of(specs: Sequence[RunRecord]) -> str:
    """The tasks of `specs`, for people to read."""
    return ", ".join(dict.fromkeys(spec.task for spec in specs))
