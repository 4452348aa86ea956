"""Custom tasks and pruners, in files of the user's."""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType
from typing import Any

from sweep.core.errors import SweepError, UsageError, source_line, summarise_exception
from sweep.core.plugin_code import PluginCode, local_modules
from sweep.core.process_state import restored

_PREFIX = "plugin_"


def load_plugins(paths: Iterable[Path]) -> None:
    """Import each file once, as a module `plugin_<its name>`; its decorated tasks and pruners are then known.

    What else an import changes of the process (`sweep.core.process_state`) is restored, with a line on standard error: runs must
    not depend on it, nor on the process that they are forked from.

    Raises:
        UsageError: no such file, a second one of the same name, or the file raises while it is imported.
    """
    for path in [given.expanduser().absolute() for given in paths]:
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
        if str(path.parent) not in sys.path:  # what is in its directory can be imported, last of all
            sys.path.append(str(path.parent))
        with restored() as changed:
            _import(name, path)
        if changed:
            print(
                f"note: plug-in {path} changed {', '.join(changed)} when it was imported; restored. Change it where it is needed",
                file=sys.stderr,
            )


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is now: a compiled copy counts as current if its source has the same size and second."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the protocol's
        return self.source_to_code(self.get_data(self.path), self.path)


def _import(name: str, path: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # those next to it are compiled each time, too, for the same reason
    compiled_copies, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except SweepError as error:
        del sys.modules[name]
        raise UsageError(f"plug-in {path}: {error}") from error
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"plug-in {path}{source_line(path, error)}: {summarise_exception(error)}") from error
    finally:
        sys.dont_write_bytecode = compiled_copies


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
