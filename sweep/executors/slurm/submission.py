"""Submitting an array so that nothing is lost and nothing is submitted twice, whatever happens in between.

The manifest with its token is on disk before `sbatch` starts. After a success the answer is written next to it. After anything
else (an error, no answer, the death of this process) Slurm is asked for the token, now or by the next launch, before its runs are
submitted again.
"""

import fcntl
import io
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from datetime import datetime
from importlib import import_module
from typing import Any

from submitit.core.utils import FailedJobError

from sweep.core.atomic_files import cannot_write
from sweep.executors.slurm.commands import SlurmUnavailable, ask_table, in_plain_environment
from sweep.executors.slurm.manifest import Manifest, read_answer, write_answer
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.sbatch import SubmititExecutor
from sweep.store.layout import ArrayPaths

SETTLING_SECONDS = 5.0
"""A controller that wakes up handles its requests in any order: a token it does not know yet may appear this much later."""
_FRESH_SECONDS = 300.0
"""After this time no request of a submission is pending any more."""


def submit(array: ArrayPaths, manifest: Manifest, profile: Profile, settings: Mapping[str, Any]) -> str:
    """Submit the array of `manifest`, which is saved first; returns Slurm's job id.

    Raises:
        SubmissionRejected: Slurm does not have it and never will; that is on record.
        SlurmUnavailable: it is not known whether Slurm has it; the next launch asks.
    """
    manifest.save(array)
    count = len(manifest.tasks)
    executor = SubmititExecutor(profile, array)
    executor.update_parameters(**settings)
    try:
        with _lock_inherited(array), in_plain_environment(), redirect_stderr(io.StringIO()):
            # plain arguments to a function that is imported: nothing of the launcher is pickled by value
            jobs = executor.map_array(call_on_node, [str(array.manifest)] * count, range(count))
    except (FailedJobError, OSError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        job_id = reconcile(array, manifest, message)
        if job_id is None:
            raise SubmissionRejected(message) from error
        return job_id
    job_id = jobs[0].job_id.partition("_")[0]
    write_answer(array, job_id)
    return job_id


def call_on_node(manifest: str, index: int) -> dict[str, str]:
    """What submitit calls in the job: the worker, by its name, since a launcher does not need what jobs import."""
    result: dict[str, str] = import_module(f"{__package__}.on_node.worker").run_task(manifest, index)
    return result


class SubmissionRejected(Exception):
    """Slurm did not take an array; the text is Slurm's."""


def reconcile(array: ArrayPaths, manifest: Manifest, message: str = "") -> str | None:
    """Find out whether Slurm has the array, and record it. Returns its job id, or None if it does not have it.

    Args:
        array: its files.
        manifest: with the token to search for.
        message: the error of `sbatch`, if this process called it.

    Raises:
        SlurmUnavailable: Slurm does not answer, or an `sbatch` of a launch that has died is still running.
    """
    if answer := read_answer(array):
        return answer["job_id"]
    if _certainly_rejected(message):  # Slurm may list such a job by its name, as one that failed
        write_answer(array, None, message)
        return None
    job_id = find(manifest)
    if job_id is None:
        if _sbatch_is_running(array):
            raise SlurmUnavailable(
                f"an sbatch for {manifest.token} is still running; try again in some minutes"
            )
        age = (datetime.now() - datetime.fromisoformat(manifest.created_at)).total_seconds()
        if age < _FRESH_SECONDS:
            time.sleep(SETTLING_SECONDS)
        # in any case after the sbatch has ended: what it got through is in the queue now
        job_id = find(manifest)
    write_answer(array, job_id, message if job_id is None else "")
    return job_id


def find(manifest: Manifest) -> str | None:
    """The id of the job with the token, whether it is running, waiting or only remembered. Raises SlurmUnavailable."""
    rows = ask_table("ARRAY_JOB_ID", "squeue", "-t", "all", "-n", manifest.token, "-o", "%F")
    if not rows:
        with suppress(SlurmUnavailable):  # a cluster without accounting
            named = ("--name", manifest.token, "-S", manifest.created_at)
            rows = ask_table("JobID", "sacct", "-P", "-X", *named, "-o", "JobID")
    return rows[0][0].partition("_")[0] if rows else None


def _certainly_rejected(message: str) -> bool:
    """Whether `sbatch` passed on a rejection by the controller, and not that it lost the connection."""
    lost = (
        "timed out",
        "timeout",
        "unable to contact",
        "connection",
        "zero bytes",
        "communication",
        "socket",
    )
    return "submission failed" in message.lower() and not any(words in message.lower() for words in lost)


@contextmanager
def _lock_inherited(array: ArrayPaths) -> Iterator[None]:
    """Hold the array's lock as standard input: `sbatch` inherits it, and so keeps it if the launcher is killed."""
    try:
        lock = os.open(array.lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise cannot_write(array.lock, error) from error
    try:
        before = os.dup(0)
    except OSError:  # a launcher without standard input
        before = None
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.dup2(lock, 0)
    os.close(lock)
    try:
        yield
    finally:
        if before is None:
            os.close(0)
        else:
            os.dup2(before, 0)
            os.close(before)


def _sbatch_is_running(array: ArrayPaths) -> bool:
    if not array.lock.exists():
        return False
    with array.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
