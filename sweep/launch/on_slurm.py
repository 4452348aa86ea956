"""A launch on Slurm: runs are submitted, and waited for with --wait."""

import time
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from sweep.core.errors import ExitCode
from sweep.launch.plan import LaunchPlan
from sweep.launch.summary import finish
from sweep.store.layout import SweepPaths
from sweep.store.status import State
from sweep.store.submissions import Submission
from sweep.terminal.console import console
from sweep.terminal.progress import make_display

if TYPE_CHECKING:
    from sweep.executors.slurm.launch import SlurmRequest

_PAUSE_SECONDS = 30.0


def hand_over(plan: LaunchPlan, slurm: "SlurmRequest", submission: Submission) -> ExitCode:
    """Submit what is missing; with --wait stay until it has ended."""
    count = _submit(plan, slurm, submission, plan.retried)
    left = len(plan.specs) - count
    _say(plan.sweep, f"{count} runs submitted" + (f", {left} complete or left alone" if left else ""))
    if not plan.options.wait:
        _say(plan.sweep, f"`sweep status {plan.sweep.name}` shows their states")
        return ExitCode.OK
    _wait(plan, submission)
    while _submit(
        plan, slurm, submission, retried=()
    ):  # only runs that ended for a cause that a retry may survive
        _wait(plan, submission)
    return finish(plan, submission)


def _submit(
    plan: LaunchPlan, slurm: "SlurmRequest", submission: Submission, retried: Collection[State]
) -> int:
    """Submit the runs in a state of `retried`, and those that retries are left for; returns how many.

    With --wait it returns when Slurm has had room for all of them.
    """
    from sweep.executors.slurm.executor import PartialSubmission
    from sweep.executors.slurm.launch import submit_missing

    say = partial(_say, plan.sweep)
    missing, count = plan.specs, 0
    while True:
        try:
            return count + submit_missing(
                slurm, plan.sweep, missing, submission, retried, say, plan.options.patience
            )
        except PartialSubmission as partly:
            if not plan.options.wait:
                raise
            say(str(partly))
            count += partly.taken
            missing = {run_id: plan.specs[run_id] for run_id in partly.left}
            _wait(plan, submission)
            time.sleep(_PAUSE_SECONDS)  # the limit may be reached by other sweeps


def _wait(plan: LaunchPlan, submission: Submission) -> None:
    """Show progress until none of the runs is running or in Slurm's hands."""
    from sweep.executors.slurm.wait import wait

    with make_display(len(plan.specs), len(plan.specs)) as display:
        wait(plan.sweep, plan.specs.keys(), submission.data, display)


def _say(sweep: SweepPaths, line: str) -> None:
    console.print(Text(f"{sweep.name}: {line}"), soft_wrap=True)
