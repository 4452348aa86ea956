"""The small job that follows the jobs of a launch and submits again what another job may finish (`--auto-retry`)."""

from collections.abc import Callable, Collection
from pathlib import Path

from sweep.executors.slurm.commands import ask
from sweep.executors.slurm.job_status import live_jobs
from sweep.executors.slurm.manifest import JobKind, Manifest, arrays, new_token, read_answer
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.sbatch import parameters
from sweep.executors.slurm.submission import SubmissionRejected, submit
from sweep.store.layout import SubmissionNumber, SweepPaths

_MINUTES = 15
_MEGABYTES = 2000


def submit_follow_up(
    sweep: SweepPaths,
    submission: SubmissionNumber,
    profile: Profile,
    code: Path,
    run_ids: Collection[str],
    say: Callable[[str], None],
) -> None:
    """Submit a job that starts when all arrays of a submission have ended, however they did, and then retries `run_ids`.

    A submission without arrays gets none. If Slurm rejects the job, a message says so: the next launch does the same.

    Raises:
        SlurmUnavailable: it is not known whether Slurm has it.
    """
    jobs = [
        answer["job_id"]
        for array, manifest in arrays(sweep.arrays)
        if manifest.submission == submission and (answer := read_answer(array)) and answer["job_id"]
    ]
    if not jobs:
        return
    manifest = Manifest(
        token=new_token(f"{sweep.name}-follow"),
        submission=submission,
        tasks=[[*run_ids]],
        code=str(code),
        kind=JobKind.FOLLOW_UP,
    )
    small = {
        "time": _MINUTES,
        "gpus": 0,
        "cpus": 1,
        "memory": profile.memory and min(profile.memory, _MEGABYTES),
    }
    profile = profile.model_copy(update=small)
    settings = parameters(profile, manifest.token, 1, code, dependency=f"afterany:{':'.join(jobs)}")
    try:
        job_id = submit(sweep.follow(submission), manifest, profile, settings)
    except SubmissionRejected as rejected:
        say(
            f"Slurm rejects the follow-up job ({rejected}); the next launch retries what it would have retried"
        )
    else:
        say(f"job {job_id}: retries what another job may finish, when these have ended")


def cancel_follow_ups(sweep: SweepPaths) -> None:
    """Cancel those that wait. Raises SlurmUnavailable."""
    if jobs := live_jobs(sweep.follows):
        ask("scancel", "--state=PENDING", *jobs)
