"""Classification of texts by a bag of tokens: everything but where the texts come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from sweep.core.errors import DataError, cut
from sweep.tasks.base import Task
from sweep.tasks.corpus import CHECKS, Corpus, checked, require_splits
from sweep.tasks.data.dataset import Dataset, DataSource, Split

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor, nn


class Row(NamedTuple):
    """A text and its class, counted from 0."""

    label: int
    text: str


class TextClassification(Task):
    """A task whose model is `models.TextClassificationModel`. A subclass says where the texts come from.

    Attributes:
        num_classes: labels are 0 .. num_classes - 1.
        tokenizer: torchtext's name of it.
        embed_dim: size of an embedding.
    """

    num_classes: ClassVar[int]
    tokenizer: ClassVar[str] = "basic_english"
    embed_dim: ClassVar[int] = 64

    @abstractmethod
    def corpus(self, source: DataSource) -> Corpus[Row]:
        """Find and verify the texts of the splits `train` and `test`, and, if there is one, `validation`."""

    def prepare(self, source: DataSource) -> Dataset:
        from sweep.tasks.data.token_bags import BagSplit
        from sweep.tasks.data.token_cache import Key, load_or_build

        corpus = checked(self.corpus(source), self.name)
        key: Key = {
            "data": corpus.data_hash,
            "tokenizer": self.tokenizer,
            "pipeline": self.pipeline_version,
            "classes": self.num_classes,
            "checks": CHECKS,
        }
        tables = load_or_build(
            source.tokens,
            self.name,
            key,
            lambda: _tokenized(self._checked_rows(corpus.rows()), self.tokenizer),
        )
        validation = tables.get("validation")
        return Dataset(
            train=BagSplit.from_table(tables["train"]),
            test=BagSplit.from_table(tables["test"]),
            validation=None if validation is None else BagSplit.from_table(validation),
            data_hash=corpus.data_hash,
            data_verified=corpus.verified,
            info={"vocab_size": tables["vocabulary"].num_rows, "num_classes": self.num_classes},
        )

    def _checked_rows(self, rows: Mapping[str, Sequence[Row]]) -> Mapping[str, Sequence[Row]]:
        """`rows`, whose labels are right: a wrong one would fail in every run, or be ignored by the loss, or be another.

        Raises:
            DataError: a label that is not one of 0 .. num_classes - 1, or a split that there is not.
        """
        require_splits(rows, ("train", "test"), self.name)
        for split in rows:
            for number, row in enumerate(rows[split], 1):
                label, text = row
                if not isinstance(text, str):
                    raise DataError(
                        f"task {self.name!r}, {split} row {number}: {cut(repr(text))} is not a text; give a string"
                    )
                if not (isinstance(label, Integral) and not isinstance(label, bool)):
                    fix = "give classes as integers"
                elif not 0 <= label < self.num_classes:
                    fix = f"number the {self.num_classes} classes from 0, or set num_classes"
                else:
                    continue
                raise DataError(
                    f"task {self.name!r}, {split} row {number}: label {cut(repr(label))} is none of 0 to "
                    f"{self.num_classes - 1}; {fix}"
                )
        return rows

    def model(self, data: Dataset) -> nn.Module:
        from models import TextClassificationModel

        return TextClassificationModel(data.info["vocab_size"], self.embed_dim, self.num_classes)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        from sweep.tasks.metrics.classification import cross_entropy

        return cross_entropy(output, target)

    def evaluate(self, model: nn.Module, split: Split, batch_size: int) -> dict[str, float]:
        from sweep.tasks.metrics.classification import evaluate

        return evaluate(model, self.loss, split, batch_size)


def _tokenized(rows: Mapping[str, Sequence[Row]], tokenizer_name: str) -> dict[str, pa.RecordBatch]:
    """A table for each split (see `token_bags.to_table`) and `vocabulary`, which comes from the training rows alone."""
    import numpy as np
    import pyarrow as pa

    from sweep.tasks.data.token_bags import to_table
    from sweep.tasks.data.tokenize import build_vocabulary, encode, get_tokenizer, tokenize

    tokenizer = get_tokenizer(tokenizer_name)
    texts = {split: tokenize((row.text for row in rows[split]), tokenizer) for split in rows}
    vocabulary = build_vocabulary(texts["train"])
    tables = {"vocabulary": pa.record_batch({"token": pa.array(vocabulary.get_itos())})}
    for split, tokens in texts.items():
        labels = np.array([row.label for row in rows[split]], dtype=np.int64)
        tables[split] = to_table(*encode(tokens, vocabulary), labels)
    return tables
