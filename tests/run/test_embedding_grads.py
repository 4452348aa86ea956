"""Gradients of embeddings row by row give what dense ones give, and stay out of where they would not."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from sweep.run.embedding_grads import RowGradients

IDS = torch.tensor([[0, 2, 2], [5, 2, 0]])


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrised():
    return parametrize.register_parametrization(nn.Embedding(6, 4), "weight", Doubled())


def hooked():
    module = nn.Embedding(6, 4)
    module.weight.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
    return module


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
