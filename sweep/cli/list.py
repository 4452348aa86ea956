"""`sweep list`."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from sweep.config.grid import Grid, shipped_grids
from sweep.config.plugins import load_plugins
from sweep.config.run_spec import RunSpec, settable_fields
from sweep.tasks import TASKS, get_task
from sweep.terminal.console import console


def show_lists(plugins: Sequence[Path]) -> None:
    """Print the shipped grids, the tasks and the pruners, with a line on each, and the keys of runs."""
    from prune import METHODS

    load_plugins(plugins)
    grids = {name: Grid.load(name).summary for name in shipped_grids()}
    tasks = {name: get_task(name).summary for name in TASKS}
    pruners = {name: (method.function.__doc__ or "").partition("\n")[0] for name, method in METHODS.items()}
    for title, entries in (("grids", grids), ("tasks", tasks), ("pruners", pruners)):
        _print(title, entries.items())
    _print("keys, for --set, --only and grids", keys(RunSpec, settable_fields()))
    own: dict[tuple[str, str, str], list[str]] = {}
    for name in TASKS:
        options = get_task(name).Options
        for key in keys(options, options.model_fields):
            own.setdefault(key, []).append(name)
    _print("keys of single tasks", ((*key, ", ".join(names)) for key, names in own.items()))


def keys(model: type[BaseModel], names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Name, values with the default first, and meaning of the fields of that name."""
    for name in names:
        field = model.model_fields[name]
        if get_origin(field.annotation) is Literal:
            values = " | ".join(sorted(get_args(field.annotation), key=lambda value: value != field.default))
        elif field.annotation is bool:
            values = "false | true"
        else:
            values = (
                "the task's" if field.is_required() else "" if field.default is None else str(field.default)
            )
        yield name, values, field.description or ""


def _print(title: str, rows: Iterable[Sequence[str]]) -> None:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False
    )
    for row in rows:
        table.add_row(Text(row[0], no_wrap=True), *row[1:])
    console.print(table)
    console.print()
