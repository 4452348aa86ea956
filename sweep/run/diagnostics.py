"""What is recorded next to a result: where it cannot be had, the run is a result all the same, with a note."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

import prune
from sweep.core.errors import summarise_exception
from sweep.tasks.base import Dataset, Task

T = TypeVar("T")


def measured(what: str, measure: Callable[[], T]) -> tuple[T | None, str | None]:
    """What `measure` returns, and nothing to note; or None and `what`, which says what is missing, with the reason."""
    try:
        return measure(), None
    except Exception as error:  # whatever the code of a plug-in may raise; the note has it
        return None, f"{what}: {summarise_exception(error)}"


def check_mask(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[bool | None, str | None]:
    """`prune.mask_effective`, and why it is not known."""
    return measured("whether the mask is effective is not known", lambda: prune.mask_effective(model, inputs))


def examples(task: Task, model: nn.Module, data: Dataset) -> tuple[Sequence[Mapping[str, str]], str | None]:
    """The task's samples, which a file can hold, and why there are none."""

    def rows() -> Sequence[Mapping[str, str]]:
        samples = task.samples(model, data.test)
        json.dumps(samples, ensure_ascii=False).encode()
        return samples

    samples, note = measured("no samples", rows)
    return samples or (), note


def padding_waste(batches: Callable[[], Any]) -> tuple[float | None, str | None]:
    """The fraction of padding in the batches of an epoch, where they know it, and why it is not known."""

    def waste() -> float | None:
        found = getattr(batches(), "padding_waste", None)
        return None if found is None else float(found)

    return measured("padding_waste is not known", waste)


def join_notes(*notes: str | None) -> str | None:
    """Those that there are, as the column `notes` has them."""
    return "; ".join(dict.fromkeys(filter(None, notes))) or None
