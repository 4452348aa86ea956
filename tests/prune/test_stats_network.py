"""Densities, operations, empty layers, dead units and live paths of networks small enough to count by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import prune
from prune.errors import PruneError


def masked(*masks: list[list[int]], bias: bool = True) -> nn.Sequential:
    """A ReLU network whose linear layers have the given masks; every weight is 0, which does not matter."""
    modules: list[nn.Module] = []
    for mask in masks:
        layer = prune.MaskedLinear(len(mask[0]), len(mask), bias=bias)
        nn.init.zeros_(layer.weight)
        layer.weight_mask.copy_(torch.tensor(mask))
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def data(rows: int, columns: int) -> list[tuple[tuple[Tensor], None]]:
    return [((torch.randn(rows, columns),), None)]


# Inputs a b c, hidden units p q r s, output z.
# p: from a, goes on.  q: from a and b, read by nobody.  r: from nothing, read by z.  s: from c, goes on.
DEAD_PATHS = (
    [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]],
    [[1, 0, 1, 1]],
)


def test_a_network_with_dead_paths_by_hand() -> None:
    stats = prune.network_stats(masked(*DEAD_PATHS), data(5, 3))
    first, second = stats.layers
    assert (first.name, first.kept, first.total, first.live) == ("0", 4, 12, 2)  # q's two weights are dead
    assert (second.name, second.kept, second.total, second.live) == ("2", 3, 4, 2)  # r's weight is dead
    assert (first.density, first.effective_density) == (4 / 12, 2 / 12)
    assert (first.dead_inputs, first.dead_outputs) == (1, 2)  # b is read by q only; q and r
    assert (second.dead_inputs, second.dead_outputs) == (2, 0)  # q and r
    assert (stats.density, stats.effective_density) == (7 / 16, 4 / 16)
    assert stats.empty_layers == ()
    assert not stats.layer_collapse
    # 5 rows, each 2 * 12 + 4 and 2 * 4 + 1 operations
    assert (first.positions, first.flops_dense, first.flops) == (5, 5 * 28, 5 * 12)
    assert (second.positions, second.flops_dense, second.flops) == (5, 5 * 9, 5 * 7)
    assert (stats.flops_dense, stats.flops) == (5 * 37, 5 * 19)
    assert stats.flops_remaining == 19 / 37
    assert stats.flops_remaining_paper == (7 + 5) / (16 + 5)


def test_live_weights_of_the_same_network() -> None:
    model = masked(*DEAD_PATHS)
    live = prune.live_weights(model, data(1, 3), {"0": model[0].weight_mask, "2": model[2].weight_mask})
    assert live["0"].int().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert live["2"].int().tolist() == [[1, 0, 0, 1]]


def test_an_empty_layer_kills_every_path() -> None:
    stats = prune.network_stats(masked([[1, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 1]], bias=False), data(2, 2))
    assert stats.empty_layers == ("2",)
    assert stats.layer_collapse
    assert [layer.empty for layer in stats.layers] == [False, True, False]
    assert [layer.live for layer in stats.layers] == [0, 0, 0]
    assert [(layer.dead_inputs, layer.dead_outputs) for layer in stats.layers] == [(2, 2), (2, 2), (2, 1)]
    assert (stats.density, stats.effective_density) == (0.6, 0.0)
    # without biases: 2 operations for each of 6 of 10 weights
    assert (stats.flops, stats.flops_dense, stats.flops_remaining_paper) == (24, 40, 0.6)


def test_all_layers_empty_is_no_layer_collapse() -> None:
    stats = prune.network_stats(masked([[0, 0]], [[0]]), data(1, 2))
    assert stats.empty_layers == ("0", "2")
    assert not stats.layer_collapse
    assert stats.flops_remaining_paper == 2 / 5


class Residual(nn.Module):
    """A path around a layer that is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = prune.MaskedLinear(2, 2), prune.MaskedLinear(2, 1)
        self.fc.weight_mask.fill_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + torch.relu(self.fc(x)))


def test_a_residual_path_keeps_the_rest_alive() -> None:
    stats = prune.network_stats(Residual(), data(3, 2))
    assert [layer.live for layer in stats.layers] == [0, 2]
    assert stats.layer_collapse


@pytest.mark.slow
@pytest.mark.parametrize("width", [64, 2])
def test_deep_networks_neither_overflow_nor_vanish(width: int) -> None:
    # the flow through 200 dense layers of 64 is 64^200 = 10^361, beyond float64
    depth = 200 if width == 64 else 2000
    torch.manual_seed(0)
    model = nn.Sequential(*(prune.MaskedLinear(width, width, bias=False) for _ in range(depth)))
    if width == 2:
        # three of four weights: a path is open everywhere, and one unit of two is fed twice
        for layer in model:
            layer.weight_mask[0, 1] = False
    stats = prune.network_stats(model, data(1, width))
    assert stats.effective_density == stats.density == (1 if width == 64 else 0.75)


def test_live_weights_agree_with_boolean_reachability() -> None:
    torch.manual_seed(1)
    model = masked(*(torch.rand(o, i).lt(0.12).int().tolist() for i, o in ((20, 30), (30, 25), (25, 10))))
    layers = [m for m in model if isinstance(m, prune.MaskedLinear)]
    forward = [torch.ones(20, dtype=torch.bool)]
    for layer in layers:
        forward.append((layer.weight_mask & forward[-1]).any(1))
    backward = torch.ones(10, dtype=torch.bool)
    live = []
    for layer, reached in zip(reversed(layers), reversed(forward[:-1]), strict=True):
        live.append(int((layer.weight_mask & backward[:, None] & reached).sum()))
        backward = (layer.weight_mask & backward[:, None]).any(0)
    stats = prune.network_stats(model, data(4, 20))
    assert [layer.live for layer in stats.layers] == live[::-1]
    assert 0 < stats.effective_density < stats.density


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(1000, 64, mode="mean")
        self.fc = nn.Linear(64, 4)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        return self.fc(self.embedding(tokens, offsets))


@pytest.mark.parametrize(
    ("compression", "kept", "paper"), [(0.1, 203, 0.80), (0.5, 80, 0.32), (1, 25, 0.11), (2, 2, 0.023)]
)
def test_the_flop_column_of_the_paper(compression: float, kept: int, paper: float) -> None:
    model = Bag()
    batch = [((torch.randint(1000, (30,)), torch.arange(0, 30, 3)), torch.zeros(10, dtype=torch.long))]
    prune.prune_model(model, functional.cross_entropy, batch, "random", compression)
    stats = prune.network_stats(model, batch)
    assert stats.flops_remaining_paper == (kept + 4) / 260
    assert stats.flops_remaining_paper == pytest.approx(paper, abs=0.01)
    # 10 rows, whatever the tokens
    assert (stats.flops, stats.flops_dense) == (10 * (2 * kept + 4), 10 * (2 * 256 + 4))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.free = nn.Linear(8, 24, bias=False), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        attended = functional.scaled_dot_product_attention(q, k, v)
        return self.free(self.out(attended.transpose(1, 2).flatten(2))[:, 0])


def test_the_whole_forward_pass_counts_attention_and_layers_that_are_not_pruned() -> None:
    model = Attention()
    batch = [((torch.randn(2, 5, 8),), None)]
    prune.prune_model(model, functional.cross_entropy, batch, "random", 1, skip=["free"])
    stats = prune.network_stats(model, batch)
    by_name = {layer.name: layer for layer in stats.layers}
    assert set(by_name) == {"qkv", "out"}
    assert by_name["qkv"].positions == by_name["out"].positions == 10
    kept = sum(layer.kept for layer in stats.layers)
    assert kept == 25
    # q k^T and a v: 2 samples, 2 heads, 5 x 5 x 4 multiplications each; free: 2 rows of 8 x 3, and 3 biases
    others = 2 * (2 * 2 * 2 * 5 * 5 * 4) + 2 * (2 * 24 + 3)
    assert stats.flops_dense == 10 * 2 * (8 * 24 + 64) + 10 * 8 + others
    assert stats.flops == 10 * 2 * kept + 10 * 8 + others
    assert stats.flops_remaining_paper == (25 + 8) / (256 + 8)


def test_a_layer_that_the_forward_pass_never_reaches() -> None:
    model = nn.Sequential(prune.MaskedLinear(2, 2))
    model.unused = prune.MaskedLinear(3, 3)
    model.forward = lambda x: model[0](x)
    unused = prune.network_stats(model, data(1, 2)).layers[1]
    assert (unused.name, unused.positions, unused.flops_dense, unused.flops, unused.live) == (
        "unused",
        0,
        0,
        0,
        0,
    )


def test_a_layer_used_twice_counts_twice() -> None:
    layer = prune.MaskedLinear(2, 2)
    stats = prune.network_stats(nn.Sequential(layer, layer), data(3, 2))
    assert len(stats.layers) == 1
    assert (stats.layers[0].positions, stats.flops_dense) == (6, 6 * (2 * 4 + 2))


def test_what_cannot_be_measured_is_named() -> None:
    with pytest.raises(PruneError, match="Sequential has no MaskedLinear"):
        prune.network_stats(nn.Sequential(nn.Linear(2, 2)), data(1, 2))
    with pytest.raises(PruneError, match="give at least one"):
        prune.network_stats(masked([[1]]), [])


def test_without_a_linear_form_live_paths_are_unknown_and_the_rest_is_counted() -> None:
    model = nn.Sequential(nn.LayerNorm(2), prune.MaskedLinear(2, 1))
    model[1].weight_mask.copy_(torch.tensor([[True, False]]))
    stats = prune.network_stats(model, data(3, 2))
    (layer,) = stats.layers
    assert (layer.live, layer.dead_inputs, layer.dead_outputs, layer.effective_density) == (None,) * 4
    assert (stats.effective_density, stats.dead_units) == (None, None)
    assert (layer.kept, stats.density, layer.flops) == (1, 0.5, 3 * (2 * 1 + 1))
    with pytest.raises(prune.NoLinearForm, match="synflow_form"):
        prune.live_weights(model, data(3, 2), {"1": model[1].weight_mask})
