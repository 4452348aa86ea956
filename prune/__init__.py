"""Pruning of linear layers at initialisation: methods, masks, the masked layer and what a mask leaves behind."""

from prune import ops
from prune.errors import NoLinearForm, PruneError
from prune.linear_form import live_weights
from prune.mask_check import mask_effective
from prune.masked_linear import MaskedLinear, mask_linears
from prune.methods import METHODS, Method, method, score
from prune.pruner import LayerReport, PruneReport, prune_model
from prune.scoring_context import Scoring
from prune.sparsity_stats import LayerStats, NetworkStats, network_stats

__all__ = [
    "METHODS",
    "LayerReport",
    "LayerStats",
    "MaskedLinear",
    "Method",
    "NetworkStats",
    "NoLinearForm",
    "PruneError",
    "PruneReport",
    "Scoring",
    "live_weights",
    "mask_effective",
    "mask_linears",
    "method",
    "network_stats",
    "ops",
    "prune_model",
    "score",
]
