"""Commands in this process, which has torch loaded already, and what tests of mistakes share.

A command in a process of its own (`Workplace.process`, `Workplace.start`) takes three seconds of a core to begin. It is for tests
of what only a process has: signals, streams, its environment, its current directory.
"""

import contextlib
import ctypes
import io
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from unittest import mock

import torch
import yaml

from prune import METHODS
from sweep.cli.app import main
from sweep.executors.local import executor
from sweep.executors.local.forkserver import ChildProcess, ForkServer
from sweep.launch.command import launch_main
from sweep.tasks import TASKS
from sweep.terminal.console import console

ROOT = Path(__file__).resolve().parents[2]

ENTRIES: dict[str, Callable[[], None]] = {"sweep.launch": launch_main, "sweep.cli": main}
"""What `python -m NAME` calls."""

GRID = {"tasks": {"toy": {"epochs": 1}}, "pruners": ["random"], "compressions": [1], "seeds": [0]}

LAUNCH = ("launch", "--local", "--grid", "grid.yaml")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class SharedForkServer:
    """Stands in for the fork server of a launch: all launches of this process fork their runs from the same one."""

    _servers: dict[int, ForkServer] = {}  # noqa: RUF012 - shared on purpose

    def __init__(self, threads: int) -> None:
        self._server = self._servers.setdefault(threads, ForkServer(threads))

    def start(
        self,
        arguments: list[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        heed: Callable[[], None] = lambda: None,
    ) -> ChildProcess:
        return self._server.start(arguments, log, environment, heed)

    def close(self) -> None:
        """The next launch needs it."""

    @classmethod
    def close_all(cls) -> None:
        """The processes that runs were forked from end."""
        while cls._servers:
            cls._servers.popitem()[1].close()


@contextlib.contextmanager
def parent_of_runs() -> Iterator[None]:
    """Inside, orphans become children of this process, as runs have to; afterwards not, or dead daemons would stay as zombies."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@contextlib.contextmanager
def plugins_forgotten() -> Iterator[None]:
    """Afterwards no plug-in is known that was not before: another command may have one of the same name."""
    registries = [(registry, dict(registry)) for registry in (METHODS, TASKS)]
    modules, places = set(sys.modules), list(sys.path)
    try:
        yield
    finally:
        for registry, before in registries:
            registry.clear()
            registry.update(before)
        new = set(sys.path) - set(places)
        sys.path[:] = places
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if name.startswith("plugin_") or (file and str(Path(file).parent) in new):
                del sys.modules[name]


@contextlib.contextmanager
def state_of_process_kept() -> Iterator[None]:
    """Afterwards signals, torch's threads and its arithmetic are what they were, also if a run was executed in this process."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_flush_denormal(False)  # as a process begins; torch does not say what it is


def run_here(
    entry: Callable[[], None], *arguments: object, environment: Mapping[str, str], directory: Path
) -> subprocess.CompletedProcess[str]:
    """Call an entry point as `python -m` would, with these arguments, this whole environment and current directory.

    The console's width, the fork server's kinship and `state_of_process_kept`'s are afterwards what they were.
    """
    out, err = io.StringIO(), io.StringIO()
    width = console.width
    code: object = 0
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "argv", ["sweep", *map(str, arguments)]),
        mock.patch("sweep.core.streams.install"),  # it would replace these two
        mock.patch.object(executor, "ForkServer", SharedForkServer),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(directory),
        warnings.catch_warnings(),
        parent_of_runs(),
        state_of_process_kept(),
    ):
        _show_warnings()
        console.width = int(environment.get("COLUMNS", 160))
        try:
            entry()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            console.width = width
    assert isinstance(code, int), code
    return subprocess.CompletedProcess(list(arguments), code, out.getvalue(), err.getvalue())


def _show_warnings() -> None:
    """Those that a command of a user's would show, on its stderr; pytest keeps them for itself otherwise."""

    def show(message, category, filename, lineno, file=None, line=None):
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))

    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    warnings.showwarning = show


def write_grid(directory, name="grid.yaml", **changes):
    path = directory / name
    path.write_text(yaml.safe_dump(GRID | changes, sort_keys=False))
    return path


def refused(result, message, code=2):
    """Assert that a command ended with `code` and one line on stderr that `message` is found in."""
    found, _, err = result
    assert (found, err[:7], err.count("\n")) == (code, "error: ", 1), err
    assert re.search(message, err), err


def snapshot(directory):
    """The content of every file that is not hidden."""
    return {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
