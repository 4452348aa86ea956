"""What the options of a launch come to: its runs, its sweep, what it asks of Slurm."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sweep.config.grid import Grid, expand, parse_seeds
from sweep.config.key_values import parse_only, parse_value, split_pair
from sweep.config.run_spec import RunSpec
from sweep.core.errors import UsageError, nearest
from sweep.launch.options import LaunchOptions
from sweep.store.layout import SweepPaths, sweep_paths
from sweep.store.run_record import RunRecord
from sweep.store.status import RunStatus, State
from sweep.store.submissions import DataStamp, Submission
from sweep.tasks.data.dataset import DataSource

if TYPE_CHECKING:
    from sweep.executors.slurm.launch import SlurmRequest

_RETRIED: dict[str | None, set[State]] = {
    None: {"pending", "interrupted", "stale", "running"},
    "failed": {"pending", "interrupted", "stale", "running", "failed"},
    "all": {"pending", "interrupted", "stale", "running", "failed", "done"},
}
"""States whose runs a launch executes, by the value of --retry. A running one is waited for."""


@dataclass(frozen=True)
class LaunchPlan:
    """A launch whose options have been resolved.

    Attributes:
        options: what was asked for.
        grid: with the settings and seeds of the options.
        runs: those that --only leaves.
        sweep: where they are kept.
        slurm: what jobs request; None: the runs are executed on this machine.
    """

    options: LaunchOptions
    grid: Grid
    runs: Sequence[RunSpec]
    sweep: SweepPaths
    slurm: "SlurmRequest | None"

    @cached_property
    def specs(self) -> dict[str, RunRecord]:
        """The specifications of the runs by id."""
        return {run.id: run.to_record() for run in self.runs}

    @property
    def retried(self) -> set[State]:
        """The states whose runs are executed."""
        return _RETRIED[self.options.retry]

    def todo(self, statuses: Sequence[RunStatus]) -> list[RunStatus]:
        """The runs to execute: in a state for it, and in no job's hands."""
        return [status for status in statuses if status.state in self.retried and not status.job]

    def concurrent_runs(self, todo: Sequence[RunStatus]) -> int | None:
        """How many of `todo` are executed at once; None where Slurm decides it."""
        if self.slurm:
            return self.slurm.concurrent and self.slurm.concurrent * self.slurm.pack
        return self.slots(todo)

    def slots(self, todo: Sequence[RunStatus]) -> int:
        """How many of `todo` are executed at once on this machine."""
        return self.options.slots or max(1, len(os.sched_getaffinity(0)) // threads_per_run(todo))

    def submission(self, source: DataSource, stamps: Mapping[str, DataStamp]) -> Submission:
        """What the runs need to know beyond their specifications, as it is kept."""
        return Submission(
            runs=[run.id for run in self.runs],
            data=dict(stamps),
            data_dir=str(source.data_dir) if source.data_dir else None,
            allow_unverified=self.options.allow_unverified_data,
            plugins=[str(path.expanduser().absolute()) for path in self.options.plugin or []],
            engine="slurm" if self.slurm else "local",
            slurm=self.slurm.model_dump(mode="json") if self.slurm else None,
        )


def threads_per_run(todo: Sequence[RunStatus]) -> int:
    """The threads of the run that has most."""
    return max(status.spec.threads for status in todo)


def make_plan(options: LaunchOptions) -> LaunchPlan:
    """Resolve the options of a launch, whose plug-ins have been loaded.

    Raises:
        UsageError: a value that cannot be resolved, or no run that fits.
    """
    if options.retry not in _RETRIED:
        raise UsageError(f"--retry {options.retry}: must be failed or all")
    grid = Grid.load(options.grid)
    pairs = [split_pair("--set", text) for text in options.settings or []]
    settings = {key: parse_value(value) for key, value in pairs}
    grid = grid.with_settings(settings, None if options.seeds is None else parse_seeds(options.seeds))
    runs = expand(grid, parse_only(options.only or []))
    if options.local:
        _check_devices(runs)
    sweep = sweep_paths(grid.name if options.name is None else options.name, options.results)
    slurm = None if options.local else _slurm_request(options, grid)
    return LaunchPlan(options, grid, runs, sweep, slurm)


def _check_devices(runs: Sequence[RunSpec]) -> None:
    """Raise UsageError where a run's device is not on this machine. Loads torch only if there is a question."""
    wanted = {run.device for run in runs} - {"cpu"}
    if wanted:
        from sweep.run.device import require

        for device in wanted:
            require(device)


def _slurm_request(options: LaunchOptions, grid: Grid) -> "SlurmRequest":
    from sweep.executors.slurm.launch import SlurmRequest
    from sweep.executors.slurm.profile import Profile

    for task in grid.slurm:
        if task not in grid.tasks:
            raise UsageError(f"grid {grid.name!r}: slurm.{task}: no such task{nearest(task, grid.tasks)}")
    profile = Profile.load(options.profile) if options.profile else Profile()
    for task, keys in grid.slurm.items():
        profile.overridden(keys, f"grid {grid.name!r}: slurm.{task}")
    return SlurmRequest(
        profile=profile,
        by_task=grid.slurm,
        concurrent=options.max_concurrent,
        pack=options.pack or 1,
        smoke=not options.no_smoke,
        auto_retry=options.auto_retry,
        **({} if options.retries is None else {"retries": options.retries}),
    )
