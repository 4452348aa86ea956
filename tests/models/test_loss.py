"""The loss chunk by chunk against the plain form."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from models import Seq2SeqTransformer
from models.chunked_loss import chunked_cross_entropy
from prune.masked_linear import mask_linears

PAD = 1


def tiny() -> Seq2SeqTransformer:
    return Seq2SeqTransformer(50, 40, d_model=32, heads=4, encoder_layers=1, decoder_layers=1, ffn=48)


def sentences() -> tuple[Tensor, Tensor]:
    src, tgt = torch.randint(4, 50, (5, 9)), torch.randint(4, 40, (5, 8))
    tgt[:, 0] = 2
    for row, length in enumerate((8, 4, 3, 7, 8)):
        tgt[row, length - 1] = 3
        tgt[row, length:] = PAD
    return src, tgt


def plain(model: Seq2SeqTransformer, src: Tensor, tgt: Tensor) -> Tensor:
    logits = model(src, tgt[:, :-1]).flatten(0, 1)
    return cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)), tgt[:, 1:].flatten(), ignore_index=PAD
    )


def outcome(model: Seq2SeqTransformer, loss: Tensor) -> list[Tensor]:
    """The loss and every gradient."""
    model.zero_grad()
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_equals_the_plain_form(masked: bool, dtype: torch.dtype, chunk: int) -> None:
    model, (src, tgt) = tiny().to(dtype), sentences()
    if masked:
        for layer in mask_linears(model).values():
            layer.weight_mask.copy_(torch.rand(layer.weight.shape) < 0.3)
            layer.weight.data[~layer.weight_mask] = torch.nan
    torch.manual_seed(1)  # dropout draws the same in both
    found = outcome(model, model.loss(src, tgt, chunk))
    torch.manual_seed(1)
    expected = outcome(model, plain(model, src, tgt))
    assert len(found) == len(expected) == 1 + len(list(model.parameters()))
    eps = torch.finfo(dtype).eps
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a, b, rtol=64 * eps, atol=8 * eps)


@pytest.mark.parametrize("bias", [False, True])
def test_any_scale_and_any_generator(bias: bool) -> None:
    layer = nn.Linear(6, 11, bias=bias).double()
    x, target = torch.randn(9, 6, dtype=torch.float64, requires_grad=True), torch.randint(11, (9,))
    leaves = [x, *layer.parameters()]
    found = torch.autograd.grad(3 * chunked_cross_entropy(layer, x, target, 4), leaves)
    expected = torch.autograd.grad(3 * cross_entropy(layer(x), target), leaves)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("frozen", ["layer", "x"])
def test_what_needs_no_gradient_gets_none(frozen: str) -> None:
    layer, x, target = (
        nn.Linear(6, 11),
        torch.randn(9, 6, requires_grad=frozen != "x"),
        torch.randint(11, (9,)),
    )
    layer.requires_grad_(frozen != "layer")
    chunked_cross_entropy(layer, x, target, 4).backward()
    by_x, by_weight = x.grad, layer.weight.grad
    x.grad = layer.weight.grad = None
    cross_entropy(layer(x), target).backward()
    assert (by_x is None) == (frozen == "x")
    assert (by_weight is None) == (frozen == "layer")
    torch.testing.assert_close(by_x, x.grad)
    torch.testing.assert_close(by_weight, layer.weight.grad)


def test_without_gradients_the_loss_is_the_same() -> None:
    model, (src, tgt) = tiny().eval(), sentences()
    with torch.no_grad():
        torch.testing.assert_close(model.loss(src, tgt, 7), plain(model, src, tgt))
    assert model.generator.weight.grad is None


def test_under_autocast_the_loss_is_float32(device: str) -> None:
    model, (src, tgt) = tiny(), sentences()
    losses, gradients = [], []
    for form in (lambda: model.loss(src, tgt, 7), lambda: plain(model, src, tgt)):
        torch.manual_seed(1)
        with torch.autocast(device, torch.bfloat16):
            loss = form()
        found = outcome(model, loss)
        assert {t.dtype for t in found} == {torch.float32}
        losses.append(loss)
        gradients.append(found[1:])
    # log-softmax from the same bfloat16 logits, both in float32
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=0)
    for a, b in zip(*gradients, strict=True):
        # bfloat16 has 8 bits; the sums over positions are rounded chunk by chunk
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02 * b.abs().max().item())


def test_only_padding_gives_nan_as_in_pytorch() -> None:
    model, (src, tgt) = tiny(), sentences()
    tgt[:, 1:] = PAD
    assert plain(model, src, tgt).isnan()
    assert model.loss(src, tgt).isnan()
    with torch.no_grad():
        assert model.loss(src, tgt).isnan()


def test_a_second_derivative_is_refused() -> None:
    model, (src, tgt) = tiny().eval(), sentences()
    with pytest.raises(RuntimeError, match=r"differentiable once .create_graph=True was asked for"):
        torch.autograd.grad(
            model.loss(src, tgt), model.encoder.layers[0].self_attn.qkv.weight, create_graph=True
        )


def peak_memory(step: Callable[[], object]) -> int:
    """The most bytes that are allocated at a time during the step, less those from before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.slow
def test_the_logits_are_never_all_there() -> None:
    # small compared with its vocabulary, so that the logits are what counts
    model = Seq2SeqTransformer(100, 10837, d_model=32, heads=2, encoder_layers=1, decoder_layers=1, ffn=32)
    src, tgt = torch.randint(4, 100, (128, 22)), torch.randint(4, 10837, (128, 23))
    logits = 128 * 22 * 10837 * 4
    assert peak_memory(lambda: plain(model, src, tgt).backward()) > 2 * logits
    assert peak_memory(lambda: model.loss(src, tgt).backward()) < 0.5 * logits
    with torch.no_grad():
        assert peak_memory(lambda: model.loss(src, tgt)) < 0.4 * logits


@pytest.mark.slow
def test_the_memory_of_a_step() -> None:
    # a quarter of the default's sizes: activations and logits stand in the same proportion
    model = Seq2SeqTransformer(4800, 2709, d_model=128, heads=2, ffn=128)
    src, tgt = torch.randint(4, 2709, (128, 22)), torch.randint(4, 2709, (128, 23))
    whole = peak_memory(lambda: plain(model, src, tgt).backward())
    assert peak_memory(lambda: model.loss(src, tgt).backward()) < 0.75 * whole
    assert peak_memory(lambda: model.loss(src, tgt, recompute=True).backward()) < 0.35 * whole


@pytest.mark.parametrize("autocast", [False, True])
def test_recomputing_changes_no_bit(device: str, autocast: bool) -> None:
    model, (src, tgt) = tiny().train(), sentences()
    found = []
    for recompute in (False, True):
        torch.manual_seed(1)
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            loss = model.loss(src, tgt, recompute=recompute)
        found.append([*outcome(model, loss), torch.rand(1)])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
