"""The numbers of "Assessing Pruning methods on NLP models" (Nañez, 2024), one run a cell, by (pruner, compression)."""

from collections.abc import Mapping
from dataclasses import dataclass

TITLE = "Assessing Pruning methods on NLP models (Nañez, 2024)"

Figures = Mapping[tuple[str, float], float]


@dataclass(frozen=True)
class PaperTask:
    """What the paper reports of one task."""

    metric: Figures
    metric_table: str
    flops_remaining: Figures
    flops_table: str


def _table(grasp: Mapping[float, float], random: Mapping[float, float]) -> Figures:
    pruners = {"grasp": grasp, "random": random}
    return {
        (pruner, compression): value
        for pruner, column in pruners.items()
        for compression, value in column.items()
    }


PAPER: Mapping[str, PaperTask] = {
    "ag_news": PaperTask(
        metric=_table(
            grasp={0.0: 97.67, 0.1: 97.56, 0.5: 97.22, 1.0: 96.50, 2.0: 71.85},
            random={0.0: 97.67, 0.1: 97.57, 0.5: 97.23, 1.0: 96.57, 2.0: 48.17},
        ),
        metric_table="Table 1 of experiment one",
        flops_remaining=_table(
            grasp={0.1: 0.80, 0.5: 0.32, 1.0: 0.11, 2.0: 0.023},
            random={0.1: 0.79, 0.5: 0.32, 1.0: 0.11, 2.0: 0.023},
        ),
        flops_table="Table 2",
    ),
    "multi30k": PaperTask(
        metric=_table(
            grasp={0.0: 22.96, 0.1: 22.73, 0.5: 24.24, 1.0: 22.80, 2.0: 22.85},
            random={0.0: 22.96, 0.1: 22.70, 0.5: 24.07, 1.0: 22.93, 2.0: 22.82},
        ),
        metric_table="Table 4",
        flops_remaining=_table(
            grasp={0.1: 0.86, 0.5: 0.27, 1.0: 0.01, 2.0: 0.023},
            random={0.1: 0.79, 0.5: 0.31, 1.0: 0.10, 2.0: 0.01},
        ),
        flops_table="Table 5",
    ),
}
