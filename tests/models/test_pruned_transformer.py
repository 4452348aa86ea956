"""A pruned weight of the translation model has no effect anywhere; GraSP and SynFlow score it."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models import Seq2SeqTransformer, translate
from prune.linear_form import live_weights
from prune.masked_linear import mask_linears
from prune.methods import score
from prune.pruner import prune_model

PAD = 1
D, FFN, VOCAB = 16, 24, 30


def tiny(**changes: int) -> Seq2SeqTransformer:
    sizes = {"d_model": D, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "ffn": FFN, "max_len": 32}
    return Seq2SeqTransformer(40, VOCAB, dropout=0.1, **sizes | changes)


def sentences() -> tuple[Tensor, Tensor]:
    src, tgt = torch.randint(4, 40, (4, 7)), torch.randint(4, VOCAB, (4, 6))
    src[0, 4:] = src[2, 6:] = tgt[1, 3:] = tgt[2, 5:] = PAD
    return src, tgt


def token_loss(logits: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD)


def batches(count: int = 1) -> list[tuple[tuple[Tensor, Tensor], Tensor]]:
    drawn = [sentences() for _ in range(count)]
    return [((src, tgt[:, :-1]), tgt[:, 1:]) for src, tgt in drawn]


@pytest.fixture(params=[torch.nan, 1e9])
def twins(request: pytest.FixtureRequest) -> tuple[Seq2SeqTransformer, Seq2SeqTransformer]:
    """A model with every linear layer masked at random, and the same with junk in the pruned weights."""
    clean, junk = tiny(), tiny()
    junk.load_state_dict(clean.state_dict())
    masked = mask_linears(junk)
    for name, layer in mask_linears(clean).items():
        mask = torch.rand(layer.weight.shape) < 0.4
        layer.weight_mask.copy_(mask)
        masked[name].weight_mask.copy_(mask)
        with torch.no_grad():
            masked[name].weight.masked_fill_(~mask, request.param)
    assert len(masked) == 2 + 2 + 3 + 2 + 2 + 1
    return clean, junk


def gradients(model: Seq2SeqTransformer, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def outputs(model: Seq2SeqTransformer) -> list[Tensor]:
    return [model(*sentences())]


def trained(model: Seq2SeqTransformer) -> list[Tensor]:
    src, tgt = sentences()
    logits = model(src, tgt[:, :-1])
    return [logits, *gradients(model, token_loss(logits.float(), tgt[:, 1:]))]


def chunked(model: Seq2SeqTransformer) -> list[Tensor]:
    loss = model.loss(*sentences(), chunk=5)
    return [loss, *gradients(model, loss)]


def compiled(model: Seq2SeqTransformer) -> list[Tensor]:
    torch.compiler.reset()
    (src, tgt), function = sentences(), torch.compile(model, fullgraph=True, backend="aot_eager")
    logits = function(src, tgt[:, :-1])
    return [logits, *gradients(model, token_loss(logits, tgt[:, 1:]))]


def twice(model: Seq2SeqTransformer) -> list[Tensor]:
    src, tgt = sentences()
    parameters = list(model.parameters())
    loss = token_loss(model(src, tgt[:, :-1]), tgt[:, 1:])
    first = torch.autograd.grad(loss, parameters, create_graph=True)
    return list(torch.autograd.grad(sum(g.square().sum() for g in first), parameters))


def decoded(model: Seq2SeqTransformer) -> list[Tensor]:
    src = sentences()[0].tolist()
    found = [*translate(model, src, max_len=9), *translate(model, src, max_len=9, beam=3)]
    return [torch.tensor(tokens) for tokens in found]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("outcome", [trained, chunked, outputs, decoded])
def test_a_pruned_weight_has_no_effect(
    device: str,
    twins: tuple[Seq2SeqTransformer, Seq2SeqTransformer],
    outcome: Callable[[Seq2SeqTransformer], list[Tensor]],
    autocast: bool,
    training: bool,
) -> None:
    found = []
    for model in twins:
        torch.manual_seed(1)
        with (
            torch.autocast(device, torch.bfloat16, enabled=autocast),
            torch.no_grad() if outcome is outputs else nullcontext(),
        ):
            found.append(outcome(model.train(training)))
    for clean, junk in zip(*found, strict=True):
        assert clean.isfinite().all()
        assert torch.equal(clean, junk)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu"], indirect=True)  # a default device is not compiled
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_pruned_weight_has_no_effect_when_compiled(
    twins: tuple[Seq2SeqTransformer, Seq2SeqTransformer], training: bool
) -> None:
    found = []
    for model in twins:
        torch.manual_seed(1)
        found.append(compiled(model.train(training)))
    for clean, junk in zip(*found, strict=True):
        assert clean.isfinite().all()
        assert torch.equal(clean, junk)
    if not training:
        torch.manual_seed(1)
        for got, want in zip(found[0], trained(twins[0]), strict=True):
            torch.testing.assert_close(got, want)


def test_a_pruned_weight_has_no_effect_on_second_derivatives(
    twins: tuple[Seq2SeqTransformer, Seq2SeqTransformer],
) -> None:
    found = []
    for model in twins:
        torch.manual_seed(1)
        found.append(twice(model.eval()))
    for clean, junk in zip(*found, strict=True):
        assert clean.isfinite().all()
        assert torch.equal(clean, junk)


@pytest.mark.parametrize("prunable", ["paper", "all"])
def test_grasp_agrees_with_finite_differences(prunable: str) -> None:
    model, data = tiny().double(), batches(2)
    skip = model.unpruned(prunable)
    found = score(model, token_loss, data, "grasp", skip=skip)
    weights = {name: model.get_submodule(name).weight for name in found}

    def gradient() -> dict[str, Tensor]:
        loss = sum(token_loss(model(*inputs) / 200, target) for inputs, target in data)
        return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))

    model.eval()
    direction = gradient()
    step = 1e-5 / max(g.abs().max().item() for g in direction.values())
    ends = []
    for sign in (step, -step):
        with torch.no_grad():
            for name, weight in weights.items():
                weight.add_(sign * direction[name])
        ends.append(gradient())
        with torch.no_grad():
            for name, weight in weights.items():
                weight.sub_(sign * direction[name])
    for name, weight in weights.items():
        expected = weight.detach() * (ends[0][name] - ends[1][name]) / (2 * step)
        assert found[name].abs().max() > 0, name
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_synflow_with_equal_weights_by_hand() -> None:
    w = 0.05
    model = tiny(encoder_layers=2, decoder_layers=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(
                -w
            )  # the sign has to go, and so have biases and what normalisation multiplies with
    src, tgt = sentences()
    found = score(model, token_loss, [((src, tgt), None)], "synflow")
    # every element is the same at every position, so attention, a mean over positions, is v and then out_proj
    linear = D * w
    attention, feed_forward = linear**2, linear * FFN * w
    memory = D**0.5 * ((1 + attention) * (1 + feed_forward)) ** 2
    x = D**0.5
    for _ in range(3):
        x = (x * (1 + attention) + memory * attention) * (1 + feed_forward)
    flow = tgt.size(1) * VOCAB * linear * x
    # all of it passes the generator, and the weights of each layer are equal
    torch.testing.assert_close(found["generator"], torch.full((VOCAB, D), flow / (VOCAB * D)))
    # the last feed-forward adds its share of what reaches it
    last = flow * feed_forward / (1 + feed_forward)
    assert found["decoder.layers.2.feed_forward.linear1"].sum().item() == pytest.approx(last, rel=1e-5)


def test_synflow_is_conserved_through_every_unit() -> None:
    model = tiny(encoder_layers=2, decoder_layers=2).double()
    found = score(model, token_loss, batches(), "synflow")

    def conserved(into: Tensor, out_of: Tensor) -> None:
        assert (into.sum(1) > 0).all()
        torch.testing.assert_close(into.sum(1), out_of.sum(0), rtol=1e-9, atol=0)

    for name in found:
        layer = name.rpartition(".")[0]
        if name.endswith("linear1"):
            conserved(found[name], found[f"{layer}.linear2"])
        if name.endswith("qkv"):
            conserved(found[name][2 * D :], found[f"{layer}.out_proj"])
            assert not found[name][: 2 * D].any()  # uniform attention does not look at queries and keys
        if name.endswith("kv") and not name.endswith("qkv"):
            conserved(found[name][D:], found[f"{layer}.out_proj"])
            assert not found[name][:D].any()


@pytest.mark.parametrize("compression", [0.5, 2.0])
def test_synflow_prunes_the_model(compression: float) -> None:
    model = tiny().train()
    data, skip = batches(), model.unpruned("paper")
    report = prune_model(model, token_loss, data, "synflow", compression, iterations=20, skip=skip)
    assert report.kept == int(10**-compression * report.total)
    assert all(module.training for module in model.modules())
    masks = {layer.name: model.get_submodule(layer.name).weight_mask for layer in report.layers}
    assert not masks.keys() & set(skip)
    # no weight is kept that nothing flows through, whichever mode the model is in
    for name, live in live_weights(model, data, masks).items():
        assert torch.equal(live, masks[name]), name
    # out of the form again: softmax, normalisation, positions and dropout are back
    src, tgt = sentences()
    assert not torch.equal(model(src, tgt), model(src, tgt))
    model.eval()
    assert not torch.allclose(model(src, tgt), model(src.flip(1), tgt))
