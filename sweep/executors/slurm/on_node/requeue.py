"""Who puts a job back into the queue that has to stop before its runs are finished: Slurm, the job itself, or the next launch."""

import re
import time

from sweep.core.env import slurm_job
from sweep.executors.slurm.commands import NoAnswer, ask
from sweep.store.layout import ArrayPaths

MOST_RESTARTS = 200
_PATIENCE_SECONDS = 60.0
_NEXT_LAUNCH = "the next launch command goes on from the checkpoint"


def put_back(array: ArrayPaths, index: int) -> str:
    """Requeue this job if it runs and nobody else does it. Returns what came of it, in words.

    Slurm is asked first: a job that it has requeued itself must not be requeued twice, and one that was cancelled must not rise
    again. A task is named `<array>_<index>`: the last task of an array has the array's own number, by which all would restart.
    """
    me = slurm_job()
    if me is None:
        return f"this is no Slurm job; {_NEXT_LAUNCH}"
    if me["slurm_restart"] >= MOST_RESTARTS:
        return f"this job has been put back {MOST_RESTARTS} times; {_NEXT_LAUNCH}"
    job_id = str(me["slurm_job"])
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            state, requeueable = _state(job_id)
            if array.cancelled(index).exists() or state.startswith("CANCELLED"):
                return f"the job was cancelled; {_NEXT_LAUNCH}"
            if state in ("PENDING", "REQUEUED", "COMPLETING", "REQUEUE_HOLD"):
                return "Slurm has put the job back into the queue"
            if state not in ("RUNNING", "SUSPENDED"):
                return f"Slurm has ended the job ({state}); {_NEXT_LAUNCH}"
            if not requeueable:
                return f"the job may not be requeued; {_NEXT_LAUNCH}"
            ask("scontrol", "requeue", job_id)
            return "the job has put itself back into the queue"
        except NoAnswer as error:
            if time.monotonic() > end:
                return f"{error}; {_NEXT_LAUNCH}"
            time.sleep(2.0)


def _state(job_id: str) -> tuple[str, bool]:
    """Slurm's word for the state of the job, and whether it may be requeued."""
    told = ask("scontrol", "show", "job", "-o", job_id)
    state, requeue = re.search(r"\bJobState=(\S+)", told), re.search(r"\bRequeue=(\d)", told)
    if state is None:
        raise NoAnswer(f"scontrol show job {job_id}: no state in its answer")
    return state[1], requeue is None or requeue[1] != "0"
