"""Whether a model obeys its masks, tested on the model itself."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prune.eval_mode import eval_mode
from prune.masked_linear import MaskedLinear


@torch.no_grad()
def mask_effective(model: nn.Module, inputs: Sequence[Tensor]) -> bool | None:
    """Whether pruned weights have no effect: outputs stay bit for bit the same when every pruned weight is NaN.

    Every call gets the same random numbers, of which the global state is as before afterwards.

    Args:
        model: evaluated in eval mode; weights, masks and training flags are as before afterwards.
        inputs: arguments of one call of the model, whose output must be a tensor.

    Returns:
        True if the outputs are equal and free of NaN; None if that cannot be told, since two calls differ as it is.
    """
    layers = [module for module in model.modules() if isinstance(module, MaskedLinear)]
    kept = [layer.weight.detach().clone() for layer in layers]
    with eval_mode(model):
        before = _output(model, inputs)
        try:
            for layer in layers:
                layer.weight.masked_fill_(~layer.weight_mask, torch.nan)
            same = torch.equal(before, _output(model, inputs))
        finally:
            for layer, weight in zip(layers, kept, strict=True):
                layer.weight.copy_(weight)
        return same or (None if not torch.equal(before, _output(model, inputs)) else False)


def _output(model: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=cuda):
        return model(*inputs)
