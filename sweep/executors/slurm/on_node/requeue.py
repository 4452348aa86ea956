"""Who requeues a job that has to stop before its runs are finished: Slurm, the job itself, or the next launch."""

import re
import time

from sweep.core.env import slurm_job
from sweep.executors.slurm.commands import SlurmUnavailable, ask
from sweep.store.layout import ArrayPaths

MAX_RESTARTS = 200
_TIMEOUT_SECONDS = 60.0
_NEXT_LAUNCH = "the next launch command resumes from the checkpoint"


def requeue(array: ArrayPaths, index: int) -> str:
    """Requeue this job if it is running and nobody else requeues it. Returns the outcome, in words for the log.

    Slurm is asked first: a job that it has requeued itself must not be requeued twice, and a cancelled one must not start again.
    A task is named `<array>_<index>`: the id of an array's last task is also that of the array, by which all tasks would restart.
    """
    me = slurm_job()
    if me is None:
        return f"this is not a Slurm job; {_NEXT_LAUNCH}"
    if me["slurm_restart"] >= MAX_RESTARTS:
        return f"this job has been requeued {MAX_RESTARTS} times; {_NEXT_LAUNCH}"
    job_id = str(me["slurm_job"])
    end = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            state, requeueable = _state(job_id)
            if array.cancelled(index).exists() or state.startswith("CANCELLED"):
                return f"the job was cancelled; {_NEXT_LAUNCH}"
            if state in ("PENDING", "REQUEUED", "COMPLETING", "REQUEUE_HOLD"):
                return "Slurm has requeued the job"
            if state not in ("RUNNING", "SUSPENDED"):
                return f"Slurm has ended the job ({state}); {_NEXT_LAUNCH}"
            if not requeueable:
                return f"the job may not be requeued; {_NEXT_LAUNCH}"
            ask("scontrol", "requeue", job_id)
            return "the job has requeued itself"
        except SlurmUnavailable as error:
            if time.monotonic() > end:
                return f"{error}; {_NEXT_LAUNCH}"
            time.sleep(2.0)


def _state(job_id: str) -> tuple[str, bool]:
    """The job's state, as Slurm names it, and whether it may be requeued."""
    description = ask("scontrol", "show", "job", "-o", job_id)
    state, requeue = re.search(r"\bJobState=(\S+)", description), re.search(r"\bRequeue=(\d)", description)
    if state is None:
        raise SlurmUnavailable(f"scontrol show job {job_id}: no state in its answer")
    return state[1], requeue is None or requeue[1] != "0"
