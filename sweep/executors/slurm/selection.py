"""Which runs a launch submits, and what it changes for those that lacked something before."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweep.store.attempts import latest, liveness, record_end
from sweep.store.layout import SweepPaths
from sweep.store.retries import Chances
from sweep.store.status import RunStatus, State


@dataclass
class Choice:
    """What to submit.

    Attributes:
        todo: the runs.
        changes: per run id what replaces its profile's, for those that lacked something.
        again: how many of them are tried again because of how they ended.
        given_up: runs that ended by the same cause too often.
    """

    todo: list[RunStatus] = field(default_factory=list)
    changes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    again: int = 0
    given_up: list[RunStatus] = field(default_factory=list)


def choose(
    sweep: SweepPaths,
    statuses: Sequence[RunStatus],
    retried: Collection[State],
    retries: int,
    memory: Callable[[str], int | None],
) -> Choice:
    """Choose among runs whose states are refined by Slurm's answer; the ends that only Slurm told are written down.

    Args:
        sweep: where they are.
        statuses: of all runs of the launch.
        retried: states whose runs are wanted in any case.
        retries: how often a run that ended for want of memory, with its node or at its time limit is tried again.
        memory: by the task's name the MB that its jobs get; None where the cluster decides, and no more can be asked for.
    """
    choice = Choice()
    for status in statuses:
        if status.job or status.state == "running":
            continue
        chances = _chances(sweep, status)
        last = chances.ends[-1] if chances.ends else None
        megabytes = memory(status.spec.task)
        mendable = chances.again(retries) and (last != "memory" or megabytes is not None)
        if last and not mendable and "failed" not in retried:
            if status.state == "interrupted":
                choice.given_up.append(status)
            continue
        if status.state in retried or mendable:
            choice.todo.append(status)
            choice.again += mendable
            if changes := chances.wants(megabytes):
                choice.changes[status.run_id] = changes
    return choice


def _chances(sweep: SweepPaths, status: RunStatus) -> Chances:
    if not status.attempts or status.state not in ("interrupted", "failed"):
        return Chances((), ())
    run = sweep.run(status.run_id)
    claim = latest(run)
    # the next attempt would take the silence of one that Slurm has ended for life
    if claim and claim.outcome is None and liveness(run, claim) != "live":
        outcome = "failed" if status.state == "failed" else "interrupted"
        record_end(run, claim, outcome, status.detail or "killed without a word")
    return Chances.of(run)
