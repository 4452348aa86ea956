"""The tasks by name."""

from collections.abc import Callable
from typing import TypeVar

from sweep.errors import UsageError, nearest
from sweep.tasks.base import Task

TASKS: dict[str, type[Task]] = {}

_T = TypeVar("_T", bound=type[Task])


def task(name: str) -> Callable[[_T], _T]:
    """Class decorator that registers a task under `name`.

    Raises:
        UsageError: the name is taken.
    """

    def register(kind: _T) -> _T:
        if name in TASKS:
            other = TASKS[name]
            raise UsageError(
                f"task name {name!r} of {kind.__qualname__} is taken by {other.__module__}.{other.__qualname__}; choose another"
            )
        kind.name = name
        TASKS[name] = kind
        return kind

    return register


def get_task(name: str) -> type[Task]:
    """The task registered under `name`.

    Raises:
        UsageError: there is none; the message has the nearest name.
    """
    if name not in TASKS:
        raise UsageError(f"unknown task {name!r}{nearest(name, TASKS)}; known: {', '.join(sorted(TASKS))}")
    return TASKS[name]
