"""The launch command."""

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, get_type_hints

import typer

from sweep.core.errors import ExitCode
from sweep.launch.options import LaunchOptions
from sweep.terminal.command_line import run_app

T = TypeVar("T")


def with_options(options: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Make a typer command of a function of one argument, an instance of the dataclass `options`: each field is an option."""

    def decorate(action: Callable[[T], None]) -> Callable[..., None]:
        @wraps(action)
        def command(**values: Any) -> None:
            action(options(**values))

        # typer reads both, the order and defaults here and the types there
        command.__signature__ = inspect.signature(options)  # type: ignore[attr-defined]
        command.__annotations__ = get_type_hints(options, include_extras=True)
        return command

    return decorate


@with_options(LaunchOptions)
def launch(options: LaunchOptions) -> None:
    """Launch a grid. The same command again resumes: complete runs are skipped."""
    from sweep.launch.launcher import launch as carry_out

    try:
        raise typer.Exit(carry_out(options))
    except KeyboardInterrupt:
        hint = "the same command resumes"
        if not options.local:
            hint += "; submitted jobs continue in Slurm"
        print(f"interrupted; {hint}", file=sys.stderr)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def launch_main() -> None:
    """`python -m sweep.launch`: the launch command alone."""
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command()(launch)
    run_app(alone, "python -m sweep.launch")
