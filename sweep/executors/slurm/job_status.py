"""The state of runs by their files and, for those that are not complete, by what Slurm says of their jobs.

The files come first. Slurm is only evidence of waiting and of death, and its silence is evidence of nothing.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweep.core.errors import Cause
from sweep.executors.slurm.commands import SlurmUnavailable, ask
from sweep.executors.slurm.manifest import Manifest, arrays, read_answer
from sweep.executors.slurm.queue import Job, Queue, Wanted, query
from sweep.store.attempts import Claim, latest
from sweep.store.layout import ArrayPaths, RunPaths, SweepPaths
from sweep.store.status import RunStatus, State

_NEVER = {
    "AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS", "PartitionConfig",
    "PartitionNodeLimit", "PartitionTimeLimit", "QOSNotAllowed",
}  # fmt: skip
"""Reasons for which a job never starts. So are those that end in `PerJob` and `PerJobLimit`."""
_HELD = {"JobHeldAdmin", "JobHeldUser"}


@dataclass(frozen=True)
class _End:
    """How a run ended whose job is over and that did not say how it ended itself."""

    detail: str
    cause: Cause | None = None
    state: State = "interrupted"


_ENDS = {
    "BOOT_FAIL": _End("node failure: it did not boot", Cause.NODE_FAILURE),
    "CANCELLED": _End("cancelled"),
    "COMPLETED": _End("lost: its job ended without a result"),
    "DEADLINE": _End("time-out: the deadline of its job has passed", Cause.TIME_LIMIT),
    "FAILED": _End("lost: its job failed"),
    "NODE_FAIL": _End("node failure", Cause.NODE_FAILURE),
    "OUT_OF_MEMORY": _End("out of memory; raise memory in the profile", Cause.OUT_OF_MEMORY, "failed"),
    "PREEMPTED": _End("preempted"),
    "TIMEOUT": _End("time-out: its job reached the time limit", Cause.TIME_LIMIT),
}
"""By the state of the job."""


@dataclass(frozen=True)
class Place:
    """The latest array that a run was submitted in. `answer` is Slurm's, None while it is not known."""

    array: ArrayPaths
    manifest: Manifest
    index: int
    answer: Mapping[str, Any] | None

    @property
    def rejected(self) -> bool:
        """Slurm does not have the array, and never will."""
        return self.answer is not None and self.answer["job_id"] is None

    @property
    def job_id(self) -> str:
        """`123_4`, or `123` for a single one; empty without an answer."""
        if not self.answer:
            return ""
        single = len(self.manifest.tasks) == 1
        return self.answer["job_id"] if single else f"{self.answer['job_id']}_{self.index}"

    def wanted(self, indices: Collection[int]) -> Wanted:
        """What Slurm is to be asked of the array."""
        job_id = (self.answer or {}).get("job_id") or ""
        return Wanted(indices, job_id, self.array.directory)


def places(sweep: SweepPaths) -> dict[str, Place]:
    """For each run that was ever in an array, the latest."""
    found: dict[str, Place] = {}
    for array, manifest in arrays(sweep.arrays):
        answer = read_answer(array)
        for index, ids in enumerate(manifest.tasks):
            found |= {run_id: Place(array, manifest, index, answer) for run_id in ids}
    return found


def with_slurm(sweep: SweepPaths, statuses: Sequence[RunStatus]) -> tuple[list[RunStatus], str]:
    """Refine `statuses`, which are by the files alone. Also returns why Slurm does not answer; empty if it does."""
    placed = places(sweep)
    # also runs that were submitted once and now have a live local attempt: one query answers for all
    open_ones = [
        status
        for status in statuses
        if (place := placed.get(status.run_id))
        and not _is_complete(status, sweep, place)
        and not place.rejected
    ]
    queue = _query([placed[status.run_id] for status in open_ones])
    refined = {
        status.run_id: refine(status, sweep.run(status.run_id), placed[status.run_id], queue)
        for status in open_ones
    }
    return [refined.get(status.run_id, status) for status in statuses], queue.problem


def _query(wanted: Iterable[Place]) -> Queue:
    arrays_wanted: dict[str, tuple[Place, set[int]]] = {}
    for place in wanted:
        arrays_wanted.setdefault(place.manifest.token, (place, set()))[1].add(place.index)
    since = min((place.manifest.created_at for place, _ in arrays_wanted.values()), default="")
    return query({token: place.wanted(indices) for token, (place, indices) in arrays_wanted.items()}, since)


def live_jobs(directory: Path) -> list[str]:
    """Ids of the jobs of the arrays in `directory` that wait or run, whatever they are called by now. Raises SlurmUnavailable."""
    found = [
        Place(array, manifest, index, read_answer(array))
        for array, manifest in arrays(directory)
        for index in range(len(manifest.tasks))
    ]
    queue = _query(found)
    if queue.problem:
        raise SlurmUnavailable(queue.problem)
    jobs = (queue.job(place.manifest.token, place.index) for place in found)
    return sorted({job.job_id for job in jobs if job and not job.ended})


def _is_complete(status: RunStatus, sweep: SweepPaths, place: Place) -> bool:
    """Whether a run is done, and not about to be executed again by a job that has not finished it yet."""
    if status.state != "done" or not place.manifest.again:
        return status.state == "done"
    claim = latest(sweep.run(status.run_id))
    return claim is not None and claim.outcome == "done" and _is_of(claim, place, None)


def refine(status: RunStatus, run: RunPaths, place: Place, queue: Queue) -> RunStatus:
    """The state, by its latest attempt and Slurm's answer, of a run that is incomplete by its files or to be executed again."""
    if queue.problem:
        sure = status.state in ("running", "failed", "done")
        return (
            status if sure else replace(status, state="unknown", detail="Slurm does not answer", cause=None)
        )
    claim = latest(run) if status.attempts else None
    job = queue.job(place.manifest.token, place.index)
    mine = claim is not None and _is_of(claim, place, job)
    if job and not job.ended:
        if job.waiting:
            detail, cause = reason(job)
            return replace(status, state="pending", detail=detail, cause=cause, job=job.job_id, progress={})
        if status.state == "failed" and mine:  # other runs of the same job continue
            return status
        phase = status.progress or {"phase": "starting"}
        detail = f"job {job.job_id}"
        return replace(status, state="running", detail=detail, cause=None, job=job.job_id, progress=phase)
    if status.state == "done" or (
        claim is not None and not mine
    ):  # executed elsewhere since, on this machine for instance
        return status
    if claim is None or (claim.outcome is None and status.state != "running"):
        end = _end(status, place, job)
        return replace(status, state=end.state, detail=end.detail, cause=end.cause)
    return status


def reason(job: Job) -> tuple[str, Cause | None]:
    """Why a job waits, and whether it can ever start; `FAILED_START` where it is held by nobody but Slurm."""
    words = job.reason or job.state
    if job.reason in _NEVER or job.reason.endswith(("PerJob", "PerJobLimit")):
        fix = "`sweep cancel` and launch with another profile"
        return f"can never start: {words} (job {job.job_id}); {fix}", None
    if job.reason.replace("_", " ").startswith("launch failed"):
        detail = f"held by Slurm, which could not start it (job {job.job_id}); the next launch releases it"
        return detail, Cause.FAILED_START
    if job.reason in _HELD or job.state in ("REQUEUE_HOLD", "SPECIAL_EXIT"):
        return f"held: {words} (job {job.job_id}); `scontrol release {job.job_id}`", None
    return f"waits in Slurm's queue: {words}", None


def _is_of(claim: Claim, place: Place, job: Job | None) -> bool:
    """Whether the attempt was made by the task of the array."""
    # of an array's cancelled rest Slurm gives the array's id
    job_id = place.job_id or (job.job_id if job else "")
    return bool(job_id) and claim.content.get("slurm_job") == job_id


def _end(status: RunStatus, place: Place, job: Job | None) -> _End:
    job_id = place.job_id or (job.job_id if job else "")
    if status.attempts == 0 and (error := _smoke_failure(place)):
        return _End(f"not started, the smoke test failed: {error}")
    lines = log_end(place.array.log(job_id)) if job_id else []
    if any("oom-kill" in line or "oom_kill" in line for line in lines):
        job = Job(job_id, "OUT_OF_MEMORY")
    if status.attempts == 0 and (job is None or job.state == "FAILED") and lines:
        # a setup line, a container or an import, which would fail again
        return _End(f"job {job_id} failed before the run started: {lines[-1]}", state="failed")
    if job is None and place.array.cancelled(place.index).exists():
        return _End(f"cancelled (job {job_id})")
    if job is None:
        return _End(f"lost: Slurm no longer knows its job {job_id}".rstrip())
    end = _ENDS.get(job.state, _End(f"lost: {job.state}"))
    return replace(end, detail=f"{end.detail} (job {job_id})")


def _smoke_failure(place: Place) -> str:
    """The error of the smoke test that the array waited for; empty if it has not failed."""
    if not place.manifest.after:
        return ""
    sweep = SweepPaths(place.array.directory.parent.parent)
    lines = log_end(sweep.directory / place.manifest.after, lines=1000)
    errors = [line for line in lines if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ") if errors else ""


def log_end(log: Path, lines: int = 20) -> list[str]:
    """The last lines of a job's log that are not blank; none if there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()][-lines:]


def job_log(sweep: SweepPaths, run_id: str) -> Path | None:
    """The log of the job that last had the run; None if there is none."""
    place = places(sweep).get(run_id)
    log = place.array.log(place.job_id) if place and place.job_id else None
    return log if log and log.is_file() else None


def release_failed_starts(statuses: Iterable[RunStatus], say: Callable[[str], None]) -> None:
    """Release jobs that Slurm holds since it could not start them, as on a node that went down at that moment.

    What a person has put on hold is left. Raises SlurmUnavailable.
    """
    jobs = sorted({status.job for status in statuses if status.cause is Cause.FAILED_START})
    if jobs:
        ask("scontrol", "release", ",".join(jobs))
        say(f"{len(jobs)} jobs released that Slurm held since it could not start them")
