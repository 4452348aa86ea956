"""Every method's formula, sign and direction: by hand, and against independent formulas in float64."""

import copy
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import prune
from prune.errors import PruneError


def half_square(output: Tensor, target: Tensor) -> Tensor:
    return 0.5 * (output - target).square().sum()


def two_weights(w1: float, w2: float) -> nn.Module:
    """y = w2 w1 x."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(w1)
        model[1].weight.fill_(w2)
    return model


def three_weights() -> nn.Module:
    """y = x1 + x2 - x3."""
    model = nn.Sequential(nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 1.0, -1.0]]))
    return model


def batch(x: list[float], target: float) -> tuple[tuple[Tensor], Tensor]:
    return (torch.tensor([x], dtype=torch.float32),), torch.tensor([[target]], dtype=torch.float32)


def test_magnitude_by_hand() -> None:
    scores = prune.score(three_weights(), half_square, [], "magnitude")
    assert scores["0"].tolist() == [[1.0, 1.0, 1.0]]
    scores = prune.score(two_weights(-3, 2), half_square, [], "magnitude")
    assert (scores["0"].item(), scores["1"].item()) == (3.0, 2.0)


def test_snip_by_hand() -> None:
    # y = 1 + 2 - 3 = 0, target 1: g = (y - 1) x = (-1, -2, -3), |w g| = (1, 2, 3)
    batches = [batch([1, 2, 3], 1)]
    assert prune.score(three_weights(), half_square, batches, "snip")["0"].tolist() == [[1.0, 2.0, 3.0]]
    # the opposite target turns g round: the gradient is summed over the batches before the absolute value
    batches.append(batch([1, 2, 3], -1))
    assert prune.score(three_weights(), half_square, batches, "snip")["0"].tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize(("target", "expected"), [(1.0, (11.0, 14.0)), (3.0, (-9.0, -6.0))])
def test_grasp_of_two_weights_by_hand(target: float, expected: tuple[float, float]) -> None:
    # x = T = 200, so that y / T = u = w1 w2 and L = (u - t)^2 / 2, at w = (1, 2), u = 2, r = u - t:
    #   g = r (w2, w1) = r (2, 1)        H = [[w2^2, w1 w2 + r], [w1 w2 + r, w1^2]] = [[4, 2 + r], [2 + r, 1]]
    #   t = 1: r = 1,  g = (2, 1),   H = [[4, 3], [3, 1]], H g = (11, 7),  w H g = (11, 14)
    #   t = 3: r = -1, g = (-2, -1), H = [[4, 1], [1, 1]], H g = (-9, -3), w H g = (-9, -6)
    scores = prune.score(two_weights(1, 2), half_square, [batch([200], target)], "grasp")
    assert (scores["0"].item(), scores["1"].item()) == pytest.approx(expected, rel=1e-5)


def test_grasp_sums_the_gradient_before_the_hessian_product() -> None:
    # the two cases above together: g = (2, 1) + (-2, -1) = 0, so all scores are 0 and not (11 - 9, 14 - 6)
    batches = [batch([200], 1), batch([200], 3)]
    scores = prune.score(two_weights(1, 2), half_square, batches, "grasp")
    assert (scores["0"].item(), scores["1"].item()) == pytest.approx((0, 0), abs=1e-5)


def test_grasp_of_three_weights_by_hand_and_its_direction() -> None:
    # v = x / T = (1, 2, 3), u = w v = 0, t = 1: g = -v, H = v v^T, H g = -14 v, w H g = (-14, -28, 42)
    batches = [batch([200, 400, 600], 1)]
    model = three_weights()
    scores = prune.score(model, half_square, batches, "grasp")["0"]
    assert scores.tolist() == [pytest.approx([-14, -28, 42], rel=1e-5)]
    # the lowest go: 10^-0.3 of 3 weights keeps 1, 10^-0.17 keeps 2
    prune.prune_model(model, half_square, batches, "grasp", 0.17)
    assert model[0].weight_mask.tolist() == [[True, False, True]]
    prune.prune_model(model, half_square, batches, "grasp", 0.3)
    assert model[0].weight_mask.tolist() == [[False, False, True]]


def test_synflow_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
        model[2].weight.copy_(torch.tensor([[-1.0, 2.0]]))
    # |W1| 1 = (3, 3), R = 1 * 3 + 2 * 3 = 9; |W1| * dR/d|W1| = |W1| * (1, 2)^T, |W2| * dR/d|W2| = (1, 2) * (3, 3)
    for rows in (1, 5):  # R is per sample; signs, values and biases do not matter
        scores = prune.score(model, half_square, [((-torch.rand(rows, 2),), None)], "synflow")
        assert scores["0"].tolist() == [[1.0, 2.0], [0.0, 6.0]]
        assert scores["2"].tolist() == [[3.0, 6.0]]


def mlp(*sizes: int, bias: bool = True, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, bias=bias), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double()


def some_batches(count: int, inputs: int, classes: int, seed: int = 1) -> list[tuple[tuple[Tensor], Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            (torch.randn(6, inputs, generator=generator, dtype=torch.float64),),
            torch.randint(classes, (6,), generator=generator),
        )
        for _ in range(count)
    ]


def flat_loss(model: nn.Module, batches: list, temperature: float, names: list[str]):
    """The summed loss as a function of the flattened weights of `names`, for torch.autograd.functional."""
    sizes = [model.get_submodule(n).weight.shape for n in names]

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([s.numel() for s in sizes])
        weights = {f"{n}.weight": p.view(s) for n, p, s in zip(names, parts, sizes, strict=True)}
        outputs = [torch.func.functional_call(model, weights, x) / temperature for x, _ in batches]
        return sum(functional.cross_entropy(o, y) for o, (_, y) in zip(outputs, batches, strict=True))

    return loss, torch.cat([model.get_submodule(n).weight.detach().flatten() for n in names])


def flatten(scores: dict[str, Tensor]) -> Tensor:
    return torch.cat([s.flatten() for s in scores.values()])


def test_grasp_is_the_full_hessian_times_the_gradient() -> None:
    model, batches = mlp(4, 3, 3), some_batches(3, 4, 3)
    loss, w = flat_loss(model, batches, 200, ["0", "2"])
    hessian = torch.autograd.functional.hessian(loss, w)
    gradient = torch.autograd.functional.jacobian(loss, w)
    scores = flatten(prune.score(model, functional.cross_entropy, batches, "grasp"))
    torch.testing.assert_close(scores, w * (hessian @ gradient), rtol=1e-9, atol=1e-15)


def test_snip_is_the_weight_times_the_plain_gradient() -> None:
    model, batches = mlp(4, 3, 3), some_batches(3, 4, 3)
    twin = copy.deepcopy(model)
    for x, y in batches:
        functional.cross_entropy(twin(*x), y).backward()
    scores = prune.score(model, functional.cross_entropy, batches, "snip")
    for name, s in scores.items():
        weight = twin.get_submodule(name).weight
        torch.testing.assert_close(s, (weight * weight.grad).abs().detach())


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (2, 4)).transpose(1, 2) for f in (self.query, self.key, self.value))
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.out(attended).mean(1)


@pytest.mark.parametrize("masked", [False, True])
def test_grasp_matches_finite_differences_through_attention(masked: bool) -> None:
    torch.manual_seed(0)
    model = Attention().double()
    generator = torch.Generator().manual_seed(2)
    batches = [
        ((torch.randn(3, 5, 8, generator=generator, dtype=torch.float64),), torch.tensor([0, 3, 7]))
        for _ in range(2)
    ]
    kept = torch.ones(256, dtype=torch.bool)
    if masked:
        report = prune.prune_model(
            model, functional.cross_entropy, batches, "random", 0.2, generator=generator
        )
        kept = torch.cat([m.weight_mask.flatten() for m in model.children()])
        assert kept.sum() == report.kept == 161
    # gradients by backward() of the dense formula on w * mask; the step moves only what is kept
    twin = Attention().double()
    w = flatten({n: m.weight.detach() for n, m in model.named_children()}) * kept

    def gradient(flat: Tensor) -> Tensor:
        state = {n: p.detach().clone() for n, p in model.named_parameters()}
        for (name, _), part in zip(model.named_children(), flat.split(64), strict=True):
            state[f"{name}.weight"] = part.view(8, 8)
        twin.load_state_dict(state)
        twin.zero_grad()
        for x, y in batches:
            functional.cross_entropy(twin(*x) / 200, y).backward()
        return flatten({n: m.weight.grad for n, m in twin.named_children()}) * kept

    g = gradient(w)
    step = 1e-2 / g.norm()
    product = (gradient(w + step * g) - gradient(w - step * g)) / (2 * step)
    scores = flatten(prune.score(model, functional.cross_entropy, batches, "grasp"))
    expected = w * product
    assert (scores - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (scores[~kept] == 0).all()


@pytest.mark.parametrize("method", ["magnitude", "snip", "grasp", "synflow"])
def test_what_a_pruned_weight_holds_does_not_matter(method: str) -> None:
    model, batches = mlp(4, 3, 3), some_batches(2, 4, 3)
    masks = {name: torch.rand(m.weight.shape) < 0.6 for name, m in prune.mask_linears(model).items()}
    scores = {}
    for poison in (0.0, float("nan"), float("inf")):
        for name, mask in masks.items():
            layer = model.get_submodule(name)
            layer.weight_mask.copy_(mask)
            layer.weight.data[~mask] = poison
        scores[poison] = flatten(prune.score(model, functional.cross_entropy, batches, method))
    reference = scores[0.0]
    assert (reference[~torch.cat([m.flatten() for m in masks.values()])] == 0).all()
    assert all(torch.equal(s, reference) for s in scores.values())


@pytest.mark.parametrize("density_kept", [1.0, 0.5])
def test_synflow_layer_sums_are_conserved(density_kept: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(7, 11), nn.ReLU(), nn.Linear(11, 5), nn.ReLU(), nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3)
    ).double()
    for layer in prune.mask_linears(model).values():
        layer.weight_mask.copy_(torch.rand(layer.weight.shape) < density_kept)
    scores = prune.score(model, functional.cross_entropy, [((torch.randn(2, 7).double(),), None)], "synflow")
    flow = torch.ones(7).double()
    for layer in model[::2]:  # type: ignore[attr-defined]
        flow = (layer.weight * layer.weight_mask).detach().abs() @ flow
    assert flow.sum() > 0
    for s in scores.values():
        torch.testing.assert_close(s.sum(), flow.sum())


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(50, 4, mode="mean")
        self.fc = nn.Linear(4, 3)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        return self.fc(self.embedding(tokens, offsets))


def test_synflow_of_a_token_model_sees_ones_behind_the_embedding() -> None:
    model = Bag()
    tokens = (torch.randint(50, (20,)), torch.tensor([0, 7, 7]))  # the second bag is empty
    scores = prune.score(model, functional.cross_entropy, [(tokens, None)], "synflow")
    # R = sum |W| per sample, so the score is |W|
    torch.testing.assert_close(scores["fc"], model.fc.weight.detach().abs())
    assert not model.embedding._forward_hooks


class Normalised(nn.Module):
    """Offers its linear form: the norm is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = False
        self.fc, self.norm, self.head = nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        return self.head(h if self.inside else self.norm(h))

    def synflow_form(self):
        @contextmanager
        def form():
            self.inside = True
            try:
                yield
            finally:
                self.inside = False

        return form()


def test_synflow_uses_the_linear_form_that_a_module_offers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Normalised())
    scores = prune.score(model, functional.cross_entropy, [((torch.randn(2, 3),), None)], "synflow")
    w1, w2 = model[0].fc.weight.detach().abs(), model[0].head.weight.detach().abs()
    torch.testing.assert_close(scores["0.fc"], w1 * w2.sum(0)[:, None])
    torch.testing.assert_close(scores["0.head"], w2 * w1.sum(1))
    assert not model[0].inside


def test_synflow_refuses_what_is_not_homogeneous() -> None:
    batches = [((torch.randn(2, 3),), None)]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    with pytest.raises(PruneError, match=r"layer '2' gets negative input in the linear form.*synflow_form"):
        prune.score(model, functional.cross_entropy, batches, "synflow")
    # the norm of a constant is zero
    model = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2))
    with pytest.raises(PruneError, match=r"no synaptic flow reaches the output.*synflow_form"):
        prune.score(model, functional.cross_entropy, batches, "synflow")
    model = nn.Sequential(nn.Linear(3, 2), nn.LogSoftmax(-1))
    with pytest.raises(PruneError, match="the synaptic flow is -"):
        prune.score(model, functional.cross_entropy, batches, "synflow")
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_random_is_uniform_and_follows_its_generator() -> None:
    model = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))

    def draw(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return flatten(prune.score(model, functional.cross_entropy, [], "random", generator=generator))

    first = draw(0)
    assert torch.equal(first, draw(0))
    assert not torch.equal(first, draw(1))
    assert first.min() >= 0
    assert first.max() < 1
    assert first.mean().item() == pytest.approx(0.5, abs=0.01)  # standard error 0.002
    assert first[:10_000].unique().numel() > 9_000


def test_two_layers_that_share_one_weight_are_scored_for_their_own_use() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)).double()
    model[1].weight = model[0].weight
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    x = torch.tensor([[1.0, 1.0]]).double()
    scores = prune.score(model, lambda out, _: out.sum(), [((x,), None)], "snip")
    # y = W W x: with u = 1, d/dW(first use) = (W^T u) x^T = (4, 6)^T (1, 1); second use = u (W x)^T = (3, 7)
    assert scores["0"].tolist() == [[4.0, 8.0], [18.0, 24.0]]
    assert scores["1"].tolist() == [[3.0, 14.0], [9.0, 28.0]]


def test_a_layer_used_twice_is_scored_once_for_both_uses() -> None:
    shared = nn.Linear(1, 1, bias=False).double()
    model = nn.Sequential(shared, shared)
    with torch.no_grad():
        shared.weight.fill_(3.0)
    x = torch.ones(1, 1).double()
    # y = w^2, dy/dw = 6, |w dy/dw| = 18
    assert prune.score(model, lambda out, _: out.sum(), [((x,), None)], "snip")["0"].item() == 18


def test_scores_have_the_dtype_of_the_weight_and_are_computed_in_float32_at_least() -> None:
    model, batches = mlp(4, 3, 3), some_batches(2, 4, 3)
    half = copy.deepcopy(model).bfloat16()
    batches16 = [((x.bfloat16(),), y) for (x,), y in batches]
    exact = copy.deepcopy(half).double()
    batches64 = [((x.double(),), y) for (x,), y in batches16]
    for method in ("random", "magnitude", "snip", "grasp", "synflow"):
        for twin, data, dtype in ((model, batches, torch.float64), (half, batches16, torch.bfloat16)):
            scores = prune.score(twin, functional.cross_entropy, data, method)
            assert all(s.dtype == dtype and not s.requires_grad for s in scores.values())
    scores = flatten(prune.score(half, functional.cross_entropy, batches16, "grasp")).double()
    # one rounding to bfloat16 (8 bits) and no more
    torch.testing.assert_close(
        scores,
        flatten(prune.score(exact, functional.cross_entropy, batches64, "grasp")),
        rtol=2**-8,
        atol=1e-12,
    )


def test_autocast_around_the_call_has_no_influence() -> None:
    model, batches = mlp(4, 3, 3).float(), [((x.float(),), y) for (x,), y in some_batches(2, 4, 3)]
    expected = flatten(prune.score(model, functional.cross_entropy, batches, "grasp"))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert torch.equal(flatten(prune.score(model, functional.cross_entropy, batches, "grasp")), expected)


def test_an_unused_layer_scores_zero() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    model.unused = nn.Linear(2, 2)
    model.forward = lambda x: model[0](x)
    scores = prune.score(
        model, functional.cross_entropy, [((torch.randn(2, 3),), torch.tensor([0, 3]))], "grasp"
    )
    assert (scores["0"] != 0).any()
    assert (scores["unused"] == 0).all()


def test_a_loss_linear_in_the_weights_has_no_curvature() -> None:
    scores = prune.score(three_weights(), lambda out, _: out.sum(), [batch([1, 2, 3], 0)], "grasp")
    assert (scores["0"] == 0).all()


def test_skipped_layers_are_not_scored_but_used() -> None:
    model, batches = mlp(4, 3, 3), some_batches(2, 4, 3)
    full = prune.score(model, functional.cross_entropy, batches, "snip")
    assert set(full) == {"0", "2"}
    partial = prune.score(model, functional.cross_entropy, batches, "snip", skip=["0"])
    assert set(partial) == {"2"}
    torch.testing.assert_close(partial["2"], full["2"])


def test_a_loss_that_looks_at_the_weights_counts() -> None:
    model = two_weights(3, 5)
    scores = prune.score(
        model, lambda _output, _target: model[0].weight.square().sum(), [batch([1], 0)], "snip"
    )
    assert (scores["0"].item(), scores["1"].item()) == (18.0, 0.0)
