"""`python -m sweep.launch --grid NAME`: expand a grid and get every missing run executed."""

import os
import signal
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from sweep import show
from sweep.agree import expected, require_consent, told
from sweep.catalog import DataStamp, Submission, agreeing, read_runs, record
from sweep.data import DataSource
from sweep.environment import checkpoint_seconds
from sweep.errors import StorageError, UsageError, nearest
from sweep.estimate import Estimate
from sweep.exit_codes import ExitCode
from sweep.grid import Grid, as_text, expand, parse_seeds, parse_value
from sweep.local import LocalEngine
from sweep.look import look, refined
from sweep.paths import SubmissionNumber, SweepPaths, sweep_paths
from sweep.plugins import load_plugins
from sweep.spec import Run
from sweep.status import RunStatus, State, counts, exit_code, survey
from sweep.stop import nohup
from sweep.tasks import get_task, prepared

if TYPE_CHECKING:
    from sweep.slurm.launch import SlurmRequest

RETRIES: dict[str | None, set[State]] = {
    None: {"pending", "interrupted", "stale", "running"},
    "failed": {"pending", "interrupted", "stale", "running", "failed"},
    "all": {"pending", "interrupted", "stale", "running", "failed", "done"},
}
"""States whose runs a launch executes, by the value of --retry. A running one is waited for."""

_PAUSE_SECONDS = 30.0


@dataclass(frozen=True)
class Request:
    """What a launch was asked for."""

    grid: str
    only: Sequence[str] = ()
    settings: Sequence[str] = ()
    seeds: str | None = None
    name: str | None = None
    results: Path | None = None
    data_dir: Path | None = None
    allow_unverified: bool = False
    plugins: Sequence[Path] = field(default_factory=list)
    slots: int | None = None
    retry: str | None = None
    dry_run: bool = False
    ask_above: float = 24.0
    yes: bool = False
    local: bool = True
    profile: Path | None = None
    concurrent: int | None = None
    pack: int | None = None
    smoke: bool = True
    retries: int | None = None
    auto_retry: bool = False
    wait: bool = False


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
    _check_engine(request)
    checkpoint_seconds()  # the runs would all stumble over it
    load_plugins(request.plugins)
    grid = Grid.load(request.grid)
    settings = {key: parse_value(value) for key, value in map(_pair("--set"), request.settings)}
    grid = grid.with_settings(settings, None if request.seeds is None else parse_seeds(request.seeds))
    chosen = expand(grid, _only(request.only))
    if not chosen:
        raise UsageError(
            f"--only {','.join(request.only)}: no run of grid {grid.name!r} fits; see its values with --dry-run"
        )
    if request.local:
        _check_devices(chosen)
    sweep = sweep_paths(grid.name if request.name is None else request.name, request.results)
    slurm = None if request.local else _slurm_request(request, grid)
    specs = {run.id: run.listing() for run in chosen}
    agreeing(sweep, specs.values())  # `record` asks again, but only when data has been downloaded
    if request.dry_run:
        _show_plan(request, sweep, specs, slurm)
        return ExitCode.OK

    source = DataSource.from_env(request.data_dir, request.allow_unverified)
    stamps = _prepare(chosen, source)
    record(sweep, grid.dump(), specs.values())
    statuses, _ = refined(sweep, survey(sweep, stamps, specs=specs))
    todo = _todo(request, statuses)
    require_consent(_say_cost(request, sweep, statuses, todo, slurm), request.ask_above, request.yes)
    if slurm:
        return _hand_over(request, slurm, source, sweep, specs, stamps)
    for status in statuses:
        if status.state == "done":  # what a power failure between result and clean-up left
            sweep.run(status.run_id).checkpoint.unlink(missing_ok=True)
    submission = _submission(request, source, stamps, specs).save(sweep)
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
    threads = max(status.spec["threads"] for status in todo)
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
        cores = at_once and at_once * max(status.spec["threads"] for status in todo)
        line = told(cost, cores, slurm.profile.gpus if slurm else 0)
        show.console.print(Text(line, style="dim"), soft_wrap=True)
    return cost


def finish(sweep: SweepPaths, run_ids: set[str]) -> ExitCode:
    """Write the report, show the results and what is not complete, and choose the exit code for the runs `run_ids`."""
    from sweep.report import write_report

    statuses, problem = look(sweep)
    statuses = [status for status in statuses if status.run_id in run_ids]
    if problem:
        show.console.print(Text(problem, style="yellow"))
    show.results(statuses)
    show.explain(statuses)
    number = counts(statuses)
    tally = ", ".join(f"{count} {state}" for state, count in number.items())
    show.console.print(f"\n{len(statuses)} runs: {tally}")
    code = exit_code(statuses)
    # last, so that what came out is seen, and counts, also where the report cannot be written
    try:
        report = write_report(sweep)
    except StorageError as error:
        if code == ExitCode.OK:
            raise
        print(f"error: {error}", file=sys.stderr)
    else:
        line = Text.assemble("report: ", (str(report), "bold"), f" and {sweep.report_html.name}")
        show.console.print(line, soft_wrap=True)
    return code


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
    show.console.print(f"{sweep.name}: {len(todo)} runs in {slots} slots{already}")
    # `kill` and a lost terminal stop a launch as Ctrl-C does; in the background of a script Ctrl-C does not even arrive
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        if not nohup(signal_number):
            signal.signal(signal_number, signal.default_int_handler)
    again = {status.run_id for status in todo} if request.retry == "all" else set()
    with show.make_display(len(todo), slots) as display:
        engine = LocalEngine(sweep, submission, stamps, slots, display, again=again)
        engine.execute([status.spec for status in todo])


def _check_engine(request: Request) -> None:
    """Raise UsageError for an option of the other way to launch."""
    for_slurm = {
        "--profile": request.profile,
        "--max-concurrent": request.concurrent,
        "--pack": request.pack,
        "--wait": request.wait,
        "--retries": request.retries,
        "--auto-retry": request.auto_retry,
        "--no-smoke": not request.smoke,
    }
    for option, value in ({"--slots": request.slots} if not request.local else for_slurm).items():
        if value is not None and value is not False:
            mend = "with --local" if not request.local else "without --local, on Slurm"
            given = option if value is True else f"{option} {value}"
            raise UsageError(f"{given}: works only {mend}; leave it out")
    for option, number in (("--max-concurrent", request.concurrent), ("--pack", request.pack)):
        if number is not None and number < 1:
            raise UsageError(f"{option} {number}: must be at least 1")
    if request.wait and request.auto_retry:
        raise UsageError("--auto-retry: --wait tries again by itself; leave one of them out")
    if request.retries is not None and request.retries < 0:
        raise UsageError(f"--retries {request.retries}: must be at least 0")


def _check_devices(runs: Iterable[Run]) -> None:
    """Raise UsageError where a run's device is not on this machine. Loads torch only if there is a question."""
    wanted = {run.device for run in runs} - {"cpu"}
    if wanted:
        from sweep.device import require

        for device in wanted:
            require(device)


def _slurm_request(request: Request, grid: Grid) -> "SlurmRequest":
    from sweep.slurm.launch import SlurmRequest
    from sweep.slurm.profile import Profile

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


def _hand_over(
    request: Request,
    slurm: "SlurmRequest",
    source: DataSource,
    sweep: SweepPaths,
    specs: Mapping[str, Mapping[str, Any]],
    stamps: Mapping[str, DataStamp],
) -> ExitCode:
    """Submit what is missing; with --wait stay until it has ended."""
    from sweep.slurm.engine import Partly
    from sweep.slurm.launch import submit_missing
    from sweep.slurm.wait import wait

    def submission(plugins: list[str]) -> Submission:
        plan = _submission(request, source, stamps, specs)
        plan = replace(plan, engine="slurm", slurm=slurm.model_dump(mode="json"))
        return replace(plan, plugins=plugins) if plugins else plan

    def say(line: str) -> None:
        show.console.print(Text(f"{sweep.name}: {line}"), soft_wrap=True)

    def stay() -> None:
        with show.make_display(len(specs), len(specs)) as display:
            wait(sweep, specs.keys(), stamps, display)

    def submit(retried: Collection[State]) -> int:
        """Submit all that is missing; with --wait come back for the rest when there is room again."""
        missing, count = specs, 0
        while True:
            try:
                return count + submit_missing(slurm, sweep, missing, stamps, retried, submission, say)
            except Partly as partly:
                if not request.wait:
                    raise
                say(str(partly))
                count += partly.taken
                missing = {run_id: specs[run_id] for run_id in partly.left}
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


def _submission(
    request: Request,
    source: DataSource,
    stamps: Mapping[str, DataStamp],
    run_ids: Iterable[str],
) -> Submission:
    return Submission(
        runs=list(run_ids),
        data=dict(stamps),
        data_dir=str(source.data_dir) if source.data_dir else None,
        allow_unverified=request.allow_unverified,
        plugins=[str(path.expanduser().absolute()) for path in request.plugins],
    )


def _prepare(runs: Sequence[Run], source: DataSource) -> dict[str, DataStamp]:
    """Have the data of every task ready before the first slot opens, and know its hash."""
    stamps: dict[str, DataStamp] = {}
    for run in runs:
        if run.task in stamps:
            continue
        with show.console.status(Text(f"preparing the data of {run.task}")):
            data = prepared(run.task, run.options, source)
        stamps[run.task] = DataStamp(data.data_hash, data.data_verified, get_task(run.task).pipeline_version)
    return stamps


def _show_plan(
    request: Request, sweep: SweepPaths, specs: Mapping[str, Mapping[str, Any]], slurm: "SlurmRequest | None"
) -> None:
    statuses, problem = refined(sweep, survey(sweep, {}, specs=specs))
    todo = _todo(request, statuses)
    if slurm:
        from sweep.slurm.launch import dry_run

        dry_run(slurm, sweep, [status.spec for status in todo], say=lambda line: print(line, flush=True))
    if problem:
        show.console.print(Text(problem, style="yellow"))
    for status in statuses:
        show.console.print(Text.assemble((f"{status.state:<12}", show.STYLES[status.state]), status.run_id))
    show.console.print(show.status_table(statuses))
    _say_cost(request, sweep, statuses, todo, slurm)
    show.console.print(f"{len(statuses)} runs; nothing was started (--dry-run)")


def _pair(option: str) -> Any:
    def split(text: str) -> tuple[str, str]:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{option} {text}: write {option} KEY=VALUE")
        return key.strip(), value

    return split


def _only(texts: Sequence[str]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for key, value in map(_pair("--only"), (part for text in texts for part in text.split(","))):
        wanted.setdefault(key, []).append(value)
    return wanted


def chosen_runs(sweep: SweepPaths, only: Sequence[str]) -> set[str]:
    """Ids of the sweep's runs with the values of `--only`; all without any."""
    wanted = _only(only)
    runs = {run_id: spec["options"] | spec for run_id, spec in read_runs(sweep).items()}
    # as for a launch: an option that one task has is known, and the runs of others have none
    known = {key for fields in runs.values() for key in fields}
    for key in wanted:
        if key not in known:
            raise UsageError(f"--only: unknown field {key!r}{nearest(key, known)}")
    chosen = {
        run_id
        for run_id, fields in runs.items()
        if all(as_text([str(fields.get(key))]) <= as_text(values) for key, values in wanted.items())
    }
    if not chosen:
        raise UsageError(f"--only {','.join(only)}: no run of sweep {sweep.name!r} fits; see `sweep status`")
    return chosen


def main() -> None:
    # `python -m` looks for modules in the current folder first, where a folder `models` of the user's may lie
    with suppress(FileNotFoundError):  # a folder that is gone has none; `launch` says so
        here = Path(sys.path[0]).resolve()
        if here == Path.cwd() and here != Path(__file__).resolve().parents[1]:
            del sys.path[0]
    from sweep.cli import launch_main

    launch_main()


if __name__ == "__main__":
    main()
