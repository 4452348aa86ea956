"""Pruning a model: score, mask, repeat; and the report of what was requested and what was done."""

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prune.errors import PruneError, check_known
from prune.masked_linear import mask_linears
from prune.masks import Score, schedule_counts, select, shuffled
from prune.methods import check_nan, current_masks, get_method, linears_to_prune, masked_scores
from prune.scoring_context import Batches, Count, rows, scoring_mode

SCOPES = ("global", "layer")


@dataclass(frozen=True)
class LayerReport:
    """What is kept of one layer. `threshold`: its smallest kept score, +inf if none was to be kept, None if not scored.

    With `shuffle` or `invert` this is still the score of the selection: before the shuffle, and the largest kept.
    """

    name: str
    kept: int
    total: int
    threshold: float | None

    @property
    def density(self) -> float:
        """Fraction kept; 1 for a layer without weights."""
        return self.kept / self.total if self.total else 1.0


@dataclass(frozen=True)
class PruneReport:
    """What `prune_model` was asked to do and what it did.

    `target_density` is 10^-compression, `density` what whole numbers allow. `ties` counts the scores equal to the
    threshold in the last selection (summed over layers at layer scope); where there is more than one, the lowest
    indices were kept. `seconds` is wall-clock time.
    """

    method: str
    compression: float
    target_density: float
    scope: str
    schedule: str
    iterations: int
    shuffle: bool
    invert: bool
    layers: tuple[LayerReport, ...]
    ties: int
    seconds: float

    @property
    def kept(self) -> int:
        """Weights kept, over all layers."""
        return sum(layer.kept for layer in self.layers)

    @property
    def total(self) -> int:
        """Prunable weights, over all layers."""
        return sum(layer.total for layer in self.layers)

    @property
    def density(self) -> float:
        """Fraction of the prunable weights that is kept."""
        return self.kept / self.total

    @property
    def threshold(self) -> float | None:
        """The global threshold; None at layer scope, where each layer has its own, and if nothing was scored."""
        return self.layers[0].threshold if self.scope == "global" else None


def prune_model(  # noqa: PLR0913 - all but five are options by keyword
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Tensor],
    batches: Batches,
    method: str,
    compression: float,
    *,
    scope: str = "global",
    iterations: int | None = None,
    schedule: str = "exponential",
    shuffle: bool = False,
    invert: bool = False,
    skip: Collection[str] = (),
    generator: torch.Generator | None = None,
    count: Count = rows,
) -> PruneReport:
    """Swap the linear layers of `model` for masked ones, keeping floor(10^-compression * N) of their N weights.

    Scores come from `method` as in `prune.score`, on the network as it is masked so far; a weight once pruned, before
    this call included, never comes back. Training flags, gradients and the global random state are as before afterwards,
    whatever happens; after an error so are the modules and their masks.

    Args:
        model: swapped and masked in place; it must not itself be an `nn.Linear`.
        loss_fn, batches, skip, count: as for `prune.score`. Where every weight is kept nothing is scored and no batch needed.
        method: a name in `METHODS`.
        compression: exponent of the density, 0 or more; 2 keeps one weight in a hundred.
        scope: "global" ranks the weights of all layers together; "layer" keeps floor(10^-compression * n) of the n
            weights of each, which may leave a small layer empty.
        iterations: rounds of scoring and masking; None: the method's own number.
        schedule: "exponential" or "linear", see `masks.schedule_counts`.
        shuffle: at the end, permute each layer's mask at random: an ablation that leaves only the layers' densities.
        invert: keep the lowest scores instead: an ablation that should hurt.
        generator: for methods that draw random numbers and for `shuffle`; None: the global one, whose state stays.

    Raises:
        ValueError: as `mask_linears`.
        PruneError (a ValueError): as `prune.score`; a negative compression or one that keeps no weight at all; an
            unknown scope or schedule; more weights asked for than earlier pruning has left.
    """
    start = time.perf_counter()
    chosen = get_method(method)
    check_known("scope", scope, SCOPES)
    rounds = chosen.iterations if iterations is None else iterations
    linears = linears_to_prune(model, skip)
    masks = before = current_masks(linears)
    groups = [list(linears)] if scope == "global" else [[name] for name in linears]
    sizes = [sum(linears[name].weight.numel() for name in group) for group in groups]
    # one list per iteration, one count per group
    plan = list(zip(*(schedule_counts(schedule, size, compression, rounds) for size in sizes), strict=True))
    _check_counts(groups, sizes, plan[-1], compression, masks)

    thresholds: dict[str, float | None] = dict.fromkeys(linears)
    ties = 0
    batches = tuple(batches)
    with scoring_mode(model):
        for planned in plan:
            live = _live(groups, masks)
            counts = tuple(map(min, planned, live))
            # while whole numbers leave nothing to remove, every score gives the same masks
            if counts == live:
                continue
            scores = masked_scores(
                chosen, model, loss_fn, batches, linears, masks, generator=generator, count=count
            )
            try:
                masks, thresholds, ties = _select_groups(scores, groups, counts, masks, invert)
            except ValueError:  # the selection found a NaN
                check_nan(chosen, scores, masks)
                raise
        if shuffle:
            masks = {name: shuffled(mask, before[name], generator) for name, mask in masks.items()}

    for name, linear in mask_linears(model, skip).items():
        linear.weight_mask.copy_(masks[name])
    layers = tuple(
        LayerReport(name, int(mask.sum()), mask.numel(), thresholds[name]) for name, mask in masks.items()
    )
    seconds = time.perf_counter() - start
    return PruneReport(
        method,
        compression,
        10.0**-compression,
        scope,
        schedule,
        rounds,
        shuffle,
        invert,
        layers,
        ties,
        seconds,
    )


def _select_groups(
    scores: dict[str, Score],
    groups: list[list[str]],
    counts: tuple[int, ...],
    within: dict[str, Tensor],
    invert: bool,
) -> tuple[dict[str, Tensor], dict[str, float | None], int]:
    masks: dict[str, Tensor] = {}
    thresholds: dict[str, float | None] = {}
    ties = 0
    for group, keep in zip(groups, counts, strict=True):
        selected = select({name: -scores[name] if invert else scores[name] for name in group}, keep, within)
        masks |= dict(zip(group, selected.masks, strict=True))
        thresholds |= dict.fromkeys(group, -selected.threshold if invert and keep else selected.threshold)
        ties += selected.ties
    return masks, thresholds, ties


def _live(groups: list[list[str]], masks: dict[str, Tensor]) -> tuple[int, ...]:
    return tuple(sum(int(masks[name].sum()) for name in group) for group in groups)


def _check_counts(
    groups: list[list[str]],
    sizes: list[int],
    counts: tuple[int, ...],
    compression: float,
    masks: dict[str, Tensor],
) -> None:
    if not any(counts):
        # rounded down, so that the number shown does keep a weight
        most = math.floor(math.log10(max(sizes)) * 10_000) / 10_000
        weights = f"{sum(sizes)} prunable weights" + (
            f", {max(sizes)} in the largest layer" if len(sizes) > 1 else ""
        )
        raise PruneError(
            f"compression {compression} keeps none of {weights}: {most} is the most that keeps one"
        )
    for group, count, live in zip(groups, counts, _live(groups, masks), strict=True):
        if count > live:
            raise PruneError(
                f"compression {compression} asks for {count} weights, but earlier pruning left {live} "
                f"(in {group[0]}{' and on' if len(group) > 1 else ''}): a pruned weight does not come back"
            )
