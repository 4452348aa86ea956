"""A run's specification as files hold it: readable without its task, its plug-ins or pydantic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class RunRecord:
    """One line of `runs.jsonl`: the id of a run, and every field of its `RunSpec` in plain JSON values.

    The id is the one that the run was registered under; what this version would compute for the same fields is `RunSpec.id`.
    Fields that sweeps of older versions lack have the value that all their runs had.

    Attributes:
        newer: fields that a newer prunesweep wrote and this one does not know. Such a run can be listed, not executed.
    """

    id: str
    task: str
    pruner: str
    compression: float
    seed: int
    epochs: int
    batch_size: int
    eval_batch_size: int
    lr: float
    betas: Sequence[float]
    eps: float
    score_samples: int
    score_batch_size: int
    scope: str = "global"
    iterations: int | None = None
    schedule: str = "exponential"
    shuffle: bool = False
    invert: bool = False
    precision: str = "float32"
    threads: int = 1
    device: str = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)
    newer: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The record of a JSON object. Raises TypeError if it is not an object or lacks a field."""
        try:
            return cls(**content)
        except TypeError:
            newer = {name: content[name] for name in content if name not in _NAMES}
            if not newer:
                raise
            return cls(**{name: content[name] for name in content if name in _NAMES}, newer=newer)

    def to_json(self) -> dict[str, Any]:
        """The record as the JSON object that files hold: `id` first, then the fields in their order."""
        return {name: getattr(self, name) for name in _NAMES} | dict(self.newer)


_NAMES = tuple(spec_field.name for spec_field in fields(RunRecord) if spec_field.name != "newer")
