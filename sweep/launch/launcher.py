"""A launch: expand a grid and get every missing run executed."""

import os
import signal
from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from sweep.config.plugins import code_of, load_plugins
from sweep.core.env import checkpoint_seconds
from sweep.core.errors import ExitCode, UsageError
from sweep.core.signals import nohup
from sweep.executors.local.executor import LocalExecutor
from sweep.executors.status import current_status
from sweep.launch.cost import Estimate, expected, format_cost, require_consent
from sweep.launch.on_slurm import hand_over
from sweep.launch.options import LaunchOptions, check_options
from sweep.launch.plan import LaunchPlan, make_plan, threads_per_run
from sweep.launch.summary import finish
from sweep.store.schema import DENSE
from sweep.store.status import RunStatus
from sweep.store.submissions import DataStamp, Submission, check_consistent, register_runs
from sweep.tasks import Task, get_task, prepared
from sweep.tasks.data.dataset import DataSource
from sweep.terminal.console import STYLES, console
from sweep.terminal.progress import make_display
from sweep.terminal.status_tables import status_table


def launch(options: LaunchOptions) -> ExitCode:
    """Carry out a launch: on this machine until all runs have ended, or on Slurm until all are submitted; returns the exit code.

    Raises:
        SweepError: it cannot be carried out; nothing has been executed.
        KeyboardInterrupt: stopped; what is done is kept and the running ones have saved themselves.
    """
    _require_current_directory()
    check_options(options)
    checkpoint_seconds()  # every run would fail on it
    load_plugins(options.plugin or [])
    plan = make_plan(options)
    # `register_runs` checks it again, but only when data has been downloaded
    check_consistent(plan.sweep, plan.specs.values())
    if options.dry_run:
        _show(plan)
        return ExitCode.OK

    submission = _prepare(plan)
    register_runs(plan.sweep, plan.grid.dump(), plan.specs.values(), options.patience)
    # for the cost and the question, which may take its time; what is submitted is decided again, under the lock
    statuses, _ = current_status(plan.sweep, submission.data, plan.specs)
    _say_stale(statuses)
    cost = _print_cost(plan, statuses)
    require_consent(cost, options.ask_above, options.yes)
    if plan.slurm:
        return hand_over(plan, plan.slurm, submission)
    _execute(plan, submission, statuses)
    return finish(plan, submission)


def _require_current_directory() -> None:
    """Raise UsageError where it was deleted: torch's libraries end the process without a helpful message."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the current directory is gone; change to one that exists") from None


def _prepare(plan: LaunchPlan) -> Submission:
    """Have the data of every task ready before the first slot opens, and know its hash and the code of plug-ins."""
    from prune.methods import get_method  # on demand: these import torch
    from sweep.run.seeds import seed_for_data

    source = DataSource.from_env(plan.options.data_dir, plan.options.allow_unverified_data)
    stamps: dict[str, DataStamp] = {}
    for run in plan.runs:
        if run.task in stamps:
            continue
        seed_for_data(run.task)
        with console.status(Text(f"preparing the data of {run.task}")):
            data = prepared(run.task, run.options, source)
        kind = get_task(run.task)
        pruners = {other.pruner for other in plan.runs if other.task == run.task} - {DENSE}
        stamps[run.task] = DataStamp(
            data.data_hash,
            data.data_verified,
            kind.pipeline_version,
            code_of(kind),
            {name: code for name in sorted(pruners) if (code := code_of(get_method(name).function))},
            {
                name: "rows" if kind.loss_count is Task.loss_count else "items"
                for name in sorted(pruners)
                if get_method(name).data
            },
        )
    return plan.submission(source, stamps)


def _say_stale(statuses: Sequence[RunStatus]) -> None:
    """Print why results do not count, which nobody may have meant: an edited plug-in, another copy of the data."""
    for detail, count in Counter(status.detail for status in statuses if status.state == "stale").items():
        console.print(Text(f"{count} results are stale: {detail}", style=STYLES["stale"]), soft_wrap=True)


def _print_cost(plan: LaunchPlan, statuses: Sequence[RunStatus]) -> Estimate:
    """Print what the missing runs are expected to cost."""
    todo = plan.todo(statuses)
    cost = expected(plan.sweep, statuses, todo)
    if todo:
        concurrent = plan.concurrent_runs(todo)
        cores = concurrent and concurrent * threads_per_run(todo)
        line = format_cost(cost, cores, plan.slurm.profile.gpus if plan.slurm else 0)
        console.print(Text(line, style="dim"), soft_wrap=True)
    return cost


def _execute(plan: LaunchPlan, submission: Submission, statuses: Sequence[RunStatus]) -> None:
    """Execute the missing runs on this machine."""
    sweep = plan.sweep
    for status in statuses:
        if status.state == "done":  # what a power failure between result and clean-up left
            sweep.run(status.run_id).checkpoint.unlink(missing_ok=True)
    number = submission.save(sweep)
    todo = plan.todo(statuses)
    if not todo:
        return
    slots = plan.slots(todo)
    complete = len(statuses) - len(todo)
    already = f", {complete} already complete or left alone" if complete else ""
    console.print(f"{sweep.name}: {len(todo)} runs in {slots} slots{already}")
    # `kill` and a lost terminal stop a launch as Ctrl-C does; in the background of a script Ctrl-C does not even arrive
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        if not nohup(signal_number):
            signal.signal(signal_number, signal.default_int_handler)
    again = {status.run_id for status in todo} if plan.options.retry == "all" else set()
    with make_display(len(todo), slots) as display:
        executor = LocalExecutor(sweep, number, submission.data, slots, display, again=again)
        executor.execute([status.spec for status in todo])


def _show(plan: LaunchPlan) -> None:
    """Print what a launch would do (--dry-run)."""
    statuses, problem = current_status(plan.sweep, None, plan.specs)
    if plan.slurm:
        from sweep.executors.slurm.launch import dry_run

        specs = [status.spec for status in plan.todo(statuses)]
        dry_run(plan.slurm, plan.sweep, specs, say=lambda line: print(line, flush=True))
    if problem:
        console.print(Text(problem, style="yellow"))
    for status in statuses:
        console.print(Text.assemble((f"{status.state:<12}", STYLES[status.state]), status.run_id))
    console.print(status_table(statuses))
    _print_cost(plan, statuses)
    console.print(f"{len(statuses)} runs; nothing was started (--dry-run)")
