"""Running a command line: a mistake of the user is one line and an exit code."""

import sys
from collections.abc import Callable
from typing import Any

import typer

from sweep.core import streams
from sweep.core.errors import ExitCode, SweepError

# what typer raises for options and arguments that are wrong; which module has the class depends on typer's version
_CommandLineError: Any = typer.BadParameter.__mro__[1]


def run_app(command: Callable[..., Any], program: str, arguments: list[str] | None = None) -> None:
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
