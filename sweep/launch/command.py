"""The launch command."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sweep.core.errors import ExitCode
from sweep.launch.options import DataDir, Plugins, Results, Unverified
from sweep.terminal.command_line import run_app


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
    from sweep.launch.launcher import launch as carry_out
    from sweep.launch.request import Request

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


def launch_main() -> None:
    """`python -m sweep.launch`: the launch command alone."""
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command()(launch)
    run_app(alone, "python -m sweep.launch")
