"""What is measured next to a result works for ordinary models, and says where it cannot."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import prune


class Model(nn.Module):
    """Two layers with something between them that a pass in float64 has to get along with."""

    def __init__(self, between, dtype=torch.float32):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3, dtype=dtype), nn.Linear(3, 2, dtype=dtype)
        self.between = between

    def forward(self, x):
        x = x["x"] if isinstance(x, dict) else x
        return self.second(self.between(functional.relu(self.first(x))))


def pruned(between, inputs):
    torch.manual_seed(0)
    model = Model(between)
    batches = [((inputs,), torch.tensor([0, 1]))]
    prune.prune_model(model, functional.cross_entropy, batches, "random", 0)
    # one unit of the middle has no input: three of nine and two of six weights are not live
    model.first.weight_mask[1] = False
    return model, batches


ROWS = torch.rand(2, 3)
EYE = torch.eye(3)


@pytest.mark.parametrize(
    ("between", "inputs"),
    [
        (lambda x: x.float(), ROWS),
        (lambda x: x.to(torch.float32), ROWS),
        (lambda x: torch.cat((x, torch.zeros(len(x), 3)), 1)[:, :3], ROWS),
        (lambda x: x + torch.zeros(3), ROWS),
        (lambda x: torch.zeros_like(x, dtype=torch.float32).copy_(x), ROWS),
        (lambda x: x @ EYE, ROWS),  # neither a parameter nor a buffer
        (lambda x: torch.einsum("bi,ij->bj", x, EYE), ROWS),
        (lambda x: torch.zeros(2, 3, dtype=torch.float32).add_(x), ROWS),
        (lambda x: x, {"x": ROWS}),
        (lambda x: functional.dropout(x, 0.0), ROWS),
    ],
)
def test_live_paths_of_ordinary_models(between, inputs):
    model, batches = pruned(between, inputs)
    stats = prune.network_stats(model, batches)
    assert stats.problem is None
    assert [layer.live for layer in stats.layers] == [6, 4]
    assert stats.dead_units == 2


class Outputs(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.inner, self.shape = Model(functional.relu), shape

    def forward(self, x):
        return self.shape(self.inner(x))


@pytest.mark.parametrize("shape", [lambda y: (y, torch.tensor(3)), lambda y: {"a": [y]}, lambda y: y.sum()])
def test_outputs_of_any_shape(shape):
    model = Outputs(shape)
    prune.mask_linears(model)
    model.inner.first.weight_mask[1] = False
    stats = prune.network_stats(model, [((ROWS,), None)])
    assert (stats.problem, [layer.live for layer in stats.layers]) == (None, [6, 4])
    assert prune.mask_effective(model, (ROWS,)) is True


class Tied(nn.Module):
    """Embeddings that are the output's weights, too, some of them negative."""

    def __init__(self):
        super().__init__()
        self.table, self.linear = nn.Embedding(5, 3), nn.Linear(3, 3)

    def forward(self, ids):
        return functional.relu(self.linear(self.table(ids))) @ self.table.weight.T


def test_live_paths_through_a_tied_table():
    torch.manual_seed(0)
    model = Tied()
    with torch.no_grad():
        model.table.weight[:, 0] = 0  # so the first unit of the middle is not read
        model.table.weight[:, 1] = -1  # and this one is
    prune.mask_linears(model)
    stats = prune.network_stats(model, [((torch.tensor([[0, 4]]),), None)])
    assert (stats.problem, stats.layers[0].live, stats.layers[0].dead_outputs) == (None, 6, 1)
    assert model.table.weight.dtype == torch.float32


def test_a_model_whose_paths_cannot_be_followed_is_measured_but_for_them():
    model, batches = pruned(lambda x: torch.from_numpy(x.detach().numpy()[:, :3].astype("f4")), ROWS)
    stats = prune.network_stats(model, batches)
    assert (stats.effective_density, stats.dead_units) == (None, None)
    assert stats.density == 12 / 15
    assert stats.problem == (
        "live paths are not known: the output of one of first goes on without its gradient, so its paths cannot be followed"
    )
    refusing, batches = pruned(refuse_float64, ROWS)
    stats = prune.network_stats(refusing, batches)
    assert (stats.effective_density, stats.flops) == (None, 2 * 2 * 12 + 2 * 5)
    assert stats.problem == "live paths are not known: in float64 the model raises TypeError: float32 only"


def refuse_float64(x):
    if x.dtype == torch.float64:
        raise TypeError("float32 only\nand more")
    return x


def test_a_mask_is_effective_in_a_model_that_draws_random_numbers_in_every_call():
    model, batches = pruned(lambda x: functional.dropout(x, 0.5, training=True), ROWS)
    before = torch.random.get_rng_state()
    assert prune.mask_effective(model, batches[0][0]) is True
    assert torch.equal(torch.random.get_rng_state(), before)
    assert prune.mask_effective(leaking(functional.dropout), batches[0][0]) is False


def leaking(between):
    """A model whose pruned weights reach the output."""
    model, _ = pruned(between, ROWS)
    model.between = lambda x: x + model.first.weight.sum()
    return model


def test_whether_a_mask_is_effective_cannot_be_told_of_a_model_that_never_repeats_itself():
    calls = iter(range(100))
    model, batches = pruned(lambda x: x + next(calls), ROWS)
    weights = [parameter.clone() for parameter in model.parameters()]
    assert prune.mask_effective(model, batches[0][0]) is None
    assert all(map(torch.equal, weights, model.parameters()))


def test_of_an_output_that_has_no_numbers_nothing_can_be_told():
    model, batches = pruned(lambda x: x * torch.nan, ROWS)
    assert prune.mask_effective(model, batches[0][0]) is None
