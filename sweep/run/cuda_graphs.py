"""Training steps as CUDA graphs.

A step of the translator is some two thousand kernels of a few microseconds each, which Python launches more slowly than a GPU
computes them. A graph launches them all at once. It is captured for one set of shapes, and repeats the same kernels on the same
addresses: the same numbers, to the bit, as the step that it was captured from, random ones included, since a replay advances the
generator by what the step would have drawn. So it does not matter which steps of a run are replays, and a resumed run may
capture at other steps than the uninterrupted one.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Step = Callable[[tuple[Tensor, ...], Tensor], Tensor]
"""Takes a batch's inputs and target, changes a model, returns the loss."""

_WARM = 2
"""Steps of a shape before it is captured: what they set up on the way, such as what is known of a mask, cannot be set up while
capturing; and a shape that does not come again is not worth a graph."""

_MOST = 64
"""Graphs of a run."""


class CapturedSteps:
    """Does what `step` does, by graphs where batches of the same shapes have come before.

    Args:
        step: a training step on the GPU that never waits for it and keeps nothing from one call to the next but weights,
            masks and the optimizer's state.
        optimizer: the fused one that the step uses.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer) -> None:
        self._step, self._optimizer = step, optimizer
        self._seen: Counter[tuple[torch.Size, ...]] = Counter()
        self._graphs: dict[tuple[torch.Size, ...], _Captured] = {}
        # one pool of memory: steps come one after the other, and none leaves anything in it for the next
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, inputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
        """A step on this batch; its loss, a scalar."""
        shapes = tuple(tensor.shape for tensor in (*inputs, target))
        if shapes not in self._graphs:
            self._seen[shapes] += 1
            if self._seen[shapes] <= _WARM or len(self._graphs) == _MOST:
                return self._step(inputs, target)
            self._graphs[shapes] = _Captured(self._step, self._optimizer, inputs, target, self._pool)
        return self._graphs[shapes](inputs, target)


class _Captured:
    """A step for batches of one set of shapes."""

    def __init__(
        self,
        step: Step,
        optimizer: torch.optim.Optimizer,
        inputs: tuple[Tensor, ...],
        target: Tensor,
        pool: Any,
    ) -> None:
        *self._inputs, self._target = (tensor.clone() for tensor in (*inputs, target))
        self._graph = torch.cuda.CUDAGraph()
        groups = optimizer.param_groups
        # the fused optimizer is capturable as it is, but refuses to be captured without this flag
        for group in groups:
            group["capturable"] = True
        try:
            with torch.cuda.graph(self._graph, pool=pool):
                self._loss = step(tuple(self._inputs), self._target)
        finally:
            for group in groups:
                group["capturable"] = False
        # gradients lie in the pool, where the next replay would change them
        optimizer.zero_grad()

    def __call__(self, inputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
        for own, given in zip((*self._inputs, self._target), (*inputs, target), strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._loss.clone()
