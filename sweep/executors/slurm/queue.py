"""What Slurm knows of the sweep's jobs: one query of the queue, and one more and one of the accounting where it lacks some."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sweep.executors.slurm.commands import SlurmUnavailable, ask_table

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


@dataclass(frozen=True)
class Wanted:
    """An array that is asked for.

    Attributes:
        indices: of the tasks that matter.
        job_id: Slurm's id of the array; empty while it is not known.
        directory: where its batch script is.
    """

    indices: Collection[int]
    job_id: str = ""
    directory: Path = Path()


Jobs = dict[tuple[str, int | None], Job]
"""By token and index. An array's cancelled rest, which Slurm keeps as one record, has the index None; so has a single job."""


@dataclass(frozen=True)
class Queue:
    """Slurm's answer. `problem` is empty, or says why there was none: then nothing is known of any job."""

    jobs: Mapping[tuple[str, int | None], Job] = field(default_factory=dict)
    problem: str = ""

    def job(self, token: str, index: int) -> Job | None:
        """The task; None with an answer means that it does not exist any more, or never did."""
        return self.jobs.get((token, index)) or self.jobs.get((token, None))


def query(wanted: Mapping[str, Wanted], since: str) -> Queue:
    """Ask Slurm for tasks of arrays.

    Args:
        wanted: by token. Ids of jobs and the accounting are asked for only if the queue lacks a task by its array's name.
        since: `created_at` of the oldest manifest.
    """
    if not wanted:
        return Queue()
    try:
        jobs = _by_name(wanted)
        if lacking := _lacking(jobs, wanted):
            jobs |= _by_id({token: wanted[token] for token in lacking})
    except SlurmUnavailable as error:
        return Queue(problem=str(error))
    # that a job ran out of memory only its step says
    unexplained = any(
        job.state == "FAILED" and token in wanted and (index is None or index in wanted[token].indices)
        for (token, index), job in jobs.items()
    )
    if _lacking(jobs, wanted) or unexplained:
        try:
            accounted = _accounted(wanted, since)
        except SlurmUnavailable:  # a cluster without accounting
            accounted = {}
        for key, job in accounted.items():
            if key not in jobs or (jobs[key].state == "FAILED" and job.state == "OUT_OF_MEMORY"):
                jobs[key] = job
    return Queue(jobs)


def _lacking(jobs: Jobs, wanted: Mapping[str, Wanted]) -> list[str]:
    """Tokens of arrays of which a task is not among `jobs`."""
    return [
        token
        for token, array in wanted.items()
        if (token, None) not in jobs and any((token, index) not in jobs for index in array.indices)
    ]


def _by_name(wanted: Collection[str]) -> Jobs:
    columns = ("-t", "all", "-n", ",".join(wanted), "-o", "%i|%j|%T|%r")
    rows = ask_table("JOBID|NAME|STATE|REASON", "squeue", "-r", *columns)
    jobs: Jobs = {}
    for job_id, token, state, reason in rows:
        _add(jobs, token, Job(job_id, state, "" if reason == "None" else reason))
    return jobs


def _by_id(wanted: Mapping[str, Wanted]) -> Jobs:
    """Jobs that somebody has renamed. An id may have been given again, to a stranger's job, whose script is another."""
    tokens = {array.job_id: token for token, array in wanted.items() if array.job_id}
    if not tokens:
        return {}
    # one id alone would make an error of a job that is gone, several do not
    ids = ",".join([*tokens, next(iter(tokens))])
    rows = ask_table(
        "JOBID|STATE|REASON|COMMAND", "squeue", "-r", "-t", "all", "-j", ids, "-o", "%i|%T|%r|%o"
    )
    jobs: Jobs = {}
    for job_id, state, reason, script in rows:
        token = tokens.get(job_id.partition("_")[0])
        if token and Path(script).parent == wanted[token].directory:
            _add(jobs, token, Job(job_id, state, "" if reason == "None" else reason))
    return jobs


def _accounted(wanted: Collection[str], since: str) -> Jobs:
    early = (datetime.fromisoformat(since) - timedelta(days=1)).isoformat(timespec="seconds")
    asked = ("--name", ",".join(wanted), "-S", early, "-o", "JobID,JobName,State")
    rows = ask_table("JobID|JobName|State", "sacct", "-P", *asked)
    found: dict[str, tuple[str, str]] = {}
    out_of_memory = set()
    for job_id, token, state in rows:
        owner, step, _ = job_id.partition(".")
        end = state.split()[0] if state.strip() else ""  # `CANCELLED by 0`
        if step:  # one that ran out of memory says so for its job
            out_of_memory |= {owner} if end == "OUT_OF_MEMORY" else set()
        else:
            found[owner] = (token, end)
    jobs: Jobs = {}
    for job_id, (token, state) in found.items():
        end = "OUT_OF_MEMORY" if job_id in out_of_memory else state
        if end in ENDED:  # accounting that lags behind must not revive what the queue has forgotten
            _add(jobs, token, Job(job_id, end))
    return jobs


def _add(jobs: Jobs, token: str, job: Job) -> None:
    index = job.job_id.partition("_")[2]
    if index.isdigit():
        jobs[token, int(index)] = job
    elif job.ended or not index:  # of a rest that waits, `-r` lists each task
        jobs[token, None] = job
