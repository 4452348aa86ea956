"""Cross entropy after a large linear layer, without holding the logits of all positions at once."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def chunked_cross_entropy(layer: nn.Module, x: Tensor, target: Tensor, chunk: int) -> Tensor:
    """Return the mean over the rows of `cross_entropy(layer(x), target)`, computed `chunk` rows at a time.

    The gradients with respect to `x` and the parameters of `layer` are computed together with the loss, so the logits
    of a chunk are computed once and then released. The parameters of `layer` must be leaves.

    Args:
        layer: maps [n, d] to logits [n, V]; it is called as a module, under the autocast in force.
        x: [N, d].
        target: int64 [N].
        chunk: rows at a time.

    Returns:
        A scalar of at least float32; NaN for N = 0, as PyTorch's mean over nothing. Its backward raises a RuntimeError if
        a second derivative could follow (create_graph=True).
    """
    parameters = [p for p in layer.parameters() if p.requires_grad]
    if torch.is_grad_enabled() and (x.requires_grad or parameters):
        return _ChunkedCrossEntropy.apply(layer, target, chunk, x, *parameters)
    total = _zero(x)
    for rows, targets in _chunks(x, target, chunk):
        total -= _log_softmax(layer(rows)).gather(1, targets).sum()
    return total / len(x)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layer: nn.Module, target: Tensor, chunk: int, x: Tensor, *parameters: Tensor
    ) -> Tensor:
        total = _zero(x)
        x_gradient, *gradients = (torch.zeros_like(t) for t in (x, *parameters))
        for (rows, targets), of_rows in zip(
            _chunks(x.detach(), target, chunk), x_gradient.split(chunk), strict=False
        ):
            total += _add_gradients(layer, rows, targets, parameters, (of_rows, *gradients))
        ctx.save_for_backward(x_gradient, *gradients)
        ctx.count = len(x)
        return total / len(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # gradients are on here when the caller wants a graph of the gradient, and there is none of the stored ones
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the loss chunk by chunk is differentiable once (create_graph=True was asked for): "
                "take cross_entropy(model(src, tgt[:, :-1]), ...) for second derivatives"
            )
        return None, None, None, *(g * (grad / ctx.count).to(g) for g in ctx.saved_tensors)


def _add_gradients(
    layer: nn.Module, x: Tensor, target: Tensor, parameters: tuple[Tensor, ...], gradients: tuple[Tensor, ...]
) -> Tensor:
    """Return the summed loss of one chunk and add to `gradients` its derivatives by x and the parameters."""
    with torch.enable_grad():
        logits = layer(x.requires_grad_())
    log_p = _log_softmax(logits.detach())
    loss = -log_p.gather(1, target).sum()
    # softmax less one at the target
    by_logits = log_p.exp_().scatter_add_(1, target, log_p.new_full(target.shape, -1)).to(logits)
    parts = torch.autograd.grad(logits, (x, *parameters), by_logits)
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.add_(part)
    return loss


def _chunks(x: Tensor, target: Tensor, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows [n, d] and their targets [n, 1]."""
    for start in range(0, len(x), chunk):
        yield x[start : start + chunk], target[start : start + chunk, None]


def _zero(x: Tensor) -> Tensor:
    return x.new_zeros((), dtype=torch.promote_types(x.dtype, torch.float32))


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
