"""BLEU (Papineni et al. 2002), its parts, and its variants; all in percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

N_GRAM = 4

UNIFORM = (0.25, 0.25, 0.25, 0.25)

WEIGHTINGS: dict[str, tuple[float, ...]] = {
    "BLEU-4": UNIFORM,
    "BLEU-3": (1 / 3, 1 / 3, 1 / 3, 0),
    "BLEU-2": (0.5, 0.5, 0, 0),
    "BLEU-1": (1, 0, 0, 0),
    "falling": (0.4, 0.3, 0.2, 0.1),
    "rising": (0.1, 0.2, 0.3, 0.4),
}
"""Weights of the n-gram precisions, n = 1 to 4, under which the report shows BLEU."""


@dataclass(frozen=True)
class Bleu:
    """Corpus BLEU with uniform weights, and its components.

    score: percent.
    precisions: modified precisions of n-grams, n = 1 to 4, percent.
    brevity_penalty: from 0 to 1.
    """

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float


def corpus_bleu(outputs: Sequence[str], references: Sequence[str]) -> Bleu:
    """Corpus BLEU by torchmetrics of sentences whose tokens are what white space separates, one reference each."""
    from torchmetrics.text import BLEUScore

    metric = BLEUScore(n_gram=N_GRAM)
    metric.update(outputs, [[reference] for reference in references])
    score = 100 * metric.compute().item()
    matches, all_of_them = metric.numerator.tolist(), metric.denominator.tolist()
    precisions = tuple(
        100 * right / count if count else 0.0 for right, count in zip(matches, all_of_them, strict=True)
    )
    length, wanted = metric.preds_len.item(), metric.target_len.item()
    penalty = 1.0 if length > wanted else math.exp(1 - wanted / length) if length else 0.0
    return Bleu(score, precisions, penalty)


def weighted(precisions: Sequence[float], brevity_penalty: float, weights: Sequence[float]) -> float:
    """BLEU in percent for other weights: brevity penalty * exp(sum of w_n * log p_n); 0 if a weighted precision is 0."""
    logs = 0.0
    for precision, weight in zip(precisions, weights, strict=True):
        if weight:
            if not precision:
                return 0.0
            logs += weight * math.log(precision / 100)
    return 100 * brevity_penalty * math.exp(logs)


def sacrebleu(outputs: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """sacreBLEU's score of plain texts, percent, and the signature that says how it was computed (Post 2018)."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(force=True)  # force: be silent about references that end in " ."
    score = metric.corpus_score(outputs, [references]).score
    return score, str(metric.get_signature())
