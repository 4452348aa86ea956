"""A launch: expand a grid and get every missing run executed."""

import os
import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from sweep.config.grid import Grid, expand, parse_seeds, parse_value
from sweep.config.plugins import load_plugins
from sweep.config.run_spec import RunSpec
from sweep.core.env import checkpoint_seconds
from sweep.core.errors import ExitCode, UsageError
from sweep.core.signals import nohup
from sweep.executors.local.executor import LocalExecutor
from sweep.executors.status import current_status
from sweep.launch.cost import Estimate, expected, require_consent, told
from sweep.launch.on_slurm import hand_over, slurm_request
from sweep.launch.request import (
    RETRIES,
    Request,
    check_devices,
    check_engine,
    key_and_value,
    make_submission,
    parse_only,
)
from sweep.launch.summary import finish
from sweep.store.layout import SubmissionNumber, SweepPaths, sweep_paths
from sweep.store.run_record import RunRecord
from sweep.store.status import RunStatus
from sweep.store.submissions import DataStamp, check_consistent, register_runs
from sweep.tasks import get_task, prepared
from sweep.tasks.data.dataset import DataSource
from sweep.terminal.console import STYLES, console
from sweep.terminal.progress import make_display
from sweep.terminal.status_tables import status_table

if TYPE_CHECKING:
    from sweep.executors.slurm.launch import SlurmRequest


def launch(request: Request) -> ExitCode:
    """Carry out a launch: on this machine until all runs have ended, or on Slurm until all are submitted; returns the exit code.

    Raises:
        SweepError: the request cannot be carried out; nothing has been executed.
        KeyboardInterrupt: stopped; what is done is kept and the running ones have saved themselves.
    """
    _require_current_folder()
    if request.retry not in RETRIES:
        raise UsageError(f"--retry {request.retry}: must be failed or all")
    if request.slots is not None and request.slots < 1:
        raise UsageError(f"--slots {request.slots}: must be at least 1")
    check_engine(request)
    checkpoint_seconds()  # the runs would all stumble over it
    load_plugins(request.plugins)
    grid = Grid.load(request.grid)
    settings = {key: parse_value(value) for key, value in map(key_and_value("--set"), request.settings)}
    grid = grid.with_settings(settings, None if request.seeds is None else parse_seeds(request.seeds))
    chosen = expand(grid, parse_only(request.only))
    if not chosen:
        raise UsageError(
            f"--only {','.join(request.only)}: no run of grid {grid.name!r} fits; see its values with --dry-run"
        )
    if request.local:
        check_devices(chosen)
    sweep = sweep_paths(grid.name if request.name is None else request.name, request.results)
    slurm = None if request.local else slurm_request(request, grid)
    specs = {run.id: run.to_record() for run in chosen}
    check_consistent(
        sweep, specs.values()
    )  # `register_runs` asks again, but only when data has been downloaded
    if request.dry_run:
        _show_plan(request, sweep, specs, slurm)
        return ExitCode.OK

    source = DataSource.from_env(request.data_dir, request.allow_unverified)
    stamps = _prepare(chosen, source)
    register_runs(sweep, grid.dump(), specs.values())
    statuses, _ = current_status(sweep, stamps, specs)
    todo = _todo(request, statuses)
    require_consent(_say_cost(request, sweep, statuses, todo, slurm), request.ask_above, request.yes)
    if slurm:
        return hand_over(request, slurm, source, sweep, specs, stamps)
    for status in statuses:
        if status.state == "done":  # what a power failure between result and clean-up left
            sweep.run(status.run_id).checkpoint.unlink(missing_ok=True)
    submission = make_submission(request, source, stamps, specs).save(sweep)
    if todo:
        _execute(request, sweep, submission, stamps, todo, total=len(statuses))
    return finish(sweep, set(specs))


def _require_current_folder() -> None:
    """Raise UsageError where it was deleted: torch's libraries end the process without a word that helps."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the current folder is gone; change to one that exists") from None


def _todo(request: Request, statuses: Sequence[RunStatus]) -> list[RunStatus]:
    return [status for status in statuses if status.state in RETRIES[request.retry] and not status.job]


def _slots(request: Request, todo: Sequence[RunStatus]) -> int:
    threads = max(status.spec.threads for status in todo)
    return request.slots or max(1, len(os.sched_getaffinity(0)) // threads)


def _say_cost(
    request: Request,
    sweep: SweepPaths,
    statuses: Sequence[RunStatus],
    todo: Sequence[RunStatus],
    slurm: "SlurmRequest | None",
) -> Estimate:
    cost = expected(sweep, statuses, todo)
    if todo:
        at_once = slurm.concurrent and slurm.concurrent * slurm.pack if slurm else _slots(request, todo)
        cores = at_once and at_once * max(status.spec.threads for status in todo)
        line = told(cost, cores, slurm.profile.gpus if slurm else 0)
        console.print(Text(line, style="dim"), soft_wrap=True)
    return cost


def _execute(
    request: Request,
    sweep: SweepPaths,
    submission: SubmissionNumber,
    stamps: Mapping[str, DataStamp],
    todo: Sequence[RunStatus],
    total: int,
) -> None:
    slots = _slots(request, todo)
    complete = total - len(todo)
    already = f", {complete} already complete or left alone" if complete else ""
    console.print(f"{sweep.name}: {len(todo)} runs in {slots} slots{already}")
    # `kill` and a lost terminal stop a launch as Ctrl-C does; in the background of a script Ctrl-C does not even arrive
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        if not nohup(signal_number):
            signal.signal(signal_number, signal.default_int_handler)
    again = {status.run_id for status in todo} if request.retry == "all" else set()
    with make_display(len(todo), slots) as display:
        executor = LocalExecutor(sweep, submission, stamps, slots, display, again=again)
        executor.execute([status.spec for status in todo])


def _prepare(runs: Sequence[RunSpec], source: DataSource) -> dict[str, DataStamp]:
    """Have the data of every task ready before the first slot opens, and know its hash."""
    stamps: dict[str, DataStamp] = {}
    for run in runs:
        if run.task in stamps:
            continue
        with console.status(Text(f"preparing the data of {run.task}")):
            data = prepared(run.task, run.options, source)
        stamps[run.task] = DataStamp(data.data_hash, data.data_verified, get_task(run.task).pipeline_version)
    return stamps


def _show_plan(
    request: Request, sweep: SweepPaths, specs: Mapping[str, RunRecord], slurm: "SlurmRequest | None"
) -> None:
    statuses, problem = current_status(sweep, {}, specs)
    todo = _todo(request, statuses)
    if slurm:
        from sweep.executors.slurm.launch import dry_run

        dry_run(slurm, sweep, [status.spec for status in todo], say=lambda line: print(line, flush=True))
    if problem:
        console.print(Text(problem, style="yellow"))
    for status in statuses:
        console.print(Text.assemble((f"{status.state:<12}", STYLES[status.state]), status.run_id))
    console.print(status_table(statuses))
    _say_cost(request, sweep, statuses, todo, slurm)
    console.print(f"{len(statuses)} runs; nothing was started (--dry-run)")
