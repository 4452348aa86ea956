"""Cross entropy after a large linear layer, without holding the logits of all positions at once."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy


def chunked_cross_entropy(layer: nn.Module, x: Tensor, target: Tensor, chunk: int) -> Tensor:
    """Return the mean over the rows of `cross_entropy(layer(x), target)`, computed `chunk` rows at a time.

    The gradients with respect to `x` and the parameters of `layer` are computed together with the loss, so the logits
    of a chunk are made once and then forgotten. Differentiable once; the parameters of `layer` must be leaves.

    Args:
        layer: maps [n, d] to logits [n, V]; it is called as a module, under the autocast in force.
        x: [N, d].
        target: int64 [N].
        chunk: rows at a time.

    Returns:
        A scalar of at least float32; NaN for N = 0, as PyTorch's mean over nothing.
    """
    parameters = [p for p in layer.parameters() if p.requires_grad]
    if torch.is_grad_enabled() and (x.requires_grad or parameters):
        return _ChunkedCrossEntropy.apply(layer, target, chunk, x, *parameters)
    total = x.new_zeros((), dtype=torch.promote_types(x.dtype, torch.float32))
    for rows, targets in _chunks(x, target, chunk):
        total += _summed(layer(rows), targets)
    return total / len(x)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layer: nn.Module, target: Tensor, chunk: int, x: Tensor, *parameters: Tensor
    ) -> Tensor:
        total = x.new_zeros((), dtype=torch.promote_types(x.dtype, torch.float32))
        gradients = [torch.zeros_like(p) for p in parameters]
        x_gradient = []
        for rows, targets in _chunks(x.detach(), target, chunk):
            with torch.enable_grad():
                loss = _summed(layer(rows.requires_grad_()), targets)
            of_rows, *of_parameters = torch.autograd.grad(loss, (rows, *parameters))
            x_gradient.append(of_rows)
            for gradient, part in zip(gradients, of_parameters, strict=True):
                gradient += part
            total += loss.detach()
        ctx.save_for_backward(torch.cat(x_gradient) if x_gradient else torch.zeros_like(x), *gradients)
        ctx.scale = 1 / len(x) if len(x) else float("nan")
        return total * ctx.scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (g * (grad * ctx.scale).to(g) for g in ctx.saved_tensors)
        return None, None, None, *scaled


def _chunks(x: Tensor, target: Tensor, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(x.split(chunk), target.split(chunk), strict=True) if len(x) else iter(())


def _summed(logits: Tensor, target: Tensor) -> Tensor:
    wide = torch.promote_types(logits.dtype, torch.float32)
    return cross_entropy(logits.to(wide), target, reduction="sum")
