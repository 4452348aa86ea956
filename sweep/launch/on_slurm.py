"""The part of a launch that is on Slurm."""

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text

from sweep.config.grid import Grid
from sweep.core.errors import ExitCode, UsageError, nearest
from sweep.launch.request import RETRIES, Request, make_submission
from sweep.launch.summary import finish
from sweep.store.layout import SweepPaths
from sweep.store.run_record import RunRecord
from sweep.store.status import State
from sweep.store.submissions import DataStamp, Submission
from sweep.tasks.data.dataset import DataSource
from sweep.terminal.console import console
from sweep.terminal.progress import make_display

if TYPE_CHECKING:
    from sweep.executors.slurm.launch import SlurmRequest


_PAUSE_SECONDS = 30.0


def slurm_request(request: Request, grid: Grid) -> "SlurmRequest":
    from sweep.executors.slurm.launch import SlurmRequest
    from sweep.executors.slurm.profile import Profile

    for task in grid.slurm:
        if task not in grid.tasks:
            raise UsageError(f"grid {grid.name!r}: slurm.{task}: no such task{nearest(task, grid.tasks)}")
    profile = Profile.load(request.profile) if request.profile else Profile()
    for task, keys in grid.slurm.items():
        profile.overridden(keys, f"grid {grid.name!r}: slurm.{task}")
    return SlurmRequest(
        profile=profile,
        by_task=grid.slurm,
        concurrent=request.concurrent,
        pack=request.pack or 1,
        smoke=request.smoke,
        auto_retry=request.auto_retry,
        **({} if request.retries is None else {"retries": request.retries}),
    )


def hand_over(
    request: Request,
    slurm: "SlurmRequest",
    source: DataSource,
    sweep: SweepPaths,
    specs: Mapping[str, RunRecord],
    stamps: Mapping[str, DataStamp],
) -> ExitCode:
    """Submit what is missing; with --wait stay until it has ended."""
    from sweep.executors.slurm.executor import PartialSubmission
    from sweep.executors.slurm.launch import submit_missing
    from sweep.executors.slurm.wait import wait

    def submission(plugins: list[str]) -> Submission:
        plan = make_submission(request, source, stamps, specs)
        plan = replace(plan, engine="slurm", slurm=slurm.model_dump(mode="json"))
        return replace(plan, plugins=plugins) if plugins else plan

    def say(line: str) -> None:
        console.print(Text(f"{sweep.name}: {line}"), soft_wrap=True)

    def stay() -> None:
        with make_display(len(specs), len(specs)) as display:
            wait(sweep, specs.keys(), stamps, display)

    def submit(retried: Collection[State]) -> int:
        """Submit all that is missing; with --wait come back for the rest when there is room again."""
        missing, count = specs, 0
        while True:
            try:
                return count + submit_missing(slurm, sweep, missing, stamps, retried, submission, say)
            except PartialSubmission as partial:
                if not request.wait:
                    raise
                say(str(partial))
                count += partial.taken
                missing = {run_id: specs[run_id] for run_id in partial.left}
                stay()
                time.sleep(_PAUSE_SECONDS)  # the limit may be reached by other sweeps

    count = submit(RETRIES[request.retry])
    left = len(specs) - count
    say(f"{count} runs submitted" + (f", {left} complete or left alone" if left else ""))
    if not request.wait:
        say(f"`sweep status {sweep.name}` tells how they are")
        return ExitCode.OK
    stay()
    while submit(()):  # only what ended by a cause that another job may survive
        stay()
    return finish(sweep, set(specs))
