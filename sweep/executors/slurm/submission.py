"""Submitting an array so that nothing is lost and nothing is there twice, whatever happens in the middle.

The manifest with its token is on disk before `sbatch` starts. After a success the answer is written beside it. After anything
else (an error, silence, the death of this process) Slurm is asked for the token, now or by the next launch, before its runs are
submitted again.
"""

import fcntl
import io
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from datetime import datetime
from importlib import import_module
from typing import Any

from submitit.core.utils import FailedJobError

from sweep.core.atomic_files import cannot_write
from sweep.executors.slurm.commands import NoAnswer, ask, in_plain_environment
from sweep.executors.slurm.manifest import Manifest, read_answer, write_answer
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.sbatch import Executor
from sweep.store.layout import ArrayPaths

SETTLING_SECONDS = 5.0
"""A controller that wakes up works off its mail in any order: a token that is not there yet may be there so much later."""
_FRESH_SECONDS = 300.0
"""After so long nothing of a submission is under way any more."""


def submit(array: ArrayPaths, manifest: Manifest, profile: Profile, settings: Mapping[str, Any]) -> str:
    """Submit the array of `manifest`, which is saved first; returns Slurm's job id.

    Raises:
        Refused: Slurm does not have it and never will; that is on record.
        NoAnswer: it is not known whether Slurm has it; the next launch asks.
    """
    manifest.save(array)
    count = len(manifest.tasks)
    executor = Executor(profile, array)
    executor.update_parameters(**settings)
    try:
        with _told_to_sbatch(array), in_plain_environment(), redirect_stderr(io.StringIO()):
            # plain arguments to a function that is imported: nothing of the launcher is pickled by value
            jobs = executor.map_array(call_on_node, [str(array.manifest)] * count, range(count))
    except (FailedJobError, OSError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        job_id = settle(array, manifest, said)
        if job_id is None:
            raise Refused(said) from error
        return job_id
    job_id = jobs[0].job_id.partition("_")[0]
    write_answer(array, job_id)
    return job_id


def call_on_node(manifest: str, index: int) -> dict[str, str]:
    """What submitit calls in the job: the worker, by its name, since a launcher has no use for what jobs import."""
    result: dict[str, str] = import_module(f"{__package__}.on_node.worker").run_task(manifest, index)
    return result


class Refused(Exception):
    """Slurm did not take an array; the text is Slurm's."""


def settle(array: ArrayPaths, manifest: Manifest, said: str = "") -> str | None:
    """Find out whether Slurm has the array, and record it. Returns its job id, or None if it does not have it.

    Args:
        array: where.
        manifest: with the token to look for.
        said: what `sbatch` said, if this process called it.

    Raises:
        NoAnswer: Slurm does not answer, or an `sbatch` of a launch that has died is still talking to it.
    """
    if answer := read_answer(array):
        return answer["job_id"]
    if _certainly_refused(said):  # Slurm may list such a job by its name, as one that failed
        write_answer(array, None, said)
        return None
    job_id = find(manifest)
    if job_id is None:
        if _sbatch_lives(array):
            raise NoAnswer(
                f"an sbatch for {manifest.token} is still talking to Slurm; try again in some minutes"
            )
        age = (datetime.now() - datetime.fromisoformat(manifest.created_at)).total_seconds()
        if age < _FRESH_SECONDS:
            time.sleep(SETTLING_SECONDS)
        # in any case after the sbatch is gone: what it got through is there now
        job_id = find(manifest)
    write_answer(array, job_id, said if job_id is None else "")
    return job_id


def find(manifest: Manifest) -> str | None:
    """The id of the job with the token, running, waiting or remembered. Raises NoAnswer."""
    lines = ask("squeue", "-h", "-t", "all", "-n", manifest.token, "-o", "%F").split()
    if not lines:
        try:
            told = ask(
                "sacct", "-n", "-P", "-X", "--name", manifest.token, "-S", manifest.created_at, "-o", "JobID"
            )
            lines = [line.partition("_")[0] for line in told.split()]
        except NoAnswer:  # a cluster without accounting
            pass
    return lines[0] if lines else None


def _certainly_refused(said: str) -> bool:
    """Whether `sbatch` passed on a verdict of the controller's, and not that it lost touch with it."""
    lost = (
        "timed out",
        "timeout",
        "unable to contact",
        "connection",
        "zero bytes",
        "communication",
        "socket",
    )
    return "submission failed" in said.lower() and not any(words in said.lower() for words in lost)


@contextmanager
def _told_to_sbatch(array: ArrayPaths) -> Iterator[None]:
    """Hold the array's lock as standard input: `sbatch` inherits it, and so holds the lock after a launcher that is killed."""
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


def _sbatch_lives(array: ArrayPaths) -> bool:
    if not array.lock.exists():
        return False
    with array.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
