"""The operators of the compiled extension, for tensors on the CPU and, where that part is built, on CUDA devices.

`prune.reference` states the same in plain PyTorch. The operators themselves are `torch.ops.prune.*`; shapes for
`torch.compile`, gradients of any order and autocast come with them.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

_CUDA = find_spec("prune._C_cuda") is not None
try:
    import prune._C  # importing it registers torch.ops.prune

    if _CUDA:
        import prune._C_cuda  # noqa: F401  (the same for CUDA)
except ImportError as error:
    raise ImportError(
        f"the compiled extension prune._C cannot be imported ({error}): build it with `make sweep`, "
        "or with `pip install --no-build-isolation -e .` in the environment that has torch"
    ) from None

if not _CUDA:
    _cuda = torch.library.Library("prune", "IMPL", "CUDA")

    def _not_built(*arguments: Any) -> NoReturn:
        raise RuntimeError(
            "a tensor is on a CUDA device, but prune was built without CUDA: install the CUDA toolkit and build with "
            "`PRUNE_CUDA=1 pip install --no-build-isolation -e .`"
        )

    for _name in (
        "masked_linear",
        "masked_linear_grad_input",
        "masked_linear_grad_weight",
        "_masked_linear_output",
        "_masked_linear_gradients",
        "global_mask",
    ):
        _cuda.impl(_name, _not_built)


class GlobalMask(NamedTuple):
    """What `global_mask` selected.

    masks: one bool tensor per score tensor, of the same shape, contiguous; true = kept.
    threshold: the smallest kept score; +inf if nothing was to be kept.
    ties: how many of the scores selected from equal the threshold; 0 if nothing was to be kept. If it exceeds the
        number of them that are kept, the choice among them was made by index.
    """

    masks: list[Tensor]
    threshold: float
    ties: int


def masked_linear(x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x @ (weight ∘ mask)^T + bias`, where a weight under a false mask acts as an exact zero.

    A pruned weight has no influence on outputs or gradients whatever it holds, NaN and infinities included, and its
    own gradient is exactly zero. If `x` holds a NaN or an infinity, the outputs of its row may or may not be NaN where
    only pruned weights meet it.

    Each of the products goes over the kept weights alone where that is faster than a dense product, by sizes, dtype and
    density; on the CPU in float32 only, and then y and all gradients are the same bits for any number of threads. On a CUDA
    device float32 products use TF32 if `torch.backends.cuda.matmul.allow_tf32` says so, and the work is enqueued on the
    current stream; the first use of a mask reads the number of its kept weights back, which waits for the device once.

    Args:
        x: [..., in]; float32, float64 or bfloat16, on a CUDA device also float16; any strides, leading sizes may be zero.
        weight: [out, in], dtype of `x`.
        mask: [out, in], bool; true = kept. It must not change between forward and backward. What is worked out about it is
            kept with the tensor until its version changes: see `MaskedLinear.refresh`.
        bias: [out], dtype of `x`, or None.

    Returns:
        [..., out], contiguous, dtype of `x`; under `torch.autocast` the dtype of autocast, as with
        `torch.nn.functional.linear`. Differentiable any number of times in `x`, `weight` and `bias`.

    Raises:
        RuntimeError: a shape, dtype or device that does not fit; the message names the argument.
    """
    return torch.ops.prune.masked_linear.default(x, weight, mask, bias)


def global_mask(
    scores: Sequence[Tensor],
    keep: int,
    *,
    weights: Sequence[Tensor] | None = None,
    within: Sequence[Tensor] | None = None,
) -> GlobalMask:
    """Keep exactly the `keep` highest scores over all tensors together.

    Ties go to the lowest (tensor, flat index in C order), and +0 equals -0, so the result is a function of the
    values alone: it does not depend on strides or on the number of threads. Not differentiable.

    Args:
        scores: at least one tensor; any shapes and strides, empty ones included; all float32, all float64, all bfloat16
            or, on a CUDA device, all float16; all on one device, to which the masks go.
        keep: how many to keep, from 0 to the number of scores to select from.
        weights: tensors of the shapes and dtype of `scores`. If given, the products `scores[i] * weights[i]`, rounded
            to that dtype, take the place of the scores everywhere, without being stored.
        within: bool tensors of the shapes of `scores`. If given, elements where it is false are not selected from:
            they are never kept, do not count as ties, and may be NaN.

    Raises:
        ValueError: a NaN among the scores (or products) selected from; `keep` out of range; an empty list of scores;
            lists of different lengths.
        RuntimeError: a shape, dtype or device that does not fit; the message names the argument.
    """
    if not scores:  # the dispatcher finds the device by the tensors, and would speak of that
        raise ValueError("global_mask: scores is an empty list, but at least one tensor is needed")
    masks, threshold, ties = torch.ops.prune.global_mask.default(scores, keep, weights, within)
    return GlobalMask(masks, threshold.item(), ties.item())


@torch.library.register_fake("prune::masked_linear")
def _masked_linear_shapes(x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None = None) -> Tensor:
    torch.ops.prune._check_masked_linear(x, weight, mask, bias)
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


@torch.library.register_fake("prune::masked_linear_grad_input")
def _grad_input_shapes(grad: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    torch.ops.prune._check_masked_linear_grad_input(grad, weight, mask)
    return grad.new_empty((*grad.shape[:-1], weight.shape[1]))


@torch.library.register_fake("prune::masked_linear_grad_weight")
def _grad_weight_shapes(grad: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    torch.ops.prune._check_masked_linear_grad_weight(grad, x, mask)
    return grad.new_empty(mask.shape)


@torch.library.register_fake("prune::global_mask")
def _global_mask_shapes(
    scores: Sequence[Tensor],
    keep: int,
    weights: Sequence[Tensor] | None = None,
    within: Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    torch.ops.prune._check_global_mask(scores, weights, within)
    host = "meta" if scores[0].is_meta else "cpu"
    masks = [torch.empty(s.shape, dtype=torch.bool, device=s.device) for s in scores]
    return (
        masks,
        torch.empty((), dtype=torch.float64, device=host),
        torch.empty((), dtype=torch.int64, device=host),
    )


# Counted dense, as torch.utils.flop_counter counts every matrix product: 2 * rows * in * out, the bias left out.
@register_flop_formula(torch.ops.prune.masked_linear)
def _masked_linear_flops(x: Sequence[int], weight: Sequence[int], *rest: Any, **names: Any) -> int:
    return 2 * torch.Size(x).numel() * weight[0]


@register_flop_formula(torch.ops.prune.masked_linear_grad_input)
def _grad_input_flops(grad: Sequence[int], weight: Sequence[int], *rest: Any, **names: Any) -> int:
    return 2 * torch.Size(grad).numel() * weight[1]


@register_flop_formula(torch.ops.prune.masked_linear_grad_weight)
def _grad_weight_flops(grad: Sequence[int], x: Sequence[int], *rest: Any, **names: Any) -> int:
    return 2 * torch.Size(grad).numel() * x[-1]
