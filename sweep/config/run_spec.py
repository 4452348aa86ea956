"""One point of a grid: a frozen specification with a stable id."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sweep.config.strict_types import require_types
from sweep.core.errors import UsageError, nearest, summarise_validation
from sweep.store.layout import is_directory_name
from sweep.store.run_record import RunRecord
from sweep.store.schema import DENSE
from sweep.tasks import get_task
from sweep.tasks.base import MOST, Task

_LISTED = {"task": "tasks", "pruner": "pruners", "compression": "compressions", "seed": "seeds"}
"""Fields that are not keys of a grid, and the lists there that they come from."""


class RunSpec(BaseModel):
    """What is asked of one run. Every field belongs to its identity: equal fields give equal numbers, bit for bit.

    Where the data is, how many slots there are and where results go is not in here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: str
    pruner: str
    compression: Annotated[float, Field(ge=0, description="density = 10 ** -compression")]
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    epochs: Annotated[int, Field(ge=0, le=MOST, description="passes over the training rows after pruning")]
    batch_size: Annotated[int, Field(ge=1, le=MOST, description="rows in a batch of training")]
    eval_batch_size: Annotated[int, Field(ge=1, le=MOST, description="rows in a batch of evaluation")]
    lr: Annotated[float, Field(gt=0, description="Adam's learning rate")]
    betas: Annotated[tuple[float, float], Field(description="Adam's betas")]
    eps: Annotated[float, Field(gt=0, description="Adam's epsilon")]
    score_samples: Annotated[
        int, Field(ge=1, le=MOST, description="training rows that the scores are computed on")
    ]
    score_batch_size: Annotated[int, Field(ge=1, le=MOST, description="rows in a batch of scoring")]

    scope: Annotated[
        Literal["global", "layer"], Field(description="one threshold for all layers, or one each")
    ] = "global"
    iterations: Annotated[
        int | None, Field(ge=1, le=MOST, description="pruning iterations; None: the method's own number")
    ] = None
    schedule: Annotated[
        Literal["exponential", "linear"], Field(description="densities of the iterations")
    ] = "exponential"
    shuffle: Annotated[bool, Field(description="ablation: permute each layer's mask")] = False
    invert: Annotated[bool, Field(description="ablation: keep the lowest scores")] = False

    precision: Annotated[
        Literal["float32", "bf16"],
        Field(description="of the products while training; all else is in float32"),
    ] = "float32"
    threads: Annotated[
        int,
        Field(
            ge=1, le=4096, description="torch's threads; dense products round differently with another number"
        ),
    ] = 1
    device: Annotated[
        Literal["cpu", "cuda"],
        Field(description="what scores, trains and evaluates; sums are rounded differently on another"),
    ] = "cpu"
    options: Annotated[dict[str, Any], Field(description="the task's own options")] = {}

    @field_validator("compression")
    @classmethod
    def _one_zero(cls, compression: float) -> float:
        return compression + 0.0  # of -0.0, which would be a second set of dense runs, this makes 0.0

    @field_validator("betas")
    @classmethod
    def _betas_below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both betas must be in [0, 1)")
        return betas

    @property
    def density(self) -> float:
        """The fraction of prunable weights asked for."""
        return 10.0**-self.compression

    def identity(self) -> dict[str, Any]:
        """What identifies the run: the four coordinates, and whatever differs from the task's defaults and from this class's."""
        task = get_task(self.task)
        defaults = {
            name: field.default for name, field in type(self).model_fields.items() if not field.is_required()
        }
        defaults |= dict(task.defaults) | {"options": {}}
        own = self.model_dump(mode="json")
        own["options"] = {k: v for k, v in self.options.items() if v != task.Options.model_fields[k].default}
        coordinates = ("task", "pruner", "compression", "seed")
        differing = {k: v for k, v in own.items() if k not in coordinates and v != _plain(defaults[k])}
        return {k: own[k] for k in coordinates} | differing

    def to_record(self) -> RunRecord:
        """The specification with its id, in plain values, as files have it."""
        return RunRecord(id=self.id, **self.model_dump(mode="json"))

    @cached_property
    def id(self) -> str:
        """The coordinates and a short hash of `identity()`; a field added later with a default leaves old ids as they are."""
        digest = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()
        return f"{self.task}-{self.pruner}-c{self.compression:g}-s{self.seed}-{digest[:8]}"

    @classmethod
    def from_record(cls, record: RunRecord) -> Self:
        """The specification that `record` holds. Its `id` is this version's, which the caller compares with the record's.

        Raises:
            UsageError: a field of a newer prunesweep, or a value out of range.
        """
        fields = record.to_json()
        del fields["id"]
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise UsageError(f"run {record.id}: {summarise_validation(error)}") from None

    @classmethod
    def make(
        cls, task: str, pruner: str, compression: float, seed: int, overrides: Mapping[str, Any]
    ) -> Self:
        """Build a run from the task's defaults and `overrides` (fields of this class or of the task's options).

        Raises:
            UsageError: an unknown task, pruner or key (with the nearest known name), or a value out of range.
        """
        kind = get_task(task)
        for key in kind.defaults:
            if key not in settable_fields():
                hint = nearest(key, settable_fields())
                raise UsageError(f"task {task!r}: unknown key {key!r} in its `defaults`{hint}; leave it out")
        given, options = cls._sorted_out(kind, overrides)
        require_types(cls, given, f"task {task!r}")
        require_types(kind.Options, options, f"task {task!r}")
        fields: dict[str, Any] = dict(kind.defaults) | given
        if compression == 0:
            pruner = DENSE
            for name in ("scope", "iterations", "schedule", "shuffle", "invert"):
                fields.pop(name, None)
            fields |= {name: kind.defaults[name] for name in ("score_samples", "score_batch_size")}
        else:
            check_pruner(pruner)
        try:
            resolved = kind.Options(**options).model_dump(mode="json")
            run = cls(
                task=task,
                pruner=pruner,
                compression=float(compression),
                seed=seed,
                options=resolved,
                **fields,
            )
        except ValidationError as error:
            raise UsageError(f"task {task!r}: {summarise_validation(error)}") from None
        if not is_directory_name(run.id):
            raise UsageError(f"run {run.id!r} cannot be a directory name; rename its task or pruner")
        return run

    @classmethod
    def _sorted_out(
        cls, kind: type[Task], overrides: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """`overrides` as fields of this class and options of the task. Raises UsageError for a key that is neither."""
        known_options = kind.Options.model_fields
        given: dict[str, Any] = {}
        options: dict[str, Any] = {}
        for key, value in overrides.items():
            if key in known_options:
                options[key] = value
            elif key in settable_fields():
                given[key] = value
            elif key in _LISTED:
                raise UsageError(f"unknown key {key!r} for task {kind.name!r}: the grid lists {_LISTED[key]}")
            else:
                hint = nearest(key, [*settable_fields(), *known_options])
                raise UsageError(f"unknown key {key!r} for task {kind.name!r}{hint}")
        return given, options


def settable_fields() -> list[str]:
    """The keys that a grid or `--set` may give in addition to a task's own options."""
    return [
        name
        for name in RunSpec.model_fields
        if name not in ("task", "pruner", "compression", "seed", "options")
    ]


def check_pruner(name: str) -> None:
    """Raise a UsageError with the nearest known name unless `name` is a registered pruning method that can have runs."""
    from prune import METHODS

    if name == DENSE:  # its runs would be taken for the baseline, and differences to the baseline for zero
        raise UsageError(
            f"pruner name {DENSE!r} is taken by the runs at compression 0; choose another, or leave it out"
        )
    if name not in METHODS:
        raise UsageError(
            f"unknown pruner {name!r}{nearest(name, METHODS)}; known: {', '.join(sorted(METHODS))}; if it is yours, launch "
            "with --plugin FILE.py"
        )


def _plain(value: Any) -> Any:
    """`value` as it is after a round trip through JSON."""
    return list(value) if isinstance(value, tuple) else value
