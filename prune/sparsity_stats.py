"""What a mask leaves behind: densities, operations, empty layers, dead units and live paths."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from prune.errors import NoLinearForm, PruneError
from prune.linear_form import live_weights
from prune.masked_linear import MaskedLinear
from prune.scoring_context import Batches, check_batches, scoring_mode


@dataclass(frozen=True)
class LayerStats:
    """One masked layer. A weight is live if it lies on a path of kept weights from input to output.

    What depends on live paths is None where the network neither is homogeneous nor offers its linear form.

    name: dotted name in the model.
    kept, total: weights.
    live: kept weights on a live path.
    dead_inputs: input units that no live weight reads, of `in_features`.
    dead_outputs: output units that no live weight feeds, of `out_features`; at most their bias is left of them.
    positions: rows the layer multiplies in one forward pass of the batch, over all its calls.
    flops_dense, flops: 2 * positions * weights (all, kept), plus positions * out_features if there is a bias.
    """

    name: str
    kept: int
    total: int
    live: int | None
    dead_inputs: int | None
    dead_outputs: int | None
    positions: int
    flops_dense: int
    flops: int

    @property
    def density(self) -> float:
        """Fraction of the weights kept; 1 for a layer without weights."""
        return _fraction(self.kept, self.total)

    @property
    def effective_density(self) -> float | None:
        """Fraction of the weights that is kept and on a live path; 1 for a layer without weights."""
        return None if self.live is None else _fraction(self.live, self.total)

    @property
    def empty(self) -> bool:
        """Whether every weight is pruned."""
        return self.kept == 0 and self.total > 0


@dataclass(frozen=True)
class NetworkStats:
    """All masked layers of a network, and its operations in one forward pass of the batch.

    flops_dense, flops: every matrix product of the pass, attention's included, at 2 operations per multiplication, plus
        one per output for the bias of every linear layer; without masks, and with them.
    flops_remaining_paper: (kept weights + biases) / (weights + biases) of the masked layers, positions not counted:
        what "Assessing Pruning methods on NLP models" (2024) prints as FLOP sparsity.
    problem: why live paths are not known, where the pass that looks for them has failed; None otherwise.
    """

    layers: tuple[LayerStats, ...]
    flops_dense: int
    flops: int
    flops_remaining_paper: float
    problem: str | None = None

    @property
    def density(self) -> float:
        """Fraction of the maskable weights kept."""
        return _fraction(sum(layer.kept for layer in self.layers), self._total)

    @property
    def effective_density(self) -> float | None:
        """Fraction of the maskable weights that is kept and on a live path (Vysogorets and Kempe 2023)."""
        live = [layer.live for layer in self.layers if layer.live is not None]
        return _fraction(sum(live), self._total) if len(live) == len(self.layers) else None

    @property
    def dead_units(self) -> int | None:
        """Dead inputs and dead outputs of all layers together."""
        units = [(layer.dead_inputs, layer.dead_outputs) for layer in self.layers]
        return (
            sum(i + o for i, o in units if i is not None and o is not None)
            if self.effective_density is not None
            else None
        )

    @property
    def flops_remaining(self) -> float:
        """Fraction of the operations of a forward pass that the masks leave."""
        return _fraction(self.flops, self.flops_dense)

    @property
    def empty_layers(self) -> tuple[str, ...]:
        """Names of the layers without a kept weight."""
        return tuple(layer.name for layer in self.layers if layer.empty)

    @property
    def layer_collapse(self) -> bool:
        """Whether a layer is empty while another is not (Tanaka et al. 2020)."""
        return bool(self.empty_layers) and any(layer.kept for layer in self.layers)

    @property
    def _total(self) -> int:
        return sum(layer.total for layer in self.layers)


def network_stats(model: nn.Module, batches: Batches, shapes: Batches | None = None) -> NetworkStats:
    """Return what the masks of `model` leave of it; the model is as before afterwards.

    Args:
        model: with `MaskedLinear` layers; the others count as they are.
        batches: as for `prune.score`; the first one's inputs go through the model once to count operations.
        shapes: batches of which the first goes through the model in float64, in the linear form of `synflow_form`, to
            find live paths; one sample is enough. None: `batches`.

    Raises:
        PruneError (a ValueError): no masked layer, or no batch.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, MaskedLinear)}
    if not layers:
        raise PruneError(
            f"{type(model).__name__} has no MaskedLinear: call prune_model or mask_linears first"
        )
    if not batches:
        raise PruneError(
            "the operations of a forward pass are counted on a batch and there is none: give at least one"
        )
    check_batches(batches[:1])
    masks = {name: layer.weight_mask for name, layer in layers.items()}
    with scoring_mode(model):
        positions, products = _count_products(model, batches[0][0])
        live, problem = _live_weights(model, shapes or batches, masks)

    rows = tuple(
        _layer_stats(name, layer, live.get(name), positions[layer]) for name, layer in layers.items()
    )
    biases = sum(p * m.out_features for m, p in positions.items() if m.bias is not None)
    dense = products + biases
    units = sum(layer.out_features for layer in layers.values() if layer.bias is not None)
    return NetworkStats(
        layers=rows,
        flops_dense=dense,
        flops=dense - sum(row.flops_dense - row.flops for row in rows),
        flops_remaining_paper=_fraction(
            sum(r.kept for r in rows) + units, sum(r.total for r in rows) + units
        ),
        problem=problem,
    )


def _live_weights(
    model: nn.Module, batches: Batches, masks: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str | None]:
    """`live_weights`, or nothing and the reason. Any model may be measured, also one that cannot compute in float64."""
    try:
        return live_weights(model, batches, masks), None
    except NoLinearForm:
        return {}, None  # what a network is, and no failure
    except PruneError as error:
        return {}, f"live paths are not known: {error}"
    except Exception as error:
        lines = str(error).splitlines() or [""]
        return {}, f"live paths are not known: in float64 the model raises {type(error).__name__}: {lines[0]}"


def _count_products(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Counter[nn.Linear], int]:
    """Return the rows each linear layer sees in a forward pass and the operations of all products, masks ignored."""
    positions: Counter[nn.Linear] = Counter()

    def count(module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Linear)
        positions[module] += output.shape[:-1].numel()

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                stack.callback(module.register_forward_hook(count).remove)
        counter = stack.enter_context(FlopCounterMode(display=False))
        stack.enter_context(torch.no_grad())
        model(*inputs)
    return positions, counter.get_total_flops()


def _layer_stats(name: str, layer: MaskedLinear, live: Tensor | None, positions: int) -> LayerStats:
    kept, total = int(layer.weight_mask.sum()), layer.weight_mask.numel()
    bias = layer.out_features if layer.bias is not None else 0
    return LayerStats(
        name=name,
        kept=kept,
        total=total,
        live=None if live is None else int(live.sum()),
        dead_inputs=None if live is None else int((~live.any(0)).sum()),
        dead_outputs=None if live is None else int((~live.any(1)).sum()),
        positions=positions,
        flops_dense=positions * (2 * total + bias),
        flops=positions * (2 * kept + bias),
    )


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
