"""A training step: forward pass, loss, gradients and Adam."""

import torch
from torch import Tensor, nn

from sweep.config.run_spec import RunSpec
from sweep.run.cuda_graphs import CapturedSteps
from sweep.run.embedding_grads import RowGradients
from sweep.tasks.base import Task


class Step:
    """Takes a step on a batch each time it is called.

    Args:
        run: Adam's parameters and the precision.
        task: the loss.
        model: on the run's device.

    Attributes:
        optimizer: Adam, whose state belongs into a checkpoint.
    """

    def __init__(self, run: RunSpec, task: Task, model: nn.Module) -> None:
        self._task, self._model = task, model
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=run.lr, betas=run.betas, eps=run.eps, fused=True
        )
        # a loss of a plug-in's own may look at gradients itself, as a penalty on them does, and expects dense ones
        known = type(task).training_loss.__module__.startswith("sweep.tasks.")
        self._gradients = RowGradients(model if known else nn.Identity())
        self._autocast = torch.autocast(run.device, torch.bfloat16, enabled=run.precision == "bf16")
        captured = run.device == "cuda" and task.captured
        self._repeat = CapturedSteps(self._eager, self.optimizer) if captured else self._eager

    def __call__(self, inputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
        """Change the model's weights by the gradients of a batch; its loss before that, a scalar without a graph."""
        return self._repeat(inputs, target)

    def _eager(self, inputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
        with self._autocast:
            loss = self._task.training_loss(self._model, inputs, target)
        self.optimizer.zero_grad()
        loss.backward()
        with self._gradients.for_step():
            self.optimizer.step()
        return loss.detach()
