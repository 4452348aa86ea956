"""How rows are split into batches, and their order, change no score and no loss but by rounding."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.synthetic import RandomBags, RandomPairs
from torch import nn
from torch.nn import functional

import prune
from models import Seq2SeqTransformer
from prune.scoring_context import rows as prune_rows
from sweep.config.run_spec import RunSpec
from sweep.run.pruning import prune_network
from sweep.run.train_loop import Position, _train_epoch
from sweep.tasks import get_task
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.data.sentence_pairs import PAD

N = 13
pytestmark = pytest.mark.slow

CUTS = st.sets(st.integers(1, N - 1)).map(lambda cuts: [0, *sorted(cuts), N])
ORDERS = st.permutations(range(N))
POWER = {"snip": 1, "grasp": 2}
"""GraSP's score is of second degree in the loss."""


def cut(order, cuts):
    """Rows in this order, in batches that end at `cuts`."""
    return [order[start:end] for start, end in pairwise(cuts)]


def assert_proportional(split, whole, factor, **tolerance):
    for name, scores in split.items():
        torch.testing.assert_close(scores / factor, whole[name], **tolerance)


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
    parts = cut(order, cuts)
    batches = [((x[part],), y[part]) for part in parts]
    split = prune.score(model, functional.cross_entropy, batches, method)
    assert_proportional(split, whole, len(batches) ** POWER[method], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("method", POWER)
@settings(max_examples=6)
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

    parts = cut(order, cuts)
    arguments = (model, translation.loss)
    counted = {"count": translation.loss_count}
    whole = prune.score(*arguments, [batch(range(N))], method, **counted)
    split = prune.score(*arguments, [batch(part) for part in parts], method, **counted)
    assert_proportional(split, whole, len(parts) ** POWER[method], rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("method", POWER)
@settings(max_examples=15)
@given(cuts=CUTS, order=ORDERS)
def test_masks_of_any_batches_of_the_same_rows(method, cuts, order):
    x, y = rows()
    masks = []
    for parts in ([list(range(N))], cut(order, cuts)):
        model = classifier()
        batches = [((x[part],), y[part]) for part in parts]
        prune.prune_model(model, functional.cross_entropy, batches, method, 0.5, iterations=2)
        masks.append(torch.cat([model[i].weight_mask.flatten() for i in (0, 2)]))
    assert torch.equal(*masks)


@settings(max_examples=15)
@given(cuts=CUTS, order=ORDERS)
def test_synflow_takes_no_notice_of_rows(cuts, order):
    x, y = rows()
    arguments = classifier(), functional.cross_entropy
    whole = prune.score(*arguments, [((x,), y)], "synflow")
    batches = [((x[order[start:end]],), y[order[start:end]]) for start, end in pairwise(cuts)]
    for name, scores in prune.score(*arguments, batches, "synflow").items():
        torch.testing.assert_close(scores, whole[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", POWER)
@pytest.mark.parametrize("kind", [RandomBags, RandomPairs])
def test_a_run_keeps_the_same_weights_whatever_its_score_batch_size(kind, method):
    """257 rows: at 256 a batch the last one is a single row, which once weighed as much as all others together."""
    task = kind(kind.Options())
    data = task.prepare(DataSource(None, False, Path()))
    masks = []
    for size in (257, 256, 100):
        torch.manual_seed(0)
        model = task.model(data)
        run = RunSpec.make(kind.name, method, 1, 0, {"score_samples": 257, "score_batch_size": size})
        prune_network(run, task, data, model)
        layers = [module for module in model.modules() if isinstance(module, prune.MaskedLinear)]
        masks.append(torch.cat([layer.weight_mask.flatten() for layer in layers]))
    kept = int(masks[0].sum())
    for mask in masks[1:]:
        # float32: two scores at the threshold may change places
        assert int((mask & masks[0]).sum()) >= kept - kept // 1000


@pytest.mark.parametrize(
    "target", [(torch.ones(5, 2), 3), {"a": None, "b": torch.ones(5)}, [[torch.ones(5, 1)]]]
)
def test_rows_of_a_target_that_is_not_a_tensor(target):
    assert prune_rows(target) == 5


@pytest.mark.parametrize("target", [None, torch.tensor(1.0), "five"])
def test_batches_whose_rows_are_not_known_are_not_summed_as_if_they_were_alike(target):
    model = nn.Sequential(nn.Linear(2, 3))
    batches = [((torch.ones(rows, 2),), target) for rows in (1, 5)]

    def mean(output, target):
        return output.mean()

    with pytest.raises(prune.PruneError, match="give count, a function of the target"):
        prune.score(model, mean, batches, "snip")
    prune.score(model, mean, batches[:1], "snip")  # one alone needs no weight
    summed = prune.score(model, mean, batches, "snip", count=lambda target: 1)["0"]
    torch.testing.assert_close(summed, 2 * prune.score(model, mean, batches[:1], "snip")["0"])


def test_counts_that_are_no_integers():
    """The means 5 and 12 of the test below, as if their batches counted 0.5 and 1.5."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.ones_(model[0].weight)
    x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[0.0], [0.0], [1.0]])
    batches = [((a,), b) for a, b in zip(x.split((2, 1)), y.split((2, 1)), strict=True)]

    def snip(*counts):
        of = dict(zip((2, 1), counts, strict=True))
        return prune.score(model, functional.mse_loss, batches, "snip", count=lambda t: of[len(t)])["0"]

    assert snip(0.5, 1.5).item() == pytest.approx(0.5 * 5 + 1.5 * 12)
    assert snip(torch.tensor(0.5), torch.tensor(1.5)).item() == pytest.approx(0.5 * 5 + 1.5 * 12)
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(prune.PruneError, match="the count of batch 1 is"):
            snip(1, bad)


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
