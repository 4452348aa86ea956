"""Which runs a launch submits, and what it changes for those that lacked something before."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweep.core.errors import Cause
from sweep.store.attempts import latest, liveness, record_end
from sweep.store.layout import SweepPaths
from sweep.store.retries import RetryHistory
from sweep.store.status import KILLED, RunStatus, State


@dataclass
class Choice:
    """What to submit.

    Attributes:
        todo: the runs.
        changes: per run id what replaces its profile's keys, for those that lacked something.
        retried: how many of them are retried because of how they ended.
        given_up: runs that ended by the same cause too often.
    """

    todo: list[RunStatus] = field(default_factory=list)
    changes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    retried: int = 0
    given_up: list[RunStatus] = field(default_factory=list)


def choose(
    sweep: SweepPaths,
    statuses: Sequence[RunStatus],
    retried: Collection[State],
    retries: int,
    memory: Callable[[str], int | None],
) -> Choice:
    """Choose among runs whose states are refined by Slurm's answer; ends that only Slurm knows are recorded.

    Args:
        sweep: where they are.
        statuses: of all runs of the launch.
        retried: states whose runs are submitted in any case.
        retries: how often a run is retried that ended by running out of memory, node failure or its time limit.
        memory: by the task's name the MB that its jobs get; None where the cluster decides, so that no more can be asked for.
    """
    choice = Choice()
    for status in statuses:
        if status.job or status.state == "running":
            continue
        history = _retry_history(sweep, status)
        last = history.ends[-1] if history.ends else None
        megabytes = memory(status.spec.task)
        retry = history.should_retry(retries) and (last is not Cause.OUT_OF_MEMORY or megabytes is not None)
        if last and not retry and "failed" not in retried:
            if status.state == "interrupted":
                choice.given_up.append(status)
            continue
        if status.state in retried or retry:
            choice.todo.append(status)
            choice.retried += retry
            if changes := history.profile_changes(megabytes):
                choice.changes[status.run_id] = changes
    return choice


def _retry_history(sweep: SweepPaths, status: RunStatus) -> RetryHistory:
    if not status.attempts or status.state not in ("interrupted", "failed"):
        return RetryHistory((), ())
    run = sweep.run(status.run_id)
    claim = latest(run)
    # without a recorded end the next attempt would have to assume that this one still runs, until it has been silent for long
    if claim and claim.outcome is None and liveness(run, claim) != "live":
        outcome = "failed" if status.state == "failed" else "interrupted"
        record_end(run, claim, outcome, status.detail or KILLED, cause=status.cause)
    return RetryHistory.of(run)
