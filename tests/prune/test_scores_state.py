"""Scoring and pruning leave the model, its gradients and the random state alone, errors or not."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import prune

METHODS = ["random", "magnitude", "snip", "grasp", "synflow"]


class Noisy(nn.Module):
    """Draws a random number in every forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0 * torch.rand(()).to(x)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 8),
        nn.BatchNorm1d(8),
        Noisy(),
        nn.Dropout(0.5),
        nn.ReLU(),
        nn.Linear(8, 8),
        nn.Linear(8, 3),
    )
    model.train()
    model[1].eval()  # a frozen norm in a training model
    model[5].weight.requires_grad_(False)
    model[0].weight.grad = torch.full_like(model[0].weight, 2.0)
    return model


def snapshot(model: nn.Module) -> dict:
    return {
        "state": copy.deepcopy(model.state_dict()),
        "training": {name: m.training for name, m in model.named_modules()},
        "types": {name: type(m) for name, m in model.named_modules()},
        "parameters": {name: id(p) for name, p in model.named_parameters()},
        "grads": {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "hooks": [name for name, m in model.named_modules() if m._forward_hooks or m._forward_pre_hooks],
        "random": torch.get_rng_state(),
    }


def assert_same(before: dict, after: dict) -> None:
    for key in before:
        if key in ("state", "grads"):
            assert before[key].keys() == after[key].keys()
            for name, value in before[key].items():
                same = value is after[key][name] is None or torch.equal(value, after[key][name])
                assert same, f"{key} of {name}"
        elif key == "random":
            assert torch.equal(before[key], after[key])
        else:
            assert before[key] == after[key], key


def batches() -> list[tuple[tuple[Tensor], Tensor]]:
    return [((torch.randn(5, 6),), torch.randint(3, (5,))) for _ in range(2)]


def drawing_loss(output: Tensor, target: Tensor) -> Tensor:
    torch.rand(3)
    return functional.cross_entropy(output, target)


@pytest.mark.parametrize("method", METHODS)
def test_score_changes_nothing(method: str) -> None:
    model, data = network(), batches()
    before = snapshot(model)
    prune.score(model, drawing_loss, data, method)
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("method", METHODS)
def test_prune_model_changes_only_modules_and_masks(method: str) -> None:
    model, data = network(), batches()
    before = snapshot(model)
    prune.prune_model(model, drawing_loss, data, method, 0.5, shuffle=True, iterations=2)
    after = snapshot(model)
    masks = {name: after["state"].pop(name) for name in list(after["state"]) if name.endswith("weight_mask")}
    assert sum(int(m.sum()) for m in masks.values()) == 43  # 136 * 0.31623 = 43.007
    assert {n for n, t in after["types"].items() if t is prune.MaskedLinear} == {"0", "5", "6"}
    assert_same(before | {"types": None}, after | {"types": None})


@pytest.mark.parametrize("method", ["snip", "grasp"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_loss_that_raises_leaves_the_model_as_it_was(method: str, call: int) -> None:
    model, data = network(), batches()
    calls = 0

    def loss(output: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == call:
            raise RuntimeError("no more")
        return drawing_loss(output, target)

    before = snapshot(model)
    with pytest.raises(RuntimeError, match="no more"):
        prune.prune_model(model, loss, data, method, 0.5, iterations=2)
    assert_same(before, snapshot(model))
    calls = call - 2 if call == 3 else 0
    with pytest.raises(RuntimeError, match="no more"):
        prune.score(model, loss, data, method)
    assert_same(before, snapshot(model))


def test_a_model_that_raises_in_its_linear_form_is_left_as_it_was() -> None:
    model, data = network(), batches()
    model[2].forward = lambda x: x - 100
    before = snapshot(model)
    with pytest.raises(prune.PruneError, match="no synaptic flow"):
        prune.prune_model(model, functional.cross_entropy, data, "synflow", 1)
    assert_same(before, snapshot(model))


def test_scoring_is_in_eval_mode_with_gradients_whatever_surrounds_it() -> None:
    model, data = network(), batches()
    seen = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.append((any(m.training for m in model.modules()), torch.is_grad_enabled()))
        return functional.cross_entropy(output, target)

    with torch.no_grad():
        prune.score(model, loss, data, "grasp")
        assert not torch.is_grad_enabled()
    assert seen == [(False, True)] * 4
    # with dropout on, two runs would differ
    first = prune.score(model, functional.cross_entropy, data, "snip")
    second = prune.score(model, functional.cross_entropy, data, "snip")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_statistics_change_nothing() -> None:
    model, data = network(), batches()
    prune.prune_model(model, functional.cross_entropy, data, "random", 0.5)
    before = snapshot(model)
    prune.network_stats(model, data)
    assert_same(before, snapshot(model))


def test_frozen_weights_are_scored_like_the_others() -> None:
    model, data = network(), batches()
    frozen = prune.score(model, functional.cross_entropy, data, "snip")
    model[5].weight.requires_grad_(True)
    thawed = prune.score(model, functional.cross_entropy, data, "snip")
    assert torch.equal(frozen["5"], thawed["5"])
    assert frozen["5"].max() > 0
