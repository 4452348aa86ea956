import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import torch
from torch.nn.functional import linear

from models import TextClassificationModel
from sweep.tasks import Task, get_task
from sweep.tasks.data.dataset import Dataset, DataSource
from sweep.tasks.toy_classification import ROWS
from sweep.tasks.toy_grammar import TOPIC_WORDS, TOPICS, write


@pytest.fixture(scope="module")
def toy() -> Task:
    kind = get_task("toy")
    return kind(kind.Options())


@pytest.fixture(scope="module")
def data(toy: Task, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy.prepare(DataSource(None, False, tmp_path_factory.mktemp("cache")))


def test_the_corpus_is_the_same_everywhere(data: Dataset) -> None:
    """Old results are comparable with new ones only while this hash stays; a change of the corpus changes it."""
    assert data.data_hash == "9c0af8ab3d553f3a2d8c0160b62483024ba4780829622c5712c6128b94a25ca8"
    assert data.data_verified
    assert (data.train_rows, data.test_rows) == (ROWS["train"], ROWS["test"])


def test_the_corpus_neither_depends_on_nor_disturbs_the_global_random_state(
    toy: Task, data: Dataset, tmp_path: Path
) -> None:
    random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), torch.get_rng_state()
    again = toy.prepare(DataSource(None, False, tmp_path))
    assert again.data_hash == data.data_hash
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_topics_are_balanced(data: Dataset) -> None:
    (_, _), labels = data.train.batches(data.train_rows)[0]
    # binomial: 4000 rows of probability 1/4, standard deviation 27
    assert all(abs(count - 1000) < 4 * 27 for count in labels.bincount().tolist())


def test_texts_borrow_from_other_topics_but_say_more_of_their_own() -> None:
    own_words = {topic: set(" ".join(words.values()).split()) for topic, words in TOPIC_WORDS.items()}
    generator = random.Random(0)
    for topic in TOPICS:
        words = Counter(" ".join(write(topic, generator) for _ in range(300)).split())
        mentions = {name: sum(words[word] for word in own_words[name]) for name in TOPICS}
        others = [mentions[name] for name in TOPICS if name != topic]
        assert min(others) > 0
        assert mentions[topic] > 2 * max(others)


def test_sentences_are_words_of_the_grammar() -> None:
    generator = random.Random(0)
    for _ in range(200):
        text = write("sea", generator)
        assert text.endswith(" .")
        assert text == text.lower()
        assert "~" not in text


class Masked(torch.nn.Module):
    """A linear layer of which only `keep` random weights are left."""

    def __init__(self, layer: torch.nn.Linear, keep: int) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        mask = torch.zeros(layer.weight.numel())
        mask[torch.randperm(len(mask))[:keep]] = 1
        self.mask = mask.view_as(layer.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight * self.mask, self.bias)


def trained_accuracy(toy: Task, data: Dataset, keep: int, seed: int) -> float:
    torch.manual_seed(seed)
    model = cast(TextClassificationModel, toy.model(data))
    model.fc = Masked(model.fc, keep)  # type: ignore[assignment]
    optimiser = torch.optim.Adam(model.parameters(), lr=toy.defaults["lr"], fused=True)
    for _ in range(toy.defaults["epochs"]):
        for inputs, target in data.train.batches(toy.defaults["batch_size"], torch.randperm(data.train_rows)):
            optimiser.zero_grad()
            toy.loss(model(*inputs), target).backward()
            optimiser.step()
    return toy.evaluate(model, data.test, toy.defaults["eval_batch_size"])["accuracy"]


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Threads cost more than they bring in a model of this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("_one_thread")
def test_dense_learns_it_and_two_weights_do_not(toy: Task, data: Dataset) -> None:
    weights = cast(TextClassificationModel, toy.model(data)).fc.weight.numel()
    assert weights == 256
    dense = [trained_accuracy(toy, data, weights, seed) for seed in range(2)]
    sparse = [trained_accuracy(toy, data, int(0.01 * weights), seed) for seed in range(2)]
    assert min(dense) >= 90
    assert max(sparse) <= min(dense) - 10
