"""Pruning of linear layers at initialisation: methods, masks, the masked layer and what a mask leaves behind."""

from prune import ops
from prune.errors import NoLinearForm, PruneError
from prune.fidelity import mask_effective
from prune.linear import MaskedLinear, mask_linears
from prune.prune import LayerReport, PruneReport, prune_model
from prune.scores import METHODS, Method, method, score
from prune.scoring import Scoring
from prune.stats import LayerStats, NetworkStats, network_stats
from prune.synflow_form import live_weights

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
