"""A grid: the YAML that is expanded into runs."""

import itertools
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sweep.config.key_values import select_runs
from sweep.config.run_spec import RunSpec
from sweep.config.strict_types import require_types
from sweep.config.yaml_values import InvalidYaml, dump_yaml, load_yaml
from sweep.core.errors import UsageError, nearest, summarise_validation
from sweep.store.schema import DENSE
from sweep.tasks import TASKS

SHIPPED = files("sweep") / "grids"
_MOST_SEEDS = 100_000


class Grid(BaseModel):
    """Tasks x pruners x compressions x seeds, with what is set for all, for a task or for a pruner."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: Annotated[str, Field(description="the sweep's name unless --name gives another")]
    summary: Annotated[str, Field(description="what the grid is for, one line")] = ""
    tasks: Annotated[
        dict[str, dict[str, Any]], Field(min_length=1, description="names, or name: {key: value}")
    ]
    pruners: Annotated[
        dict[str, dict[str, Any]], Field(min_length=1, description="names, or name: {key: value}")
    ]
    compressions: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]
    seeds: Annotated[list[int], Field(min_length=1, description="a list, or a range such as 0-4")]
    settings: Annotated[dict[str, Any], Field(alias="set", description="keys for every run")] = {}
    slurm: Annotated[
        dict[str, dict[str, Any]], Field(description="task: {key: value} in place of the profile's")
    ] = {}

    @field_validator("tasks", "pruners", mode="before")
    @classmethod
    def _names_or_mapping(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return {name: {} for name in value}
        return {name: keys or {} for name, keys in value.items()} if isinstance(value, dict) else value

    @field_validator("seeds", mode="before")
    @classmethod
    def _seed_range(cls, value: Any) -> Any:
        if isinstance(value, str):
            return parse_seeds(value)
        listed = [value] if isinstance(value, int) else value
        if isinstance(listed, list) and any(isinstance(seed, bool | str) for seed in listed):
            raise ValueError("true, false and text are not seeds; write integers")
        return listed

    @classmethod
    def load(cls, name: str) -> Self:
        """Read a shipped grid by name, or a YAML file by path.

        Raises:
            UsageError: no such grid or file, not YAML, an unknown key, a value of the wrong kind.
        """
        is_file = name.endswith((".yaml", ".yml"))
        path = Path(name).expanduser() if is_file else SHIPPED / f"{name}.yaml"
        if not path.is_file():
            if is_file:
                raise UsageError(
                    f"no grid file {name!r}; give a path that exists or one of: {', '.join(shipped_grids())}"
                )
            known = shipped_grids()
            raise UsageError(
                f"unknown grid {name!r}{nearest(name, known)}; shipped: {', '.join(known)}; or give a FILE.yaml"
            )
        try:
            return cls.parse(path.read_text(encoding="utf-8"), name)
        except UnicodeDecodeError as error:
            raise UsageError(f"grid {name!r} is not text in UTF-8 ({error}); save it as UTF-8") from None

    @classmethod
    def parse(cls, text: str, origin: str) -> Self:
        """Read a grid from YAML text; `origin` names it in errors."""
        try:
            content = load_yaml(text)
            if isinstance(content, dict) and "slurm" in content:
                # as text, like a profile: a partition may be called 1 or true
                content["slurm"] = load_yaml(text, as_text=True)["slurm"] or {}
        except InvalidYaml as error:
            raise UsageError(f"grid {origin!r}{error.where}: not valid YAML: {error}") from None
        if not isinstance(content, dict):
            raise UsageError(f"grid {origin!r} must be a mapping with the keys {', '.join(_keys())}")
        if not origin.endswith((".yaml", ".yml")):
            content.setdefault("name", origin)
        content.setdefault("name", Path(origin).stem)
        for key in content:
            if key not in _keys():
                raise UsageError(f"grid {origin!r}: unknown key {key!r}{nearest(str(key), _keys())}")
        require_types(cls, {"compressions": content.get("compressions")}, f"grid {origin!r}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UsageError(f"grid {origin!r}: {summarise_validation(error)}") from None

    def with_settings(self, settings: Mapping[str, Any], seeds: Sequence[int] | None = None) -> Self:
        """This grid with `settings` for every run (a key `task.key`: for that task's runs), winning over what the file says."""
        tasks, pruners = (
            {name: dict(keys) for name, keys in group.items()} for group in (self.tasks, self.pruners)
        )
        # one without a task wins over all that have that name
        plain = {key for key in settings if "." not in key}
        kept = {key: v for key, v in self.settings.items() if key.rpartition(".")[2] not in plain}
        for keys in [*tasks.values(), *pruners.values()]:
            for key in plain:
                keys.pop(key, None)
        general = kept | dict(settings)
        changes = {
            "settings": general,
            "tasks": tasks,
            "pruners": pruners,
            "seeds": list(seeds or self.seeds),
        }
        return self.model_copy(update=changes)

    def dump(self) -> str:
        """The grid as YAML that `parse` reads back."""
        return dump_yaml(self.model_dump(mode="json", by_alias=True))


def expand(grid: Grid, only: Mapping[str, Sequence[str]] | None = None) -> list[RunSpec]:
    """The runs of `grid`, without repeats, in the order tasks, seeds, compressions, pruners.

    Keys are applied from the general to the particular: the task's defaults, the grid's `set`, the task's keys, the pruner's
    keys, keys of `set` that are written `task.key`. At compression 0 all pruners are one run, and no pruner's keys apply to it.

    Args:
        grid: what to expand.
        only: keep runs whose field (or option) has one of the values, compared as text: `{"task": ["toy"]}`. A task that is left
            out is not even checked, so a part of a grid runs although another part cannot.
    """
    only = only or {}
    _require_known(grid, only)
    runs: dict[str, RunSpec] = {}
    for task, task_keys in grid.tasks.items():
        if task not in only.get("task", [task]):
            continue
        _require_task(grid, task)
        general, particular = _settings_for(task, grid)
        for seed, compression in itertools.product(grid.seeds, grid.compressions):
            for pruner, pruner_keys in grid.pruners.items():
                own_keys = pruner_keys if compression else {}
                overrides = {**general, **task_keys, **own_keys, **particular}
                run = RunSpec.make(task, pruner, compression, seed, overrides)
                runs.setdefault(run.id, run)
    if not only:
        return list(runs.values())
    chosen = select_runs([run.to_record() for run in runs.values()], only, f"grid {grid.name!r}")
    return [run for run in runs.values() if run.id in chosen]


def _require_known(grid: Grid, only: Mapping[str, Sequence[str]]) -> None:
    """Raise UsageError for a task or a pruner in `only` that the grid does not have."""
    for key, names in (("task", grid.tasks), ("pruner", [DENSE, *grid.pruners])):
        for value in only.get(key, []):
            if value not in names:
                raise UsageError(
                    f"--only {key}={value}: grid {grid.name!r} has no such {key}{nearest(value, names)}"
                )


def _require_task(grid: Grid, task: str) -> None:
    """Raise UsageError for a task that is not registered."""
    if task in TASKS:
        return
    known = [name for name in grid.tasks if name in TASKS]
    without = f", or without it: --only task={known[0]}" if known else ""
    raise UsageError(
        f"grid {grid.name!r} has the task {task!r}, which is unknown{nearest(task, TASKS)}; if it is yours, "
        f"launch with --plugin FILE.py{without}"
    )


def _settings_for(task: str, grid: Grid) -> tuple[dict[str, Any], dict[str, Any]]:
    """The grid's `set` for one task: keys for all tasks, and keys written `task.key`."""
    general: dict[str, Any] = {}
    particular: dict[str, Any] = {}
    for key, value in grid.settings.items():
        owner, dot, name = key.rpartition(".")
        if dot and owner not in grid.tasks:
            raise UsageError(
                f"set {key}: grid {grid.name!r} has no task {owner!r}{nearest(owner, grid.tasks)}"
            )
        if owner in ("", task):
            (particular if dot else general)[name] = value
    return general, particular


def parse_seeds(text: str) -> list[int]:
    """`"0-4"`, `"7"`, `"0,2,5-6"` as a list of seeds, in order, without repeats."""
    seeds: dict[int, None] = {}
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,20})\s*(?:-\s*(\d{1,20})\s*)?", part)
        if not found:
            raise UsageError(f"seeds: expected a list or range of integers, got {text!r}; write 0-4 or 0,2,5")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise UsageError(f"seeds {text!r}: range {part.strip()} is descending; write {last}-{first}")
        if last - first >= _MOST_SEEDS:
            raise UsageError(f"seeds {text!r} are {last - first + 1}; give at most {_MOST_SEEDS}")
        seeds |= dict.fromkeys(range(first, last + 1))
    return list(seeds)


def shipped_grids() -> list[str]:
    """Names of the grids that come with the project."""
    return sorted(
        path.name.removesuffix(".yaml") for path in SHIPPED.iterdir() if path.name.endswith(".yaml")
    )


def _keys() -> list[str]:
    return [field.alias or name for name, field in Grid.model_fields.items()]
