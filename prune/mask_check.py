"""Whether a model obeys its masks, tested on the model itself."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prune.eval_mode import eval_mode
from prune.masked_linear import MaskedLinear
from prune.random_state import random_state_kept


@torch.no_grad()
def mask_effective(model: nn.Module, inputs: Sequence[Tensor]) -> bool | None:
    """Whether pruned weights have no effect: outputs stay bit for bit the same when every pruned weight is NaN.

    Every call gets the same random numbers, of which the global state is as before afterwards.

    Args:
        model: evaluated in eval mode; weights, masks and training flags are as before afterwards.
        inputs: arguments of one call of the model, whose output is a tensor, or tuples, lists and dicts of them.

    Returns:
        True if the outputs are equal and free of NaN; None if that cannot be told: two calls differ as it is, or there is NaN.
    """
    layers = [module for module in model.modules() if isinstance(module, MaskedLinear)]
    kept = [layer.weight.detach().clone() for layer in layers]
    with eval_mode(model):
        before = _output(model, inputs)
        try:
            for layer in layers:
                layer.weight.masked_fill_(~layer.weight_mask, torch.nan)
            same = _equal(before, _output(model, inputs))
        finally:
            for layer, weight in zip(layers, kept, strict=True):
                layer.weight.copy_(weight)
        return True if same else False if _equal(before, _output(model, inputs)) else None


def _output(model: nn.Module, inputs: Sequence[Tensor]) -> Any:
    with random_state_kept():
        return model(*inputs)


def _equal(one: Any, other: Any) -> bool:
    """Whether two outputs have the same tensors, bit for bit and without NaN."""
    pairs = zip_longest(tree_leaves(one), tree_leaves(other))
    return all(torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b) for a, b in pairs)
