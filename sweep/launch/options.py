"""The options of commands. Those of a launch are one dataclass, from which its command line is made."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from sweep.core.errors import UsageError
from sweep.store.lock import PATIENCE


@dataclass(frozen=True)
class Rule:
    """What is asked of an option that has one. It is spelled like its field.

    Attributes:
        only: the kind of launch that the option is for; None for both.
        minimum: its smallest value.
    """

    only: Literal["local", "slurm"] | None = None
    minimum: int | None = None


SLURM = Rule(only="slurm")


def path(text: str) -> Path:
    """A path of the command line. `~`, which shells leave as it is in `--option=~/x`, is the home directory."""
    if not text:  # a shell variable that is not set; as a path it would be the current directory
        raise typer.BadParameter("is empty; name a path or leave the option out")
    return Path(text).expanduser()


Results = Annotated[
    Path | None,
    typer.Option(help="directory of the sweeps [SWEEP_RESULTS, else ./results]", metavar="DIR", parser=path),
]

DataDir = Annotated[
    Path | None,
    typer.Option(help="local copy of the data [SWEEP_DATA, else download]", metavar="DIR", parser=path),
]

Unverified = Annotated[
    bool,
    typer.Option(
        "--allow-unverified-data",
        help="accept local data whose hash is not the published one; rows record it",
    ),
]

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="file with custom tasks or pruners", metavar="FILE.py", parser=path),
]


@dataclass(frozen=True)
class LaunchOptions:
    """What a launch is asked for. Fields are options, in the order of `--help`; brackets in a help text are a default."""

    grid: Annotated[
        str, typer.Option(help="a shipped grid (see `sweep list`) or a YAML file", metavar="NAME|FILE.yaml")
    ]
    local: Annotated[
        bool, typer.Option("--local", help="execute on this machine instead of submitting to Slurm")
    ] = False
    slots: Annotated[
        int | None,
        typer.Option(help="local: runs at once [cores / threads]", metavar="N"),
        Rule(only="local", minimum=1),
    ] = None
    profile: Annotated[
        Path | None,
        typer.Option(help="Slurm: what jobs request, see slurm/*.yaml", metavar="FILE.yaml", parser=path),
        SLURM,
    ] = None
    max_concurrent: Annotated[
        int | None,
        typer.Option(help="Slurm: jobs at once [as many as start]", metavar="N"),
        Rule(only="slurm", minimum=1),
    ] = None
    pack: Annotated[
        int | None,
        typer.Option(help="Slurm: runs that share a job, executed at once [1]", metavar="N"),
        Rule(only="slurm", minimum=1),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option(help="Slurm: retries after out-of-memory, node failure or time-out [3]", metavar="N"),
        Rule(only="slurm", minimum=0),
    ] = None
    auto_retry: Annotated[
        bool,
        typer.Option("--auto-retry", help="Slurm: a small job retries when the jobs have ended"),
        SLURM,
    ] = False
    no_smoke: Annotated[
        bool,
        typer.Option(
            "--no-smoke", help="Slurm: skip the smoke test (used for launches of more than 20 runs)"
        ),
        SLURM,
    ] = False
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Slurm: show progress until the jobs have ended"),
        SLURM,
    ] = False
    ask_above: Annotated[
        float,
        typer.Option(
            help="on a terminal: ask before a launch expected to take more core-hours", metavar="HOURS"
        ),
    ] = 24.0
    yes: Annotated[bool, typer.Option("--yes", help="never ask")] = False
    only: Annotated[
        list[str] | None,
        typer.Option(help="only the runs with these values, see `sweep list`", metavar="K=V,.."),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="set a key for every run, see `sweep list`", metavar="[TASK.]K=V"),
    ] = None
    seeds: Annotated[
        str | None, typer.Option(help="seeds in place of the grid's: 0-4 or 0,2", metavar="RANGE")
    ] = None
    name: Annotated[str | None, typer.Option(help="name of the sweep [the grid's]", metavar="NAME")] = None
    results: Results = None
    data_dir: DataDir = None
    allow_unverified_data: Unverified = False
    plugin: Plugins = None
    retry: Annotated[
        str | None,
        typer.Option(help="also rerun failed runs, or rerun everything", metavar="failed|all"),
    ] = None
    no_wait_lock: Annotated[
        bool,
        typer.Option(
            "--no-wait-lock",
            help="exit with code 3 if another launch or `sweep cancel` of the sweep is at it",
        ),
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show sbatch scripts, runs and their states; start nothing")
    ] = False

    @property
    def patience(self) -> float:
        """Seconds to wait for another process that holds the sweep's lock."""
        return 0.0 if self.no_wait_lock else PATIENCE


def check_options(options: LaunchOptions) -> None:
    """Raise UsageError for an option of the other kind of launch, a value below its minimum, or two that exclude each other."""
    for option, value, rule in given(options):
        shown = option if value is True else f"{option} {value}"
        if rule.only == "local" and not options.local:
            raise UsageError(f"{shown}: works only with --local; leave it out")
        if rule.only == "slurm" and options.local:
            raise UsageError(f"{shown}: works only without --local, on Slurm; leave it out")
        if rule.minimum is not None and value < rule.minimum:
            raise UsageError(f"{shown}: must be at least {rule.minimum}")
    if options.wait and options.auto_retry:
        raise UsageError("--auto-retry: --wait retries by itself; leave one of them out")


def given(options: LaunchOptions) -> Iterator[tuple[str, Any, Rule]]:
    """Spelling, value and rule of the options that have a rule and are given."""
    annotations = get_type_hints(LaunchOptions, include_extras=True)
    for field in fields(options):
        value = getattr(options, field.name)
        for rule in getattr(annotations[field.name], "__metadata__", ()):
            if isinstance(rule, Rule) and value != field.default:
                yield f"--{field.name.replace('_', '-')}", value, rule
