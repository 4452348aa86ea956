"""Dropout that draws and keeps little: sixteen random bits and one stored byte per element."""

from typing import Any

import torch
from torch import Tensor, nn

from models.linear_form import LinearForm

_LEVELS = 1 << 16
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class _Drop(torch.autograd.Function):
    """`torch.where(kept, x * scale, 0)` in half the time, since PyTorch's is not vectorised; differentiable at any order."""

    @staticmethod
    def forward(x: Tensor, kept: Tensor, scale: float) -> Tensor:
        y = x * scale
        # and of the bits with all ones or none: unlike a product with 0 this drops NaN and infinities, too
        bits = y.view(_INTEGERS[y.itemsize])
        bits &= kept.to(bits.dtype).neg_()
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], _output: Tensor) -> None:
        _, kept, ctx.scale = inputs
        ctx.save_for_backward(kept)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return _Drop.apply(grad, kept, ctx.scale), None, None


class Dropout(LinearForm):
    """Zero elements at random while training and scale the others up, so that the expectation stays (Srivastava et al. 2014).

    On the CPU `nn.Dropout` draws a double per element and keeps float noise for the backward pass; this takes 16
    bits and keeps a bool. The probability is therefore a multiple of 2^-16: 0.1 becomes 0.100006, and the scale fits that.
    On a GPU it is PyTorch's, which is a single kernel there.
    Identity in eval mode and in the linear form.

    Args:
        p: probability of zero, from 0 to below 1.

    Raises:
        ValueError: p outside that range.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout is {p}, but it needs to be from 0 to below 1")
        self.p = p
        self._dropped = min(round(p * _LEVELS), _LEVELS - 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.in_linear_form or self._dropped == 0:
            return x
        if x.is_cuda:
            return nn.functional.dropout(x, self.p)
        # one draw of the generator, which is what costs, gives four elements their bits
        words = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 3) // 4,), device=x.device)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = bits >= self._dropped - _LEVELS // 2
        return _Drop.apply(x, kept, _LEVELS / (_LEVELS - self._dropped))

    def extra_repr(self) -> str:
        return f"p={self.p}"
