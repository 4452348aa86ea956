"""Scores to masks: exact counts of what is kept, iteration by iteration, and the selection itself."""

import math
from collections.abc import Mapping
from decimal import Context, Decimal
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from prune import ops
from prune.errors import PruneError, check_known

SCHEDULES = ("exponential", "linear")


def kept_weights(total: int, compression: float) -> int:
    """Return floor(10^-compression * total), the number of weights kept of `total`, without floating-point slips.

    `compression` stands for every real number that is within one unit in the last place of it, and the one that keeps
    most is meant: 1 keeps 25 of 256, 2 keeps 1 of 100 and -log10(0.5) keeps 50 of 100, whatever their rounding.

    Raises:
        PruneError: `compression` is negative or not finite.
    """
    if not (math.isfinite(compression) and compression >= 0):
        raise PruneError(f"compression is {compression}: give a finite number from 0 (keeps all) upwards")
    if compression == 0:
        return total
    lowest = Decimal(compression) - Decimal(math.ulp(compression))
    return int(Context(prec=60).power(Decimal(10), -lowest) * total)


def schedule_counts(schedule: str, total: int, compression: float, iterations: int) -> list[int]:
    """Return how many of `total` weights are kept after each of `iterations`; the last is `kept_weights`.

    exponential: density^((i+1)/n), so that every iteration removes the same fraction of what is left.
    linear: 1 - (1 - density)(i+1)/n, so that every iteration removes the same number of weights.

    Raises:
        PruneError: an unknown schedule, fewer than one iteration, or a compression as in `kept_weights`.
    """
    check_known("schedule", schedule, SCHEDULES)
    if iterations < 1:
        raise PruneError(f"iterations is {iterations}: give 1 or more")
    if schedule == "exponential":
        return [kept_weights(total, compression * ((i + 1) / iterations)) for i in range(iterations)]
    removed = total - kept_weights(total, compression)
    return [total - math.ceil(removed * (i + 1) / iterations) for i in range(iterations)]


class Score(NamedTuple):
    """The scores of one layer: `factor`, times `weight` if there is one; tensors of one shape and dtype."""

    factor: Tensor
    weight: Tensor | None = None

    @property
    def value(self) -> Tensor:
        """The scores in one tensor."""
        return self.factor if self.weight is None else self.factor * self.weight

    def __neg__(self) -> "Score":
        return Score(-self.factor, self.weight)


def select(scores: Mapping[str, Score], keep: int, within: Mapping[str, Tensor]) -> ops.GlobalMask:
    """Keep the `keep` highest of `scores` among the positions that `within` still has; see `ops.global_mask`.

    Scores in two factors are not multiplied in memory, if all have two and one dtype. The masks of the result are in the
    order of `scores`.
    """
    dtypes = {s.factor.dtype for s in scores.values()}
    limits = [within[name] for name in scores]
    weights = [s.weight for s in scores.values() if s.weight is not None]
    if len(weights) == len(scores) and len(dtypes) == 1:
        return ops.global_mask([s.factor for s in scores.values()], keep, weights=weights, within=limits)
    # layers of different precision are compared in the widest one
    dtype = reduce(torch.promote_types, dtypes)
    return ops.global_mask([s.value.to(dtype) for s in scores.values()], keep, within=limits)


def shuffled(mask: Tensor, within: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return `mask` with its values permuted at random over the positions where `within` is true.

    The numbers are drawn on the generator's device (the CPU if None), so the result is the same on every device.

    Args:
        mask, within: bool tensors of one shape; `mask` is false wherever `within` is.
    """
    values = mask[within]
    device = generator.device if generator is not None else torch.device("cpu")
    order = torch.randperm(values.numel(), generator=generator, device=device).to(mask.device)
    permuted = torch.zeros_like(mask)
    permuted[within] = values[order]
    return permuted
