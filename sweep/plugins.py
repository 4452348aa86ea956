"""Tasks and pruners of one's own, in one's own file."""

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from sweep.errors import SweepError, UsageError


def load_plugins(paths: Iterable[Path]) -> None:
    """Import each file once, as a module named after it; its decorated tasks and pruners are then known.

    Raises:
        UsageError: no such file, a name that is taken by another module, or the file raises while it is imported.
    """
    for path in paths:
        path = path.expanduser().absolute()
        loaded = sys.modules.get(path.stem)
        if loaded is not None and getattr(loaded, "__file__", None) == str(path):
            continue
        if loaded is not None or path.suffix != ".py":
            raise UsageError(f"plug-in {path}: needs a name of its own ending in .py; rename the file")
        if not path.is_file():
            raise UsageError(f"plug-in {path}: no such file")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        try:
            spec.loader.exec_module(module)
        except SweepError as error:
            raise UsageError(f"plug-in {path}: {error}") from error
        except Exception as error:
            line = _line_in(path, error)
            raise UsageError(f"plug-in {path}{line}: {type(error).__name__}: {error}") from error


def _line_in(path: Path, error: BaseException) -> str:
    """`", line N"` for the last line of `path` on the way to `error`."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    number = None
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            number = trace.tb_lineno
        trace = trace.tb_next
    return f", line {number}" if number else ""
