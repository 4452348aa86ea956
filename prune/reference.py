"""The specification of the operators: what `prune.ops` computes, in plain PyTorch, written to be read."""

from collections.abc import Sequence

import torch
from torch import Tensor


def masked_linear(x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x @ (weight ∘ mask)^T + bias`; arguments as in `prune.ops.masked_linear`.

    The mask selects instead of multiplying, since 0 * NaN is NaN.
    """
    return torch.nn.functional.linear(x, torch.where(mask, weight, 0), bias)


def global_mask(
    scores: Sequence[Tensor],
    keep: int,
    *,
    weights: Sequence[Tensor] | None = None,
    within: Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], float, int]:
    """Return (masks, threshold, ties) of the `keep` highest scores; arguments as in `prune.ops.global_mask`."""
    if weights is not None:
        scores = [s * w for s, w in zip(scores, weights, strict=True)]
    values = torch.cat([s.flatten() for s in scores])
    if within is None:
        within = [torch.ones_like(s, dtype=torch.bool) for s in scores]
    candidates = torch.cat([w.flatten() for w in within]).nonzero().squeeze(1)

    if values[candidates].isnan().any():
        raise ValueError("global_mask: a score to select from is NaN")
    if not 0 <= keep <= len(candidates):
        raise ValueError(f"global_mask: keep is {keep}, but it needs to be between 0 and {len(candidates)}")

    # Stable: among equal scores the lower index comes first.
    order = values[candidates].argsort(descending=True, stable=True)
    kept = candidates[order[:keep]]
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[kept] = True
    masks = [m.view(s.shape) for m, s in zip(mask.split([s.numel() for s in scores]), scores, strict=True)]
    if keep == 0:
        return masks, float("inf"), 0
    threshold = values[kept[-1]]
    return masks, threshold.item(), int((values[candidates] == threshold).sum())
