"""`python -m sweep.launch --grid NAME`: expand a grid and get every missing run executed."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.text import Text

from sweep import show
from sweep.catalog import DataStamp, Submission, record
from sweep.data import DataSource
from sweep.errors import UsageError
from sweep.exit_codes import ExitCode
from sweep.grid import Grid, expand, parse_seeds
from sweep.local import LocalEngine
from sweep.paths import SweepPaths, sweep_paths
from sweep.plugins import load_plugins
from sweep.spec import Run
from sweep.status import RunStatus, State, counts, examine, survey
from sweep.tasks import get_task

RETRIES: dict[str | None, set[State]] = {
    None: {"pending", "interrupted", "stale", "running"},
    "failed": {"pending", "interrupted", "stale", "running", "failed"},
    "all": {"pending", "interrupted", "stale", "running", "failed", "done"},
}
"""States whose runs a launch executes, by the value of --retry. A running one is waited for."""


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


def launch(request: Request) -> ExitCode:
    """Carry out a launch on this machine; returns the exit code once all runs have ended.

    Raises:
        SweepError: the request cannot be carried out; nothing has been executed.
        KeyboardInterrupt: stopped; what is done is kept and the running ones have saved themselves.
    """
    if request.retry not in RETRIES:
        raise UsageError(f"--retry {request.retry}: must be failed or all")
    if request.slots is not None and request.slots < 1:
        raise UsageError(f"--slots {request.slots}: must be at least 1")
    load_plugins(request.plugins)
    grid = Grid.load(request.grid)
    settings = {key: yaml.safe_load(value) for key, value in map(_pair("--set"), request.settings)}
    grid = grid.with_settings(settings, parse_seeds(request.seeds) if request.seeds else None)
    chosen = expand(grid, _only(request.only))
    if not chosen:
        raise UsageError(
            f"--only {','.join(request.only)}: no run of grid {grid.name!r} fits; see its values with --dry-run"
        )
    sweep = sweep_paths(request.name or grid.name, request.results)
    if request.dry_run:
        _show_plan(sweep, chosen)
        return ExitCode.OK

    source = DataSource.from_env(request.data_dir, request.allow_unverified)
    stamps = _prepare(chosen, source)
    everything = expand(grid, {"task": list({run.task for run in chosen})}) if request.only else chosen
    record(sweep, grid.dump(), ({"id": run.id, **run.model_dump(mode="json")} for run in everything))
    specs = {run.id: {"id": run.id, **run.model_dump(mode="json")} for run in chosen}
    statuses = [examine(sweep.run(run_id), spec, stamps[spec["task"]]) for run_id, spec in specs.items()]
    todo = [status for status in statuses if status.state in RETRIES[request.retry]]
    if todo:
        _execute(request, sweep, stamps, todo, total=len(statuses))
    return finish(sweep, set(specs), stamps)


def finish(sweep: SweepPaths, run_ids: set[str], stamps: Mapping[str, DataStamp]) -> ExitCode:
    """Write the report, show the results and what is not complete, and choose the exit code for the runs `run_ids`."""
    from sweep.report import write_report

    statuses = [status for status in survey(sweep, stamps or None) if status.run_id in run_ids]
    report = write_report(sweep)
    show.results(statuses)
    show.explain(statuses)
    number = counts(statuses)
    told = ", ".join(f"{count} {state}" for state, count in number.items())
    show.console.print(
        Text.assemble(f"\n{len(statuses)} runs: {told}\nreport: ", (str(report), "bold")), soft_wrap=True
    )
    if number.get("failed"):
        return ExitCode.FAILED
    return ExitCode.OK if number.get("done", 0) == len(statuses) else ExitCode.INCOMPLETE


def _execute(
    request: Request,
    sweep: SweepPaths,
    stamps: Mapping[str, DataStamp],
    todo: Sequence[RunStatus],
    total: int,
) -> None:
    threads = max(status.spec["threads"] for status in todo)
    slots = request.slots or max(1, len(os.sched_getaffinity(0)) // threads)
    submission = Submission(
        runs=[status.run_id for status in todo],
        data=dict(stamps),
        data_dir=str(request.data_dir.expanduser().absolute()) if request.data_dir else None,
        allow_unverified=request.allow_unverified,
        plugins=[str(path.expanduser().absolute()) for path in request.plugins],
    )
    number = submission.save(sweep)
    complete = total - len(todo)
    already = f", {complete} already complete or left alone" if complete else ""
    show.console.print(f"{sweep.name}: {len(todo)} runs in {slots} slots{already}")
    # `kill` stops a launch as Ctrl-C does; in the background of a script Ctrl-C does not even arrive
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with show.make_display(len(todo), slots) as display:
        engine = LocalEngine(sweep, number, stamps, slots, display, again=request.retry == "all")
        engine.execute([status.spec for status in todo])


def _prepare(runs: Sequence[Run], source: DataSource) -> dict[str, DataStamp]:
    """Have the data of every task ready before the first slot opens, and know its hash."""
    from sweep.experiment import make_task

    stamps: dict[str, DataStamp] = {}
    for run in runs:
        if run.task in stamps:
            continue
        with show.console.status(f"preparing the data of {run.task}"):
            data = make_task(run).prepare(source)
        stamps[run.task] = DataStamp(data.data_hash, data.data_verified, get_task(run.task).pipeline_version)
    return stamps


def _show_plan(sweep: SweepPaths, runs: Sequence[Run]) -> None:
    specs = ({"id": run.id, **run.model_dump(mode="json")} for run in runs)
    statuses = [examine(sweep.run(spec["id"]), spec, None) for spec in specs]
    for status in statuses:
        show.console.print(Text.assemble((f"{status.state:<12}", show.STYLES[status.state]), status.run_id))
    show.console.print(show.status_table(statuses))
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


def main() -> None:
    from sweep.cli import launch_main

    launch_main()


if __name__ == "__main__":
    main()
