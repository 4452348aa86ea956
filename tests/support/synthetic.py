"""Tasks whose rows are random token ids, for machines where no tokenizer is installed. Also a plug-in."""

import numpy as np
import torch

from sweep.tasks import task
from sweep.tasks.data.dataset import Dataset
from sweep.tasks.data.sentence_pairs import BOS, EOS, PairSplit, to_table
from sweep.tasks.data.token_bags import BagSplit
from sweep.tasks.toy_classification import Toy
from sweep.tasks.toy_translation import ToyTranslation

ROWS = {"train": 700, "test": 200}


@task("random_bags")
class RandomBags(Toy):
    """Texts of up to 11 tokens, none included, half of them from 50 that belong to the class alone."""

    summary = "random token ids in four classes"

    def prepare(self, source):
        generator = torch.Generator().manual_seed(0)
        return Dataset(
            **{name: _bags(rows, generator) for name, rows in ROWS.items()},
            data_hash="random bags",
            data_verified=True,
            info={"vocab_size": 300, "num_classes": 4},
        )


@task("random_pairs")
class RandomPairs(ToyTranslation):
    """Sentences of 1 to 9 tokens and the same backwards, through a Transformer with dropout."""

    summary = "random token ids, backwards"
    architecture = {**ToyTranslation.architecture, "dropout": 0.1}  # noqa: RUF012

    def prepare(self, source):
        generator = np.random.default_rng(0)
        return Dataset(
            **{name: _pairs(rows, generator) for name, rows in ROWS.items()},
            data_hash="random pairs",
            data_verified=True,
            info={"src_vocab": 40, "tgt_vocab": 40},
        )

    def evaluate(self, model, split, batch_size):
        """The loss alone: BLEU needs a library."""
        return {"BLEU": 0.0, **self.evaluate_training(model, split, batch_size)}


def _bags(rows, generator):
    labels = torch.randint(4, (rows,), generator=generator)
    lengths = torch.randint(12, (rows,), generator=generator)
    of_class = labels.repeat_interleave(lengths)
    own = torch.randint(50, of_class.shape, generator=generator) + 50 * of_class
    common = torch.randint(200, 300, of_class.shape, generator=generator)
    ids = torch.where(torch.rand(of_class.shape, generator=generator) < 0.5, own, common).int()
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    return BagSplit(ids, offsets, labels)


def _pairs(rows, generator):
    words = [generator.integers(4, 40, length) for length in generator.integers(1, 10, rows)]
    sides = [[[BOS, *side, EOS] for side in (word, word[::-1])] for word in words]
    texts = {name: ["a"] * rows for name in ("source", "target", "reference")}
    return PairSplit.from_table(
        to_table(texts, *(_ids([pair[side] for pair in sides]) for side in (0, 1))),
        [str(token) for token in range(40)],
    )


def _ids(sentences):
    return np.concatenate(sentences).astype(np.int32), np.cumsum([0, *map(len, sentences)])
