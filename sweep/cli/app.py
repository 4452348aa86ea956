"""The command line: `sweep launch|run|status|logs|cancel|report|collect|prepare|list`."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from sweep.core.errors import BUSY, ExitCode
from sweep.launch.command import launch
from sweep.launch.options import DataDir, Plugins, Results, Unverified, path
from sweep.terminal.command_line import run_app

app = typer.Typer(
    help="Sweeps of pruning-at-initialisation experiments on NLP models.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # which takes `[cores / threads]` for a style
)

Name = Annotated[str, typer.Argument(help="name of the sweep", metavar="NAME")]
OfSweep = Annotated[
    str | None, typer.Option("--name", help="its sweep [all sweeps are searched]", metavar="NAME")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"prunesweep {version('prunesweep')}")
        raise typer.Exit


@app.callback()
def _general(
    version: Annotated[
        bool,
        typer.Option("--version", help="show the version and exit", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    pass


app.command()(launch)


@app.command()
def run(
    run_id: Annotated[str, typer.Argument(metavar="ID", help="id of a run, or the start of it")],
    name: OfSweep = None,
    again: Annotated[bool, typer.Option("--again", help="rerun it although it is complete")] = False,
    results: Results = None,
) -> None:
    """Execute one run of a sweep in the foreground."""
    from sweep.cli.find_run import find_run
    from sweep.run.worker import execute
    from sweep.store.submissions import latest_submission

    sweep, found = find_run(run_id, name, results)
    code = execute(
        sweep, found, latest_submission(sweep, found), again=again, log=lambda line: print(line, flush=True)
    )
    raise typer.Exit(ExitCode.INCOMPLETE if code == BUSY else code)


@app.command()
def status(
    name: Name,
    json: Annotated[bool, typer.Option("--json", help="print JSON, one line per run")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="refresh every two seconds until nothing runs")
    ] = False,
    results: Results = None,
) -> None:
    """Show the status of a sweep's runs.

    They are done, running, pending, interrupted, failed, stale or unknown.
    """
    from sweep.cli.status import show_status

    raise typer.Exit(show_status(name, results, as_json=json, watch=watch))


@app.command()
def logs(
    which: Annotated[str, typer.Argument(metavar="NAME|ID", help="a sweep, with --failed; or a run")],
    name: OfSweep = None,
    failed: Annotated[bool, typer.Option("--failed", help="print the logs of all failed runs")] = False,
    lines: Annotated[int, typer.Option(help="number of lines from the end", metavar="N", min=1)] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", help="keep printing what the run writes until it ends")
    ] = False,
    results: Results = None,
) -> None:
    """Print the end of the logs of runs."""
    from sweep.cli.logs import print_logs

    try:
        print_logs(which, name, failed, lines, follow, results)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@app.command()
def cancel(
    name: Name,
    only: Annotated[
        list[str] | None, typer.Option(help="only the runs with these values", metavar="K=V,..")
    ] = None,
    results: Results = None,
) -> None:
    """Cancel the Slurm jobs of a sweep.

    Waits until Slurm has released them.
    """
    from sweep.cli.find_run import select_in_sweep
    from sweep.executors.slurm.cancel import cancel as take_back
    from sweep.store.layout import existing_sweep

    sweep = existing_sweep(name, results)
    count = take_back(sweep, select_in_sweep(sweep, only or []), print)
    print(f"{count} jobs cancelled" if count else "no job to cancel")


@app.command()
def report(
    name: Name,
    watch: Annotated[
        bool, typer.Option("--watch", help="rewrite whenever a run has ended, until nothing runs")
    ] = False,
    results: Results = None,
) -> None:
    """Write the report of a sweep."""
    from sweep.report import watch as write_again
    from sweep.report import write_report
    from sweep.store.layout import existing_sweep

    sweep = existing_sweep(name, results)
    if watch:
        write_again(sweep, lambda line: print(line, flush=True))
    else:
        print(write_report(sweep))


@app.command()
def collect(
    name: Name,
    to: Annotated[
        Path | None,
        typer.Option(
            help="write them to a copy of the sweep in DIR, which needs no other files",
            metavar="DIR",
            parser=path,
        ),
    ] = None,
    results: Results = None,
) -> None:
    """Gather the rows of a sweep in a few files.

    One Parquet file per task and kind instead of several per run; they load in a moment.
    """
    from sweep.store.archive import archive
    from sweep.store.collection import collect as gather
    from sweep.store.layout import existing_sweep, sweep_paths

    sweep = existing_sweep(name, results)
    found = gather(sweep) if to is None else archive(sweep, sweep_paths(name, to))
    for problem in found.problems:
        print(f"left out: {problem}", file=sys.stderr)
    if to is None:
        print(f"{found.runs:,} runs in {sweep.collected}, {found.read:,} of them read again")
    else:
        print(f"{found.runs:,} runs in {sweep_paths(name, to).directory}")


@app.command()
def prepare(
    task: Annotated[list[str], typer.Option(help="task whose data to prepare", metavar="NAME")],
    data_dir: DataDir = None,
    allow_unverified_data: Unverified = False,
    plugin: Plugins = None,
) -> None:
    """Download, verify and tokenise data in advance.

    Once, on a machine with a network; runs then read the cache.
    """
    from sweep.config.plugins import load_plugins
    from sweep.run.seeds import seed_for_data
    from sweep.tasks import prepared
    from sweep.tasks.data.dataset import DataSource

    load_plugins(plugin or [])
    source = DataSource.from_env(data_dir, allow_unverified_data)
    for name in task:
        seed_for_data(name)
        data = prepared(name, {}, source)
        verified = "verified" if data.data_verified else "NOT verified"
        print(
            f"{name}: {data.train_rows} training and {data.test_rows} test rows, {verified}, hash {data.data_hash}"
        )


@app.command("list")
def list_all(plugin: Plugins = None) -> None:
    """List grids, tasks, pruners and keys of runs."""
    from sweep.cli.list import show_lists

    show_lists(plugin or [])


def main() -> None:
    """Entry point of `sweep`."""
    run_app(app, "sweep", sys.argv[1:] or ["--help"])
