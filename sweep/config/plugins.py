"""Custom tasks and pruners, in files of the user's."""

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from sweep.core.errors import SweepError, UsageError, source_line, summarise_exception


def load_plugins(paths: Iterable[Path]) -> None:
    """Import each file once, as a module `plugin_<its name>`; its decorated tasks and pruners are then known.

    Raises:
        UsageError: no such file, a second one of the same name, or the file raises while it is imported.
    """
    for path in (given.expanduser().absolute() for given in paths):
        # the prefix keeps a file `random.py` from standing in for the module that others mean
        name = f"plugin_{path.stem}"
        loaded = sys.modules.get(name)
        if loaded is not None and loaded.__file__ == str(path):
            continue
        if loaded is not None:
            raise UsageError(f"plug-in {path}: {loaded.__file__} has the same name; rename one of them")
        if path.suffix != ".py":
            raise UsageError(f"plug-in {path}: its name must end in .py; rename the file")
        if not path.is_file():
            raise UsageError(f"plug-in {path}: no such file")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        if str(path.parent) not in sys.path:  # what is in its directory can be imported, last of all
            sys.path.append(str(path.parent))
        try:
            spec.loader.exec_module(module)
        except SweepError as error:
            del sys.modules[name]
            raise UsageError(f"plug-in {path}: {error}") from error
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise UsageError(
                f"plug-in {path}{source_line(path, error)}: {summarise_exception(error)}"
            ) from error


def format_error(error: BaseException, paths: Iterable[Path]) -> str:
    """`summarise_exception`, with the line of the plug-in of `paths` that the error came through, if there is one."""
    lines = ((path, source_line(path, error)) for path in paths)
    where = next((f"{path.name}{line}: " for path, line in lines if line), "")
    return where + summarise_exception(error)
