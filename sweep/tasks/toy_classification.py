"""A corpus that is generated, small enough to try everything on in seconds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

from sweep.tasks.corpus import Corpus
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.registry import task
from sweep.tasks.text_classification import Row, TextClassification
from sweep.tasks.toy_grammar import TOPICS, pick, write

ROWS = {"train": 4000, "test": 2000}
CORPUS_SEED = 2024  # of the corpus, whatever the run's seed


@task("toy")
class Toy(TextClassification):
    """Topic of a generated sentence (see `sweep.tasks.toy_grammar`), through the same pipeline as real texts."""

    summary: ClassVar[str] = (
        "generated sentences on four topics: EmbeddingBag and one linear layer (256 prunable weights)"
    )
    num_classes: ClassVar[int] = len(TOPICS)
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 5,
        "batch_size": 64,
        "eval_batch_size": 256,
        "lr": 1e-2,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "score_samples": 10 * len(TOPICS),
        "score_batch_size": 256,
    }

    def corpus(self, source: DataSource) -> Corpus[Row]:  # noqa: ARG002 - the corpus is generated
        generator = random.Random(CORPUS_SEED)
        rows = {split: [_row(generator) for _ in range(count)] for split, count in ROWS.items()}
        return Corpus.of(rows)


def _row(generator: random.Random) -> Row:
    label = pick(range(len(TOPICS)), generator)
    return Row(label, write(TOPICS[label], generator))
