"""Custom tasks and pruners, in files of the user's."""

import importlib.util
import locale
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweep.core.errors import SweepError, UsageError, source_line, summarise_exception
from sweep.core.plugin_code import PluginCode, local_modules

_PREFIX = "plugin_"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)


@contextmanager
def _process_kept() -> Iterator[None]:
    """Undo what an import did to the process and later steps would run into: where it is, its language, who hears signals."""
    directory = os.open(".", os.O_RDONLY)
    language = locale.setlocale(locale.LC_ALL)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        os.fchdir(directory)
        os.close(directory)
        locale.setlocale(locale.LC_ALL, language)
        for number, handler in handlers.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)


def load_plugins(paths: Iterable[Path]) -> None:
    """Import each file once, as a module `plugin_<its name>`; its decorated tasks and pruners are then known.

    The current directory, the locale and the handlers of signals are afterwards as before.

    Raises:
        UsageError: no such file, a second one of the same name, or the file raises while it is imported.
    """
    for path in (given.expanduser().absolute() for given in paths):
        # the prefix keeps a file `random.py` from standing in for the module that others mean
        name = f"{_PREFIX}{path.stem}"
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
            with _process_kept():
                spec.loader.exec_module(module)
        except SweepError as error:
            del sys.modules[name]
            raise UsageError(f"plug-in {path}: {error}") from error
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise UsageError(
                f"plug-in {path}{source_line(path, error)}: {summarise_exception(error)}"
            ) from error


def code_of(registered: Any) -> PluginCode | None:
    """The code of the plug-in that a task's class or a pruner's function is in; None for the project's own."""
    module = sys.modules.get(registered.__module__)
    file = Path(module.__file__) if module and module.__file__ else None
    for name, loaded in list(sys.modules.items()):
        if name.startswith(_PREFIX) and loaded.__file__:
            plugin = Path(loaded.__file__)
            if file == plugin or file in local_modules(plugin):
                return PluginCode.of(plugin)
    return None


def format_error(error: BaseException, paths: Iterable[Path]) -> str:
    """`summarise_exception`, with the line of the plug-in of `paths` that the error came through, if there is one."""
    lines = ((path, source_line(path, error)) for path in paths)
    where = next((f"{path.name}{line}: " for path, line in lines if line), "")
    return where + summarise_exception(error)
