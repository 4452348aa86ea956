"""Translation from an invented language, small enough to try everything on in seconds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from sweep.tasks.corpus import Corpus
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.registry import task
from sweep.tasks.toy_translation_grammar import write_pair
from sweep.tasks.translation import Pair, Translation

ROWS = {"train": 3000, "validation": 200, "test": 500}
CORPUS_SEED = 2024  # of the corpus, whatever the run's seed


@task("toy_translation")
class ToyTranslation(Translation):
    """Sentences of an invented language (see `toy_translation_grammar`) to English, through the same pipeline as Multi30k."""

    summary: ClassVar[str] = (
        "generated sentences in an invented language to English: Transformer of 1 + 1 layers"
    )
    architecture: ClassVar[Mapping[str, Any]] = {
        "d_model": 64,
        "heads": 2,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "ffn": 64,
        "dropout": 0.0,
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 5,
        "batch_size": 64,
        "eval_batch_size": 256,
        "lr": 5e-3,
        "betas": (0.9, 0.98),
        "eps": 1e-9,
        "score_samples": 256,
        "score_batch_size": 64,
    }

    class Options(Translation.Options, frozen=True, extra="forbid"):
        max_len: Annotated[int, Field(ge=1, le=1024, description="tokens a translation has at most")] = 30

    options: Options

    def tokenizers(self) -> tuple[str, str]:
        return "spaces", "spaces"

    def tokenizer(self, name: str) -> Callable[[str], list[str]]:  # noqa: ARG002 - there is only one
        return str.split

    def corpus(self, source: DataSource) -> Corpus[Pair]:  # noqa: ARG002 - the corpus is generated
        generator = random.Random(CORPUS_SEED)
        return Corpus.of(
            {split: [Pair(*write_pair(generator)) for _ in range(count)] for split, count in ROWS.items()}
        )
