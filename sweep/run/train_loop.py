"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sweep.config.run_spec import RunSpec
from sweep.core.errors import NotFiniteError
from sweep.core.signals import StopRequest
from sweep.run.checkpoint import Checkpoint
from sweep.run.device import random_state, set_random_state
from sweep.run.seeds import derive, seed_globals
from sweep.run.train_step import Step
from sweep.tasks.base import Dataset, Task

if TYPE_CHECKING:
    from sweep.tasks.data.dataset import Batch

_LOOK_EVERY = 50
"""Steps between two checks of the loss: for progress, and for the first sign that it is no longer a number. In between nothing
waits for a GPU."""


@dataclass
class Position:
    """Where training is, and what it has seen so far; `items` are what the loss is averaged over."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    items: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    evaluate_seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Controls:
    """What training is saved, stopped and watched by.

    Attributes:
        checkpoint: where to save at most once a minute, and when stopped.
        stop: asked between steps; when it says so the state is saved and `Stopped` raised.
        report: takes the progress.
        log: takes a line an epoch.
    """

    checkpoint: Checkpoint
    stop: StopRequest
    report: Callable[[dict[str, Any]], None]
    log: Callable[[str], None]


def train(
    run: RunSpec,
    task: Task,
    data: Dataset,
    model: nn.Module,
    controls: Controls,
    resume: dict[str, Any] | None,
    extra: dict[str, Any],
) -> Position:
    """Train `model` in place for `run.epochs` epochs, from the beginning or from a checkpoint.

    Args:
        run: epochs, batch size, Adam's parameters and the seed of the batch order.
        task: loss and evaluation.
        data: training rows to learn from, validation (else test) rows to evaluate on after each epoch; on the model's device.
        model: on its device; when resuming already masked, its weights are overwritten.
        controls: what saves, stops and watches it.
        resume: what `checkpoint.load` gave.
        extra: kept in the checkpoint next to the state, for the caller.

    Returns:
        The final position, whose history has a row an epoch.

    Raises:
        NotFiniteError: the loss is not finite.
    """
    step = Step(run, task, model)
    at = _start(run, model, step, resume)

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "optimizer": step.optimizer.state_dict(),
            **random_state(run.device),
        }
        controls.checkpoint.save({**state, "position": asdict(at), **extra})
        controls.stop.raise_if_requested()

    while at.epoch < run.epochs:
        _train_epoch(run, task, data, model, step, at, controls, save)
        at.history.append(_evaluated_epoch(run, task, data, model, at))
        controls.log(_epoch_line(run, task, at.history[-1]))
        at.epoch, at.step, at.loss_sum, at.items, at.epoch_seconds = at.epoch + 1, 0, 0.0, 0, 0.0
    if controls.stop.requested:
        save()
    return at


def _start(run: RunSpec, model: nn.Module, step: Step, resume: dict[str, Any] | None) -> Position:
    """The position to train from; model, optimizer and random numbers are brought there."""
    if resume is None:
        seed_globals(run.seed, "train")
        return Position()
    model.load_state_dict(resume["model"])
    step.optimizer.load_state_dict(resume["optimizer"])
    set_random_state(run.device, resume)
    return Position(**resume["position"])


def _train_epoch(
    run: RunSpec,
    task: Task,
    data: Dataset,
    model: nn.Module,
    step: Step,
    at: Position,
    controls: Controls,
    save: Callable[[], None],
) -> None:
    """Do the steps of an epoch from `at.step` on."""
    model.train()
    batches = epoch_batches(run, task, data, at.epoch)
    unseen: list[tuple[Tensor, int | Tensor]] = []
    began = time.perf_counter()
    while at.step < len(batches):
        inputs, target = batches[at.step]
        count = task.loss_count(target)
        unseen.append((step(inputs, target) * count, count))
        at.step += 1
        saving = controls.checkpoint.due() or controls.stop.requested
        if saving or len(unseen) == _LOOK_EVERY or at.step == len(batches):
            _add_up(at, unseen, run)
            began = _tick(at, began)
            controls.report(_progress(run, at, len(batches)))
        if saving:
            save()
    _tick(at, began)  # a checkpoint after the last step


def _evaluated_epoch(
    run: RunSpec, task: Task, data: Dataset, model: nn.Module, at: Position
) -> dict[str, Any]:
    """The columns of `EpochRow` but for the run's id."""
    began = time.perf_counter()
    metrics = task.measure(model, data.validation or data.test, run.eval_batch_size)
    at.evaluate_seconds += time.perf_counter() - began
    return {
        "epoch": at.epoch + 1,
        "train_loss": at.loss_sum / at.items,
        "eval_split": "validation" if data.validation else "test",
        "eval_loss": metrics["loss"],
        "eval_metric": metrics[task.metric],
        "seconds": at.epoch_seconds,
    }


def epoch_batches(run: RunSpec, task: Task, data: Dataset, epoch: int) -> Sequence[Batch]:
    """The batches of an epoch, counted from 0, in the order that the run's seed gives them."""
    generator = torch.Generator().manual_seed(derive(run.seed, "order", epoch))
    return task.training_batches(
        data.train, run.batch_size, torch.randperm(len(data.train), generator=generator)
    )


def _add_up(at: Position, unseen: list[tuple[Tensor, int | Tensor]], run: RunSpec) -> None:
    """Add losses and counts one by one, so that the sums do not depend on where they were read, and empty the list."""
    values = torch.stack([loss for loss, _ in unseen]).tolist()
    at.items += sum(int(count) for _, count in unseen)
    unseen.clear()
    if not all(map(math.isfinite, values)):
        raise NotFiniteError(
            f"the loss is not finite in epoch {at.epoch + 1} before step {at.step}; lower lr (now {run.lr:g})"
        )
    for value in values:
        at.loss_sum += value


def _tick(at: Position, began: float) -> float:
    """Book the time since `began`; returns now."""
    now = time.perf_counter()
    at.epoch_seconds += now - began
    at.seconds += now - began
    return now


def _epoch_line(run: RunSpec, task: Task, row: dict[str, Any]) -> str:
    return (
        f"epoch {row['epoch']}/{run.epochs}  train loss {row['train_loss']:.4f}  "
        f"{row['eval_split']} {task.metric} {row['eval_metric']:.2f}  {row['seconds']:.1f} s"
    )


def _progress(run: RunSpec, at: Position, steps: int) -> dict[str, Any]:
    done = at.epoch + at.step / steps
    metric = at.history[-1]["eval_metric"] if at.history else None
    return {
        "phase": "train",
        "epoch": at.epoch + 1,
        "epochs": run.epochs,
        "loss": at.loss_sum / at.items,
        "metric": metric,
        "fraction": done / run.epochs,
        "eta": at.seconds / done * (run.epochs - done),
    }
