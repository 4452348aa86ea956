"""The command line: `sweep launch|run|status|logs|cancel|report|collect|prepare|list`."""

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from sweep import streams
from sweep.errors import SweepError
from sweep.exit_codes import BUSY, ExitCode

# what typer raises for options and arguments that are wrong; which module has the class depends on typer's version
_CommandLineError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    help="Sweeps of pruning-at-initialisation experiments on NLP models.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # to which `[cores / threads]` is a style
)


def _folder(text: str) -> Path:
    if not text:  # a shell's variable that is not set; as a path it would be the current folder
        raise typer.BadParameter("is empty; name a folder or leave the option out")
    return Path(text)


Results = Annotated[
    Path | None,
    typer.Option(help="folder of the sweeps [SWEEP_RESULTS, else ./results]", metavar="DIR", parser=_folder),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="local copy of the data [SWEEP_DATA, else download]", metavar="DIR", parser=_folder),
]
Unverified = Annotated[
    bool,
    typer.Option(
        "--allow-unverified-data", help="take local data whose hash is not the published one; rows say so"
    ),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="file with tasks or pruners of one's own", metavar="FILE.py"),
]
Name = Annotated[str, typer.Argument(help="name of the sweep", metavar="NAME")]


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


@app.command()
def launch(
    grid: Annotated[
        str, typer.Option(help="a shipped grid (see `sweep list`) or a YAML file", metavar="NAME|FILE.yaml")
    ],
    local: Annotated[
        bool, typer.Option("--local", help="execute on this machine instead of submitting to Slurm")
    ] = False,
    slots: Annotated[
        int | None, typer.Option(help="with --local: runs at once [cores / threads]", metavar="N")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="what Slurm jobs ask for, see slurm/*.yaml", metavar="FILE.yaml")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(help="Slurm jobs at once [as many as start]", metavar="N")
    ] = None,
    pack: Annotated[
        int | None, typer.Option(help="runs that share a Slurm job, executed at once [1]", metavar="N")
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            help="on Slurm: times that a want of memory, a lost node or a time-out is made good [3]",
            metavar="N",
        ),
    ] = None,
    auto_retry: Annotated[
        bool, typer.Option("--auto-retry", help="on Slurm: a small job does so when the jobs have ended")
    ] = False,
    no_smoke: Annotated[
        bool, typer.Option("--no-smoke", help="on Slurm: do not try a launch of over 20 runs out first")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="stay until the Slurm jobs have ended, showing their progress")
    ] = False,
    ask_above: Annotated[
        float,
        typer.Option(
            help="on a terminal: ask before a launch of more core-hours expected than this", metavar="HOURS"
        ),
    ] = 24.0,
    yes: Annotated[bool, typer.Option("--yes", help="never ask")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="just the runs with these values, see `sweep list`", metavar="K=V,.."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="set a key for every run, see `sweep list`", metavar="[TASK.]K=V"),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="other seeds: 0-4 or 0,2", metavar="RANGE")] = None,
    name: Annotated[str | None, typer.Option(help="name of the sweep [the grid's]", metavar="NAME")] = None,
    results: Results = None,
    data_dir: DataDir = None,
    allow_unverified_data: Unverified = False,
    plugin: Plugins = None,
    retry: Annotated[
        str | None, typer.Option(help="also try failed runs again, or make all anew", metavar="failed|all")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show sbatch scripts, runs and their states, start nothing")
    ] = False,
) -> None:
    """Launch a grid. The same command again resumes: complete runs are skipped."""
    from sweep.launch import Request
    from sweep.launch import launch as carry_out

    request = Request(
        grid=grid,
        only=only or [],
        settings=settings or [],
        seeds=seeds,
        name=name,
        results=results,
        data_dir=data_dir,
        allow_unverified=allow_unverified_data,
        plugins=plugin or [],
        slots=slots,
        retry=retry,
        dry_run=dry_run,
        local=local,
        profile=profile,
        concurrent=max_concurrent,
        pack=pack,
        smoke=not no_smoke,
        retries=retries,
        auto_retry=auto_retry,
        wait=wait,
        ask_above=ask_above,
        yes=yes,
    )
    try:
        raise typer.Exit(carry_out(request))
    except KeyboardInterrupt:
        told = "the same command goes on from here"
        if not local:
            told += "; what was submitted goes on in Slurm"
        print(f"interrupted; {told}", file=sys.stderr)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@app.command()
def run(
    run_id: Annotated[str, typer.Argument(metavar="ID", help="id of a run, or its beginning")],
    name: Annotated[str | None, typer.Option(help="its sweep [looked for in all]", metavar="NAME")] = None,
    again: Annotated[bool, typer.Option("--again", help="make it anew although it is complete")] = False,
    results: Results = None,
) -> None:
    """Execute one run of a sweep in the foreground."""
    from sweep.catalog import latest_submission
    from sweep.find import find_run
    from sweep.run import execute

    sweep, found = find_run(run_id, name, results)
    code = execute(
        sweep, found, latest_submission(sweep, found), again=again, log=lambda line: print(line, flush=True)
    )
    raise typer.Exit(ExitCode.INCOMPLETE if code == BUSY else code)


@app.command()
def status(
    name: Name,
    json: Annotated[bool, typer.Option("--json", help="as JSON, a run a line")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="again every two seconds until nothing runs")
    ] = False,
    results: Results = None,
) -> None:
    """Show how the runs of a sweep are.

    They are done, running, pending, interrupted, failed, stale or unknown.
    """
    from sweep.show_status import show_status

    raise typer.Exit(show_status(name, results, as_json=json, watch=watch))


@app.command()
def logs(
    which: Annotated[str, typer.Argument(metavar="NAME|ID", help="a sweep, with --failed; or a run")],
    failed: Annotated[bool, typer.Option("--failed", help="the end of the log of every failed run")] = False,
    lines: Annotated[int, typer.Option(help="how many lines from the end", metavar="N", min=1)] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", help="go on printing what a run writes, until it ends")
    ] = False,
    results: Results = None,
) -> None:
    """Print the end of the logs of runs."""
    from sweep.logs import print_logs

    try:
        print_logs(which, failed, lines, follow, results)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@app.command()
def cancel(
    name: Name,
    only: Annotated[
        list[str] | None, typer.Option(help="just the runs with these values", metavar="K=V,..")
    ] = None,
    results: Results = None,
) -> None:
    """Cancel the Slurm jobs of a sweep.

    The command returns when Slurm has let go of them.
    """
    from sweep.launch import chosen_runs
    from sweep.paths import existing_sweep
    from sweep.slurm.cancel import cancel as take_back

    sweep = existing_sweep(name, results)
    count = take_back(sweep, chosen_runs(sweep, only or []), print)
    print(f"{count} jobs cancelled" if count else "no job to cancel")


@app.command()
def report(
    name: Name,
    watch: Annotated[
        bool, typer.Option("--watch", help="again whenever a run has ended, until nothing runs")
    ] = False,
    results: Results = None,
) -> None:
    """Write the report of a sweep."""
    from sweep.paths import existing_sweep
    from sweep.report import watch as write_again
    from sweep.report import write_report

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
            parser=_folder,
        ),
    ] = None,
    results: Results = None,
) -> None:
    """Gather the rows of a sweep in few files.

    One Parquet file for each task and kind, instead of some for each run: they load in a moment.
    """
    from sweep.archive import archive
    from sweep.collect import collect as gather
    from sweep.paths import existing_sweep, sweep_paths

    sweep = existing_sweep(name, results)
    found = gather(sweep) if to is None else archive(sweep, sweep_paths(name, to))
    for problem in found.problems:
        print(f"left out: {problem}", file=sys.stderr)
    if to is None:
        print(f"{found.runs:,} runs in {sweep.collected}, {found.read:,} of them read anew")
    else:
        print(f"{found.runs:,} runs in {sweep_paths(name, to).folder}")


@app.command()
def prepare(
    task: Annotated[list[str], typer.Option(help="task whose data to prepare", metavar="NAME")],
    data_dir: DataDir = None,
    allow_unverified_data: Unverified = False,
    plugin: Plugins = None,
) -> None:
    """Download, verify and tokenise data ahead.

    Once, where there is a network: runs then map what is in the cache.
    """
    from sweep.data import DataSource
    from sweep.plugins import load_plugins
    from sweep.tasks import prepared

    load_plugins(plugin or [])
    source = DataSource.from_env(data_dir, allow_unverified_data)
    for name in task:
        data = prepared(name, {}, source)
        verified = "verified" if data.data_verified else "NOT verified"
        print(
            f"{name}: {data.train_rows} training and {data.test_rows} test rows, {verified}, hash {data.data_hash}"
        )


@app.command("list")
def list_all(plugin: Plugins = None) -> None:
    """List grids, tasks, pruners and keys of runs."""
    from sweep.show_lists import show_lists

    show_lists(plugin or [])


def launch_main() -> None:
    """`python -m sweep.launch`: the launch command alone."""
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command()(launch)
    _run(alone, "python -m sweep.launch")


def main() -> None:
    """Entry point of `sweep`."""
    _run(app, "sweep", sys.argv[1:] or ["--help"])


def _run(command: Callable[..., Any], program: str, arguments: list[str] | None = None) -> None:
    """Run a typer app; a mistake of the user is one line and an exit code, never a traceback."""
    streams.install()
    try:
        code = command(arguments, prog_name=program, standalone_mode=False)
    except SweepError as error:
        code = _complain(str(error), error.exit_code)
    except _CommandLineError as error:
        about = error.ctx.command_path if error.ctx else program
        code = _complain(f"{error.format_message().rstrip('.')}; see {about} --help", ExitCode.USAGE)
    except OSError as error:
        what = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        code = _complain(f"{what}; check that it is there and permitted", ExitCode.USAGE)
    if not code and (lost := streams.output_failure()):
        code = _complain(f"standard output: {lost.strerror}; what was shown is not whole", ExitCode.USAGE)
    sys.exit(code)


def _complain(message: str, code: int) -> int:
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
