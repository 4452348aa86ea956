"""The pruning loop: exact counts, iterations, scopes, ablations, errors and the report."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import prune
from prune.errors import PruneError
from prune.masks import kept_weights
from prune.methods import Products

METHODS = ["random", "magnitude", "snip", "grasp", "synflow"]
SIZES = {"0": 12 * 20, "2": 20 * 15, "4": 15 * 4}
TOTAL = sum(SIZES.values())


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 15), nn.ReLU(), nn.Linear(15, 4))


def batches() -> list[tuple[tuple[Tensor], Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        ((torch.randn(8, 12, generator=generator),), torch.randint(4, (8,), generator=generator))
        for _ in range(2)
    ]


def pruned(method: str, compression: float, **options) -> tuple[dict[str, Tensor], prune.PruneReport]:
    model = network()
    options.setdefault("generator", torch.Generator().manual_seed(2))
    report = prune.prune_model(model, functional.cross_entropy, batches(), method, compression, **options)
    return {n: m.weight_mask for n, m in model.named_modules() if isinstance(m, prune.MaskedLinear)}, report


def kept(masks: dict[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


@pytest.fixture
def _added_methods():
    before = dict(prune.METHODS)
    yield
    prune.METHODS.clear()
    prune.METHODS.update(before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("compression", [0, 0.05, 0.1, 0.5, 1, 1.5, 2, 2.7])
def test_the_count_is_exact_for_every_method(method: str, compression: float) -> None:
    masks, report = pruned(method, compression, iterations=None if method != "synflow" else 10)
    assert sum(kept(masks).values()) == kept_weights(TOTAL, compression) == report.kept
    assert report.total == TOTAL


@pytest.mark.parametrize("method", METHODS)
def test_one_shot_keeps_the_highest_scores(method: str) -> None:
    scores = prune.score(
        network(), functional.cross_entropy, batches(), method, generator=torch.Generator().manual_seed(2)
    )
    flat = torch.cat([s.flatten() for s in scores.values()])
    order = flat.argsort(descending=True, stable=True)
    expected = torch.zeros(TOTAL, dtype=torch.bool)
    expected[order[: kept_weights(TOTAL, 0.6)]] = True
    masks, report = pruned(method, 0.6, iterations=1)
    assert torch.equal(torch.cat([m.flatten() for m in masks.values()]), expected)
    assert report.threshold == pytest.approx(flat[expected].min().item(), rel=1e-6)
    assert {layer.threshold for layer in report.layers} == {report.threshold}


def test_compression_zero_needs_no_batches_and_scores_nothing() -> None:
    model = network()

    def loss(_output: Tensor, _target: Tensor) -> Tensor:
        raise AssertionError("scored")

    report = prune.prune_model(model, loss, [], "synflow", 0)
    assert (report.kept, report.density, report.target_density) == (TOTAL, 1.0, 1.0)
    assert (report.threshold, report.ties) == (None, 0)
    assert all(model[i].weight_mask.all() for i in (0, 2, 4))


def test_outputs_are_those_of_the_masked_weights() -> None:
    model, plain = network(), network()
    prune.prune_model(model, functional.cross_entropy, batches(), "magnitude", 0.5)
    with torch.no_grad():
        for i in (0, 2, 4):
            plain[i].weight *= model[i].weight_mask
    x = batches()[0][0][0]
    torch.testing.assert_close(model(x), plain(x))


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("schedule", ["exponential", "linear"])
@pytest.mark.parametrize("method", ["random", "grasp", "synflow"])
@pytest.mark.usefixtures("_added_methods")
def test_iterations_never_bring_a_weight_back(method, schedule, scope) -> None:
    seen = []
    function = prune.METHODS[method].function

    @prune.method("spy", iterations=6)
    def spy(scoring: prune.Scoring) -> list[Tensor]:
        seen.append(torch.cat([(w != 0).flatten() for w in scoring.weights]).detach())
        return function(scoring)

    masks, report = pruned("spy", 1.3, schedule=schedule, scope=scope)
    seen.append(torch.cat([m.flatten() for m in masks.values()]))
    assert len(seen) == 7
    assert report.iterations == 6
    counts = [int(s.sum()) for s in seen]
    assert counts == sorted(set(counts), reverse=True)
    for before, after in pairwise(seen):
        assert not (after & ~before).any()
    if scope == "global":
        assert counts[0] == TOTAL
        for i, count in enumerate(counts[1:], 1):
            density = 10 ** (-1.3 * i / 6) if schedule == "exponential" else 1 - (1 - 10**-1.3) * i / 6
            assert count == pytest.approx(density * TOTAL, abs=1)


def test_each_iteration_scores_the_network_as_it_is_masked_then() -> None:
    model = network()
    for compression in (0.25, 0.5):
        prune.prune_model(model, functional.cross_entropy, batches(), "grasp", compression)
    # half of the exponent in the first of two iterations
    masks, _ = pruned("grasp", 0.5, iterations=2)
    assert all(torch.equal(model.get_submodule(name).weight_mask, mask) for name, mask in masks.items())
    once, _ = pruned("grasp", 0.5)
    assert any(not torch.equal(once[name], mask) for name, mask in masks.items())


def test_synflow_takes_a_hundred_iterations_and_keeps_paths_open_where_one_shot_does_not() -> None:
    torch.manual_seed(0)

    def live(iterations: int | None) -> int:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 4), nn.ReLU(), nn.Linear(4, 50))
        data = [((torch.randn(2, 50),), None)]
        report = prune.prune_model(
            model, functional.cross_entropy, data, "synflow", 2.2, iterations=iterations
        )
        assert report.iterations == (iterations or 100)
        assert report.kept == 18
        return sum(layer.live for layer in prune.network_stats(model, data).layers)

    # one shot keeps the narrow layers only; iterating keeps every layer, and every kept weight on a path
    assert live(1) == 0
    assert live(None) == 18


def test_layer_scope_keeps_the_same_fraction_of_each() -> None:
    masks, report = pruned("magnitude", 1, scope="layer")
    assert kept(masks) == {"0": 24, "2": 30, "4": 6}
    model = network()
    for layer in report.layers:
        weight = model.get_submodule(layer.name).weight.detach().abs()
        assert layer.threshold == weight.flatten().topk(layer.kept).values.min()
    assert report.threshold is None
    assert report.ties == 3


def test_layer_scope_may_leave_a_small_layer_empty_but_not_all() -> None:
    masks, report = pruned("magnitude", 2, scope="layer")
    assert kept(masks) == {"0": 2, "2": 3, "4": 0}
    assert report.layers[2].threshold == float("inf")
    with pytest.raises(
        PruneError, match=r"keeps none of 600 .*300 in the largest layer: 2\.4771 is the most"
    ):
        pruned("magnitude", 2.5, scope="layer")
    masks, _ = pruned("magnitude", 2.4771, scope="layer")
    assert kept(masks) == {"0": 0, "2": 1, "4": 0}


def test_nothing_kept_is_an_error_that_names_the_limit() -> None:
    with pytest.raises(
        PruneError, match=r"compression 3 keeps none of 600 prunable weights: 2\.7781 is the most"
    ):
        pruned("magnitude", 3)
    _, report = pruned("magnitude", 2.7781)
    assert report.kept == 1


@pytest.mark.usefixtures("_added_methods")
def test_ties_are_counted_and_go_to_the_lowest_index() -> None:
    @prune.method("constant")
    def constant(scoring: prune.Scoring) -> list[Tensor]:
        return [torch.ones_like(w) for w in scoring.weights]

    for invert in (False, True):
        masks, report = pruned("constant", 1, invert=invert)
        assert kept(masks) == {"0": 60, "2": 0, "4": 0}
        assert masks["0"].flatten()[:60].all()
        assert (report.threshold, report.ties) == (1.0, TOTAL)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_shuffle_permutes_inside_each_layer(scope: str) -> None:
    plain, _ = pruned("magnitude", 0.5, scope=scope)
    mixed, report = pruned("magnitude", 0.5, scope=scope, shuffle=True)
    assert report.shuffle
    assert kept(mixed) == kept(plain)
    for name, mask in plain.items():
        overlap = int((mask & mixed[name]).sum())
        # a permutation keeps density * kept in place, about a third here
        assert overlap < 0.6 * mask.sum()
    again, _ = pruned("magnitude", 0.5, scope=scope, shuffle=True)
    other, _ = pruned("magnitude", 0.5, scope=scope, shuffle=True, generator=torch.Generator().manual_seed(9))
    assert all(torch.equal(again[name], mask) for name, mask in mixed.items())
    assert not torch.equal(other["0"], mixed["0"])


@pytest.mark.parametrize("method", ["random", "magnitude", "snip", "grasp", "synflow"])
def test_invert_keeps_exactly_what_the_opposite_count_drops(method: str) -> None:
    # 10^-0.301... keeps 300 of 600, so the lowest 300 are the complement of the highest
    half = 0.30102999566398120
    plain, report = pruned(method, half, iterations=1)
    inverted, other = pruned(method, half, iterations=1, invert=True)
    assert report.kept == other.kept == 300
    assert all(torch.equal(inverted[name], ~mask) for name, mask in plain.items())
    assert other.threshold < report.threshold


@pytest.mark.usefixtures("_added_methods")
def test_invert_works_with_infinities_and_never_brings_back() -> None:
    @prune.method("extreme", iterations=3)
    def extreme(scoring: prune.Scoring) -> list[Tensor]:
        scores = [torch.randn(w.shape, generator=scoring.generator) for w in scoring.weights]
        scores[0][:2], scores[2][:2] = float("inf"), float("-inf")
        return scores

    masks, report = pruned("extreme", 0.2, invert=True)
    assert report.kept == kept_weights(TOTAL, 0.2)
    assert masks["4"][:2].all()
    assert not masks["0"][:2].any()


def test_pruning_again_starts_from_what_is_left() -> None:
    model = network()
    arguments = (model, functional.cross_entropy, batches())
    prune.prune_model(*arguments, "random", 0.5, generator=torch.Generator().manual_seed(3))
    first = [m.weight_mask.clone() for m in model[::2]]  # type: ignore[attr-defined]
    report = prune.prune_model(*arguments, "random", 1, iterations=5, shuffle=True)
    assert report.kept == 60
    assert not any((m.weight_mask & ~mask).any() for m, mask in zip(model[::2], first, strict=True))
    with pytest.raises(PruneError, match="asks for 189 weights, but earlier pruning left 60"):
        prune.prune_model(*arguments, "random", 0.5)
    assert sum(int(m.weight_mask.sum()) for m in model[::2]) == 60  # type: ignore[attr-defined]


def test_skipped_layers_stay_plain() -> None:
    model = network()
    report = prune.prune_model(model, functional.cross_entropy, batches(), "snip", 1, skip=["4"])
    assert [layer.name for layer in report.layers] == ["0", "2"]
    assert (type(model[4]), report.total, report.kept) == (nn.Linear, 540, 54)
    with pytest.raises(ValueError, match="did you mean"):
        prune.prune_model(model, functional.cross_entropy, batches(), "snip", 1, skip=["44"])


def test_the_report_says_what_was_asked_and_done() -> None:
    masks, report = pruned("grasp", 1, iterations=3, schedule="linear")
    assert (report.method, report.compression, report.scope) == ("grasp", 1, "global")
    assert (report.schedule, report.iterations, report.shuffle, report.invert) == ("linear", 3, False, False)
    assert (report.target_density, report.density) == (0.1, 0.1)
    assert {layer.name: layer.total for layer in report.layers} == SIZES
    assert {layer.name: layer.kept for layer in report.layers} == kept(masks)
    assert report.layers[0].density == report.layers[0].kept / 240
    assert report.ties == 1
    assert 0 < report.seconds < 60


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(
        PruneError, match=r"unknown pruning method 'gasp' \(did you mean 'grasp'\?\): known are random"
    ):
        pruned("gasp", 1)
    with pytest.raises(PruneError, match=r"unknown scope 'globl' \(did you mean 'global'\?\)"):
        pruned("grasp", 1, scope="globl")
    with pytest.raises(PruneError, match=r"unknown schedule 'exp'"):
        pruned("grasp", 1, schedule="exp")
    with pytest.raises(PruneError, match="iterations is 0"):
        pruned("grasp", 1, iterations=0)
    with pytest.raises(PruneError, match="compression is -1"):
        pruned("grasp", -1)


@pytest.mark.usefixtures("_added_methods")
def test_a_method_of_ones_own() -> None:
    @prune.method("first", iterations=2)
    def first(scoring: prune.Scoring) -> list[Tensor]:
        return [-torch.arange(w.numel()).float().view_as(w) for w in scoring.weights]

    masks, report = pruned("first", 2)
    assert report.iterations == 2
    assert kept(masks) == {"0": 2, "2": 2, "4": 2}
    with pytest.raises(PruneError, match="'first' is registered already"):
        prune.method("first")
    for name in (5, first):  # the second is @prune.method without brackets
        with pytest.raises(PruneError, match=r'its name is not a string: write @method\("name"\)$'):
            prune.method(name)
    with pytest.raises(PruneError, match="'never' has iterations=0"):
        prune.method("never", iterations=0)


@pytest.mark.usefixtures("_added_methods")
def test_a_method_that_returns_nonsense_is_named() -> None:
    @prune.method("short")
    def short(scoring: prune.Scoring) -> list[Tensor]:
        return [scoring.weights[0]]

    with pytest.raises(
        PruneError, match=r"'short' returned scores of shapes \[\(20, 12\)\]: return one per weight"
    ):
        pruned("short", 1)

    @prune.method("nan")
    def nan(scoring: prune.Scoring) -> list[Tensor]:
        return [torch.zeros_like(scoring.weights[0]), *(w / 0 * 0 for w in scoring.weights[1:])]

    with pytest.raises(PruneError, match="'nan' gives NaN in layer '2'"):
        pruned("nan", 1)


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (lambda _: None, "None"),
        (lambda weights: dict(enumerate(weights)), "dict"),
        (lambda weights: (w.abs() for w in weights), "generator"),
        (lambda weights: torch.cat([w.flatten() for w in weights]), "Tensor of torch.float32"),
        (lambda _: 1.0, "float"),
        (lambda weights: [w.detach().numpy() for w in weights], "a list with ndarray"),
        (lambda weights: [w.tolist() for w in weights], "a list with list"),
        (lambda weights: [*weights[:2], weights[2].long()], "a list with Tensor of torch.int64"),
        (lambda weights: [*weights[:2], weights[2] > 0], "a list with Tensor of torch.bool"),
        (lambda weights: Products([w.int() for w in weights], weights), "a list with Tensor of torch.int32"),
        (lambda weights: Products(weights, None), "None"),
        (lambda weights: weights[:2], r"scores of shapes \[\(20, 12\), \(15, 20\)\]"),
        (lambda _: [], r"scores of shapes \[\]"),
        (lambda weights: [w.T for w in weights], r"scores of shapes \[\(12, 20\), \(20, 15\), \(15, 4\)\]"),
        (lambda weights: Products(weights, weights[:1]), r"scores of shapes \[\(20, 12\)\]"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_added_methods")
def test_what_is_no_scores_is_named(returned, found) -> None:
    prune.method("odd")(lambda scoring: returned(scoring.weights))
    wanted = (
        r"one per weight, \[\(20, 12\), \(15, 20\), \(4, 15\)\]"
        if "shapes" in found
        else "a list of one float tensor of scores per weight tensor, of the same shape"
    )
    with pytest.raises(PruneError, match=f"^pruning method 'odd' returned {found}: return {wanted}$"):
        pruned("odd", 1)


def zero(weight: Tensor) -> None:
    weight.data.zero_()


def swap_two(weight: Tensor) -> None:
    weight.data[0] = weight.data[0].flip(0)


def turn_one_round(weight: Tensor) -> None:
    weight.data[1, 2] *= -1


def widen(weight: Tensor) -> None:
    weight.data = weight.data.double()


@pytest.mark.parametrize("change", [zero, swap_two, turn_one_round, widen])
@pytest.mark.usefixtures("_added_methods")
def test_a_method_that_changes_the_models_weights_is_named(change) -> None:
    @prune.method("meddler")
    def meddler(scoring: prune.Scoring) -> list[Tensor]:
        change(scoring.model[2].weight)
        return [w.abs() for w in scoring.weights]

    message = (
        r"^pruning method 'meddler' changed the model's weights \(layer '2'\); work on scoring\.weights$"
    )
    with pytest.raises(PruneError, match=message):
        pruned("meddler", 1)
    with pytest.raises(PruneError, match=message):
        prune.score(network(), functional.cross_entropy, batches(), "meddler")


@pytest.mark.usefixtures("_added_methods")
def test_a_method_may_change_its_own_copy_of_the_weights_which_may_hold_anything_where_pruned() -> None:
    @prune.method("probe")
    def probe(scoring: prune.Scoring) -> list[Tensor]:
        for weight in scoring.weights:
            weight.data.abs_()
        return scoring.gradient()

    model, plain = network(), network()
    prune.prune_model(model, functional.cross_entropy, batches(), "random", 0.5)
    for layer in model[::2]:  # type: ignore[attr-defined]
        layer.weight.data[~layer.weight_mask] = float("nan")
    assert prune.prune_model(model, functional.cross_entropy, batches(), "probe", 1).kept == 60
    for layer, before in zip(model[::2], plain[::2], strict=True):
        assert torch.equal(
            layer.weight.where(layer.weight_mask, 0), before.weight.where(layer.weight_mask, 0)
        )


@pytest.mark.parametrize("method", ["snip", "grasp", "synflow"])
def test_missing_and_malformed_batches_are_named(method: str) -> None:
    with pytest.raises(PruneError, match="give at least one"):
        prune.prune_model(network(), functional.cross_entropy, [], method, 1)
    with pytest.raises(PruneError, match=r"batch 0 is not .*found Tensor: put the inputs in a tuple"):
        prune.prune_model(
            network(), functional.cross_entropy, [(torch.randn(2, 12), torch.zeros(2))], method, 1
        )


def test_a_model_without_linear_layers_is_named() -> None:
    with pytest.raises(PruneError, match=r"Conv1d has no nn\.Linear left to prune"):
        prune.prune_model(nn.Conv1d(1, 1, 1), functional.cross_entropy, batches(), "random", 1)


def test_a_loss_without_weights_in_it_is_named() -> None:
    with pytest.raises(PruneError, match="the loss of batch 0 does not depend on any prunable weight"):
        prune.prune_model(network(), lambda out, _: out.detach().sum(), batches(), "snip", 1)


def test_every_error_is_one_line() -> None:
    for arguments in (("gasp", 1), ("grasp", 9), ("grasp", -1), ("grasp", float("nan"))):
        with pytest.raises(PruneError) as caught:
            pruned(*arguments)
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, ValueError)
