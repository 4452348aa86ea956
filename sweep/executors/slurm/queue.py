"""What Slurm knows of the sweep's jobs: one query of the queue and at most one of the accounting."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sweep.executors.slurm.commands import SlurmUnavailable, ask

ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT",
}  # fmt: skip
"""States that a job does not leave unless it is requeued. Every other one, known or not, is of a job that still exists."""

WAITING = {
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "RESV_DEL_HOLD",
    "SPECIAL_EXIT",
}
"""States of a job that exists, but has not started, or not again."""


@dataclass(frozen=True)
class Job:
    """One task of an array, as Slurm sees it.

    Attributes:
        job_id: `123_4`, or `123` for a single one.
        state: Slurm's word, e.g. `PENDING`.
        reason: why it waits or ended, Slurm's word; empty if there is none.
    """

    job_id: str
    state: str
    reason: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def waiting(self) -> bool:
        return self.state in WAITING

    @property
    def index(self) -> int:
        return int(self.job_id.partition("_")[2] or 0)


@dataclass(frozen=True)
class Queue:
    """Slurm's answer. `problem` is empty, or says why there was none: then nothing is known of any job."""

    jobs: Mapping[tuple[str, int], Job] = field(default_factory=dict)
    problem: str = ""

    def job(self, token: str, index: int) -> Job | None:
        """The task; None with an answer means that it does not exist any more, or never did."""
        return self.jobs.get((token, index))


def query(wanted: Mapping[str, Collection[int]], since: str) -> Queue:
    """Ask Slurm for tasks of arrays.

    Args:
        wanted: by token the indices that matter: the accounting is asked only if the queue lacks one of them.
        since: `created_at` of the oldest manifest.
    """
    if not wanted:
        return Queue()
    names = ",".join(wanted)
    try:
        answer = ask("squeue", "-h", "-r", "-t", "all", "-n", names, "-o", "%i|%j|%T|%r")
    except SlurmUnavailable as error:
        return Queue(problem=str(error))
    jobs = parse_squeue(answer)
    unknown = any((token, index) not in jobs for token, indices in wanted.items() for index in indices)
    # that a job ran out of memory only its step says
    unexplained = any(
        job.state == "FAILED" and job.index in wanted.get(token, ()) for (token, _), job in jobs.items()
    )
    if unknown or unexplained:
        try:
            early = (datetime.fromisoformat(since) - timedelta(days=1)).isoformat(timespec="seconds")
            columns = "JobID,JobName,State"
            accounted = parse_sacct(ask("sacct", "-n", "-P", "--name", names, "-S", early, "-o", columns))
        except SlurmUnavailable:  # a cluster without accounting
            accounted = {}
        for key, job in accounted.items():
            if key not in jobs or (jobs[key].state == "FAILED" and job.state == "OUT_OF_MEMORY"):
                jobs[key] = job
    return Queue(jobs)


def parse_squeue(text: str) -> dict[tuple[str, int], Job]:
    """By token and index, from lines `123_4|name|PENDING|Priority`."""
    jobs = {}
    for line in filter(None, text.splitlines()):
        job_id, token, state, reason = line.split("|", 3)
        if job_id.partition("_")[2].isdigit() or "_" not in job_id:
            job = Job(job_id, state, "" if reason == "None" else reason)
            jobs[token, job.index] = job
    return jobs


def parse_sacct(text: str) -> dict[tuple[str, int], Job]:
    """By token and index, from lines `123_4|name|FAILED`; a step `123_4.0` that ran out of memory says so for its job."""
    jobs: dict[str, tuple[str, str]] = {}
    out_of_memory = set()
    for line in filter(None, text.splitlines()):
        job_id, token, state = line.rsplit("|", 2) if line.count("|") == 2 else line.split("|", 2)
        state = state.split()[0] if state.strip() else ""  # `CANCELLED by 0`
        owner, dot, _ = job_id.partition(".")
        if dot:
            out_of_memory |= {owner} if state == "OUT_OF_MEMORY" else set()
        elif owner.partition("_")[2].isdigit() or "_" not in owner:
            jobs[owner] = (token, state)
    found = {}
    for job_id, (token, state) in jobs.items():
        # accounting that lags behind must not revive what the queue has forgotten
        end = "OUT_OF_MEMORY" if job_id in out_of_memory else state if state in ENDED else ""
        if end:
            job = Job(job_id, end)
            found[token, job.index] = job
    return found
