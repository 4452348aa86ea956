"""The interface of a task. Importing this does not import torch: commands that only list or query do not need it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from sweep.core.errors import UsageError
from sweep.tasks.data.dataset import Dataset, DataSource, Split

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from sweep.tasks.data.dataset import Batch


MOST = 2**31 - 1
"""The largest count allowed: absurd values are reported at launch and not by whatever overflows first in a run."""

DEFAULTS = (
    "epochs",
    "batch_size",
    "eval_batch_size",
    "lr",
    "betas",
    "eps",
    "score_samples",
    "score_batch_size",
)
"""What the `defaults` of a task must have."""


class Task(ABC):
    """A data set with a model for it, a loss and a metric.

    Attributes:
        name: set by the decorator `sweep.tasks.task`.
        summary: one line for listings.
        metric: key of `evaluate`'s result that the task is judged by, in percent; more is better.
        captured: whether training on a GPU repeats a step as a CUDA graph once batches of its shapes have come before: for tasks
            whose batches have few shapes, and whose loss nowhere waits for the device.
        pipeline_version: raise it when the same files give other token ids or batches than before; results of another
            version are stale.
        defaults: the training of this task unless a grid says otherwise: at least all of `DEFAULTS` (`betas` and `eps` are
            Adam's).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    metric: ClassVar[str] = "accuracy"
    captured: ClassVar[bool] = False
    pipeline_version: ClassVar[int] = 1
    defaults: ClassVar[Mapping[str, Any]]

    class Options(BaseModel, frozen=True, extra="forbid"):
        """The task's own options, each with a default. They are part of a run's identity."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def prepare(self, source: DataSource) -> Dataset:
        """Get, verify and tokenize the data; the second time, map what the first time left in the cache.

        Raises:
            DataError: the data is missing, malformed or not the published one.
        """

    @abstractmethod
    def model(self, data: Dataset) -> nn.Module:
        """A new model, initialised from torch's global generator."""

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean loss over a batch, a scalar; `output` is what the model gives for the batch's inputs."""

    def loss_count(self, target: Tensor) -> int | Tensor:
        """How many items `loss` is the mean over, by which losses of several batches are averaged: rows, unless overridden."""
        return len(target)

    def training_loss(self, model: nn.Module, inputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
        """The same as `loss(model(*inputs), target)`, for training, where a task may have a cheaper algorithm."""
        return self.loss(model(*inputs), target)

    def training_batches(self, split: Split, batch_size: int, order: Tensor) -> Sequence[Batch]:
        """The batches of an epoch whose random order is `order`."""
        return split.batches(batch_size, order)

    def unpruned(self, model: nn.Module) -> Collection[str]:  # noqa: ARG002 - for subclasses
        """Dotted names of the linear layers of `model` that are not to be pruned."""
        return ()

    @abstractmethod
    def evaluate(self, model: nn.Module, split: Split, batch_size: int) -> Mapping[str, float | str]:
        """The metric and the mean `loss` over `split`, in eval mode; the model's mode is as before afterwards.

        What has the name of a column of `result.parquet` is kept there.
        """

    def evaluate_training(self, model: nn.Module, split: Split, batch_size: int) -> Mapping[str, float | str]:
        """What is to be known of the training rows at the end, the mean `loss` at least."""
        return self.evaluate(model, split, batch_size)

    def measure(self, model: nn.Module, split: Split, batch_size: int) -> dict[str, Any]:
        """What `evaluate` gives, its numbers as plain floats.

        Raises:
            UsageError: it gives no `loss` or not the task's metric, or something that is neither number nor text.
        """
        return self._checked("evaluate", self.evaluate(model, split, batch_size), (self.metric, "loss"))

    def measure_training(self, model: nn.Module, split: Split, batch_size: int) -> dict[str, Any]:
        """What `evaluate_training` gives, as in `measure`; the metric is not needed."""
        return self._checked("evaluate_training", self.evaluate_training(model, split, batch_size), ("loss",))

    def _checked(
        self, function: str, found: Mapping[str, float | str], required: Sequence[str]
    ) -> dict[str, Any]:
        for name in required:
            if name not in found:
                raise UsageError(
                    f"task {self.name!r}: {function}() returned {sorted(found)} without {name!r}; add it"
                )
        try:
            return {
                name: value if isinstance(value, str) and name not in required else float(value)
                for name, value in found.items()
            }
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"task {self.name!r}: {function}() returned something that is not a number ({error})"
            ) from error

    def samples(self, model: nn.Module, split: Split) -> Sequence[Mapping[str, str]]:  # noqa: ARG002 - for subclasses
        """Some rows of `split` with the model's output, for a reader; all with the same keys."""
        return ()

    def score_rows(self, split: Split, samples: int, generator: Generator) -> Tensor:
        """Rows for pruning scores: `samples` different ones, int64, by default drawn evenly from all.

        Raises:
            UsageError: there are fewer rows than that.
        """
        import torch

        if samples > len(split):
            raise UsageError(
                f"score_samples = {samples}, but {self.name} has only {len(split)} training rows; set it lower"
            )
        return torch.randperm(len(split), generator=generator)[:samples]
