"""The tasks by name."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from sweep.core.errors import DataError, SweepError, UsageError, nearest, source_line, summarise_exception
from sweep.tasks.base import DEFAULTS, Task
from sweep.tasks.data.dataset import Dataset, DataSource

TASKS: dict[str, type[Task]] = {}

_T = TypeVar("_T", bound=type[Task])


def task(name: str) -> Callable[[_T], _T]:
    """Class decorator that registers a task under `name`.

    Raises:
        UsageError: the name is not a string or taken, or the class lacks what every task has.
    """
    if not isinstance(name, str):
        raise UsageError(f'task name {name!r} is not a string; write @task("name") above the class')

    def register(kind: _T) -> _T:
        _check(name, kind)
        if name in TASKS:
            other = TASKS[name]
            raise UsageError(
                f"task name {name!r} of {kind.__qualname__} is taken by {other.__module__}.{other.__qualname__}; choose another"
            )
        kind.name = name
        TASKS[name] = kind
        return kind

    return register


def _check(name: str, kind: Any) -> None:
    """Raise UsageError for a class that would fail at its first use, in whatever command that is."""
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise UsageError(
            f"task {name!r} is {kind!r}, which is not a subclass of sweep.tasks.Task; make it one"
        )
    for attribute, wanted, words in (
        ("summary", str, "one line of text"),
        ("defaults", Mapping, "a mapping"),
    ):
        if not isinstance(getattr(kind, attribute, None), wanted):
            raise UsageError(f"task {name!r}: {kind.__qualname__} has no `{attribute}`; give it one, {words}")
    for key in DEFAULTS:
        if key not in kind.defaults:
            raise UsageError(
                f"task {name!r}: `defaults` of {kind.__qualname__} lack {key!r}; add it to `defaults`"
            )
    options: Any = kind.Options
    if not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise UsageError(
            f"task {name!r}: Options of {kind.__qualname__} is {options!r}; make it a class derived from Task.Options"
        )


def get_task(name: str) -> type[Task]:
    """The task registered under `name`.

    Raises:
        UsageError: there is none; the message has the nearest name.
    """
    if name not in TASKS:
        raise UsageError(f"unknown task {name!r}{nearest(name, TASKS)}; known: {', '.join(sorted(TASKS))}")
    return TASKS[name]


def prepared(name: str, options: Mapping[str, Any], source: DataSource) -> Dataset:
    """The data of the task `name` with `options`, where a mistake in a custom task must not end in a traceback.

    Raises:
        UsageError: there is no such task, or it prepares something else than a data set.
        DataError: as `Task.prepare`; there are no training or no test rows; or the task raised something else, which is named
            with the line of the task's file.
    """
    kind = get_task(name)
    try:
        data = kind(kind.Options(**options)).prepare(source)
        _check_data(name, data)
    except (SweepError, OSError):
        raise
    except (Exception, SystemExit) as error:
        file = inspect.getfile(kind)
        raise DataError(
            f"task {name!r} ({file}{source_line(Path(file), error)}): {summarise_exception(error)}"
        ) from error
    return data


def _check_data(name: str, data: Any) -> None:
    if not isinstance(data, Dataset):
        raise UsageError(
            f"task {name!r}: prepare() returned {type(data).__name__}; return a sweep.tasks.Dataset"
        )
    for split, rows in (("training", data.train_rows), ("test", data.test_rows)):
        if not rows:
            raise DataError(f"task {name!r} has no {split} rows; give it at least one")
