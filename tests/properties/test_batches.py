"""How rows are split into batches, and their order, change no score and no loss but by rounding."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import prune
from models import Seq2SeqTransformer
from sweep.run.train_loop import Position, _train_epoch
from sweep.tasks import get_task
from sweep.tasks.data.sentence_pairs import PAD

N = 13
CUTS = st.sets(st.integers(1, N - 1)).map(lambda cuts: [0, *sorted(cuts), N])
ORDERS = st.permutations(range(N))
POWER = {"snip": 1, "grasp": 2}
"""GraSP's score is of second degree in the loss."""


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)).double()


def rows():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, 5, generator=generator).double(), torch.randint(4, (N,), generator=generator)


@pytest.mark.parametrize("method", POWER)
@settings(max_examples=15)
@given(cuts=CUTS, order=ORDERS)
def test_scores_of_any_batches_of_the_same_rows(method, cuts, order):
    x, y = rows()
    model = classifier()
    whole = prune.score(model, functional.cross_entropy, [((x,), y)], method)
    parts = [order[start:end] for start, end in pairwise(cuts)]
    batches = [((x[part],), y[part]) for part in parts]
    split = prune.score(model, functional.cross_entropy, batches, method)
    for name, scores in split.items():
        torch.testing.assert_close(scores / len(batches) ** POWER[method], whole[name], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("method", POWER)
@settings(max_examples=15)
@given(cuts=CUTS, order=ORDERS)
def test_scores_of_any_batches_of_the_same_sentences(method, cuts, order):
    """The loss is a mean over target tokens, of which batches have different numbers."""
    task = get_task("toy_translation")
    translation = task(task.Options())
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, 6, (2, N), generator=generator).tolist()
    source, target = ([torch.randint(4, 9, (n,), generator=generator) for n in side] for side in lengths)
    torch.manual_seed(0)
    model = Seq2SeqTransformer(
        9, 9, d_model=8, heads=2, encoder_layers=1, decoder_layers=1, ffn=8, dropout=0.0, pad=PAD
    ).double()

    def batch(part):
        src, tgt = (
            nn.utils.rnn.pad_sequence([side[i] for i in part], batch_first=True, padding_value=PAD)
            for side in (source, [torch.cat((torch.tensor([2]), t, torch.tensor([3]))) for t in target])
        )
        return (src, tgt[:, :-1]), tgt

    parts = [order[start:end] for start, end in pairwise(cuts)]
    arguments = (model, translation.loss)
    counted = {"count": translation.loss_count}
    whole = prune.score(*arguments, [batch(range(N))], method, **counted)
    split = prune.score(*arguments, [batch(part) for part in parts], method, **counted)
    for name, scores in split.items():
        torch.testing.assert_close(scores / len(parts) ** POWER[method], whole[name], rtol=1e-8, atol=1e-14)


def test_batches_of_equal_size_are_summed():
    """By hand: the gradient of w in mean (wx - y)^2 is 2 mean (wx - y)x, here for w = 1."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.ones_(model[0].weight)
    x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[0.0], [0.0], [1.0]])

    def snip(*sizes, **options):
        batches = [((a,), b) for a, b in zip(x.split(sizes), y.split(sizes), strict=True)]
        return prune.score(model, functional.mse_loss, batches, "snip", **options)["0"].item()

    gradients = [2.0, 8.0, 12.0]  # 2(1-0)1, 2(2-0)2, 2(3-1)3
    assert snip(1, 1, 1) == sum(gradients)
    assert snip(3) == pytest.approx(sum(gradients) / 3)
    # two batches: the means 5 and 12, which count 4/3 and 2/3, not 1 and 1
    assert snip(2, 1) == pytest.approx(5 * 4 / 3 + 12 * 2 / 3)
    assert snip(2, 1, count=lambda target: 1) == 5 + 12


def test_a_batch_with_nothing_to_learn_from_counts_nothing():
    model = nn.Sequential(nn.Linear(2, 3))
    loss = nn.CrossEntropyLoss(ignore_index=-1)
    some = ((torch.ones(2, 2),), torch.tensor([0, 1]))
    none = ((torch.ones(2, 2),), torch.tensor([-1, -1]))
    options = {"count": lambda target: (target != -1).sum()}
    both = prune.score(model, loss, [some, none], "snip", **options)["0"]
    torch.testing.assert_close(both, 2 * prune.score(model, loss, [some], "snip", **options)["0"])
    with pytest.raises(prune.PruneError, match="the targets of 2 batches have nothing to learn from"):
        prune.score(model, loss, [none, none], "snip", **options)


def test_the_loss_of_an_epoch_is_the_mean_over_its_items():
    """Two batches of 3 and 1 tokens with the losses 2 and 10: (3 * 2 + 1 * 10) / 4, and not the mean over rows."""
    batches = [((torch.zeros(1),), torch.tensor([[2, 5, 6, 3]])), ((torch.zeros(1),), torch.tensor([[2, 3]]))]
    task = get_task("toy_translation")
    stub = SimpleNamespace(
        loss_count=task(task.Options()).loss_count,
        training_batches=lambda split, size, order: batches,
    )
    losses = iter((torch.tensor(2.0), torch.tensor(10.0)))
    controls = SimpleNamespace(
        checkpoint=SimpleNamespace(due=lambda: False),
        stop=SimpleNamespace(requested=False),
        report=lambda progress: None,
    )
    run = SimpleNamespace(seed=0, batch_size=1, epochs=1, lr=0.1)
    at = Position()
    data = SimpleNamespace(train=[0, 1])
    _train_epoch(run, stub, data, nn.Linear(1, 1), lambda *_: next(losses), at, controls, lambda: None)
    assert (at.loss_sum, at.items) == (16.0, 4)
