"""Gradients of embeddings row by row give what dense ones give, and stay out of where they would not."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from sweep.run.embedding_grads import RowGradients
from sweep.run.train_step import Step
from sweep.tasks import Toy

IDS = torch.tensor([[0, 2, 2], [5, 2, 0]])


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class Penalised(Toy):
    """A loss with a penalty on its own gradient."""

    def training_loss(self, model, inputs, target):
        loss = self.loss(model(*inputs).mean(1), target)
        (gradient,) = torch.autograd.grad(loss, model[0].weight, create_graph=True)
        return loss + gradient.view(-1).square().sum()


def test_a_loss_that_looks_at_gradients_gets_dense_ones():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 3))
    plain, task, target = copy.deepcopy(model), Penalised(Toy.Options()), torch.tensor([0, 2])
    run = SimpleNamespace(lr=0.1, betas=(0.9, 0.999), eps=1e-8, device="cpu", precision="float32")
    step = Step(run, task, model)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        step((IDS,), target)
        optimizer.zero_grad()
        task.training_loss(plain, (IDS,), target).backward()
        optimizer.step()
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def parametrised():
    return parametrize.register_parametrization(nn.Embedding(6, 4), "weight", Doubled())


def hooked():
    module = nn.Embedding(6, 4)
    module.weight.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
    return module


class OwnForward(nn.Embedding):
    """May use its table in any way."""


def tied():
    """Rows from the look-up, all of the table from the product; the sum is dense."""
    table = nn.Embedding(6, 4)
    return nn.Sequential(table, Logits(table.weight), nn.Linear(6, 4))


class Logits(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, x):
        return x @ self.weight.T


def frozen():
    return nn.Embedding(6, 4).requires_grad_(False)


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (lambda: nn.Embedding(6, 4), True),
        (lambda: nn.Embedding(6, 4, padding_idx=2), True),
        (lambda: nn.Embedding(6, 4, max_norm=0.5), True),
        (lambda: nn.EmbeddingBag(6, 4), True),
        (lambda: nn.EmbeddingBag(6, 4, mode="sum"), True),
        (lambda: nn.EmbeddingBag(6, 4, mode="max"), False),
        (lambda: nn.Embedding(6, 4, scale_grad_by_freq=True), False),
        (lambda: nn.EmbeddingBag(6, 4, scale_grad_by_freq=True), False),
        (parametrised, False),
        (hooked, False),
        (lambda: OwnForward(6, 4), False),
        (tied, False),
        (frozen, False),
    ],
)
def test_steps_are_those_of_dense_gradients(make, rows):
    torch.manual_seed(0)
    model = nn.Sequential(make(), nn.Linear(4, 3))
    plain = copy.deepcopy(model)
    if make is hooked:
        plain[0].weight.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
    optimizers = [torch.optim.Adam(each.parameters(), lr=0.1, fused=True) for each in (model, plain)]
    gradients = RowGradients(model)
    assert getattr(model[0], "sparse", False) is rows
    for _ in range(3):
        for each, optimizer in zip((model, plain), optimizers, strict=True):
            optimizer.zero_grad()
            each(IDS).square().sum().backward()
        with gradients.for_step():
            optimizers[0].step()
        optimizers[1].step()
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_a_table_that_is_computed_is_left_alone():
    """As `weight_norm` and torch's own pruning make it: an attribute that is no parameter."""
    module = torch_prune.identity(nn.Embedding(6, 4), "weight")
    RowGradients(nn.Sequential(module))
    assert module.sparse is False
