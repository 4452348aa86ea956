"""The translation model against `nn.Transformer`, its initialisation, masks and names."""

import math

import pytest
import torch
from torch import Tensor, nn

from models import Seq2SeqTransformer, load_torch

PAD = 1
SIZES = {"d_model": 32, "heads": 4, "encoder_layers": 2, "decoder_layers": 3, "ffn": 48}


def tiny(dropout: float = 0.0, **changes: int) -> Seq2SeqTransformer:
    return Seq2SeqTransformer(src_vocab=50, tgt_vocab=40, dropout=dropout, max_len=32, **SIZES | changes)


def torch_transformer(**changes: object) -> nn.Transformer:
    sizes = {
        "d_model": 32,
        "nhead": 4,
        "num_encoder_layers": 2,
        "num_decoder_layers": 3,
        "dim_feedforward": 48,
    }
    transformer = nn.Transformer(**sizes | {"dropout": 0.0, "batch_first": True} | changes)
    for parameter in transformer.parameters():
        nn.init.normal_(parameter, std=0.2)  # biases and normalisation too, which start at zero and one
    return transformer


def sentences() -> tuple[Tensor, Tensor]:
    """src [5, 9] and tgt [5, 7] with padding, <bos> and <eos>."""
    src, tgt = torch.randint(4, 50, (5, 9)), torch.randint(4, 40, (5, 7))
    for tokens, lengths in ((src, (4, 9, 7, 2, 9)), (tgt, (7, 3, 2, 6, 7))):
        tokens[:, 0] = 2
        for row, length in enumerate(lengths):
            tokens[row, length - 1] = 3
            tokens[row, length:] = PAD
    return src, tgt


def through_torch(model: Seq2SeqTransformer, transformer: nn.Transformer, src: Tensor, tgt: Tensor) -> Tensor:
    forbidden = torch.ones(tgt.size(1), tgt.size(1), dtype=torch.bool).triu(1)
    return transformer(
        model.src_embedding(src),
        model.tgt_embedding(tgt),
        tgt_mask=forbidden,
        src_key_padding_mask=src == PAD,
        tgt_key_padding_mask=tgt == PAD,
        memory_key_padding_mask=src == PAD,
    )


def packed_gradients(model: Seq2SeqTransformer) -> dict[str, Tensor]:
    """The gradients of encoder and decoder under PyTorch's names."""
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        theirs = name.replace("feed_forward.", "").replace("cross_attn", "multihead_attn")
        for projection in (".qkv.", ".q.", ".kv."):
            theirs = theirs.replace(projection, ".in_proj_")
        # q comes before kv in the order of the modules, as it does in the packed matrix
        found[theirs] = torch.cat((found[theirs], parameter.grad)) if theirs in found else parameter.grad
    return {name: grad for name, grad in found.items() if name.startswith(("encoder", "decoder"))}


@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_are_those_of_pytorch(training: bool) -> None:
    model, transformer = tiny().train(training), torch_transformer().train(training)
    load_torch(model, transformer)
    src, tgt = sentences()
    ours, theirs = model.hidden(src, tgt), through_torch(model, transformer, src, tgt)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model(src, tgt), model.generator(theirs), rtol=1e-5, atol=1e-5)

    weights = torch.randn_like(ours) * (tgt != PAD)[:, :, None]
    embeddings = [model.src_embedding.tokens.weight, model.tgt_embedding.tokens.weight]
    expected = torch.autograd.grad((theirs * weights).sum(), [*embeddings, *transformer.parameters()])
    (ours * weights).sum().backward()
    for parameter, gradient in zip(embeddings, expected, strict=False):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-5)
    found = packed_gradients(model)
    names = [name for name, _ in transformer.named_parameters()]
    assert found.keys() == set(names)
    for name, gradient in zip(names, expected[2:], strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)


def test_outputs_are_those_of_pytorchs_fast_path() -> None:
    model, transformer = tiny().eval(), torch_transformer().eval()
    load_torch(model, transformer)
    src, tgt = sentences()
    with torch.no_grad():
        theirs = through_torch(model, transformer, src, tgt)
        torch.testing.assert_close(model.hidden(src, tgt), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nhead": 8}, "the model has 4 heads and nn.Transformer 8"),
        (
            {"dim_feedforward": 64},
            r"'decoder.layers.0.feed_forward.linear1.bias' is \(48,\) in the model and \(64,\)",
        ),
        ({"num_encoder_layers": 1}, r"'encoder.layers.1.* in the model and None in nn.Transformer"),
        ({"num_decoder_layers": 4}, r"'decoder.layers.3.* is None in the model and"),
        ({"bias": False}, r"bias' is .* in the model and None in nn.Transformer"),
        ({"norm_first": True}, "nn.Transformer is pre-norm"),
        ({"activation": "gelu"}, "activation is .*gelu.*, the model's is ReLU"),
    ],
)
def test_other_transformers_are_refused(changes: dict[str, object], message: str) -> None:
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        load_torch(model, torch_transformer(**changes))
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_default_is_the_model_of_the_paper() -> None:
    with torch.device("meta"):
        model = Seq2SeqTransformer()
    shapes = {
        name: tuple(module.weight.shape)
        for name, module in model.named_modules()
        if hasattr(module, "weight")
    }
    assert shapes["src_embedding.tokens"] == (19214, 512)
    assert shapes["tgt_embedding.tokens"] == (10837, 512)
    assert shapes["generator"] == (10837, 512)
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    prunable = sum(
        linear.weight.numel() for name, linear in linears.items() if name not in model.unpruned("paper")
    )
    # 3 encoder layers with 1 + 2 square matrices, 3 decoder layers with 2 + 2, and the generator
    assert prunable == (3 * 3 + 3 * 4) * 512 * 512 + 10837 * 512
    # the projections: 3 more in an encoder layer, 6 in a decoder layer
    assert sum(linear.weight.numel() for linear in linears.values()) == prunable + (3 * 3 + 3 * 6) * 512 * 512


def test_what_is_not_pruned_is_named() -> None:
    model = tiny(encoder_layers=1, decoder_layers=1)
    assert model.unpruned("paper") == (
        "encoder.layers.0.self_attn.qkv",
        "decoder.layers.0.self_attn.qkv",
        "decoder.layers.0.cross_attn.q",
        "decoder.layers.0.cross_attn.kv",
    )
    assert model.unpruned("all") == ()
    with pytest.raises(ValueError, match="prunable is 'most', but it needs to be one of paper, all"):
        model.unpruned("most")


def test_initialisation() -> None:
    model = Seq2SeqTransformer(src_vocab=300, tgt_vocab=200, d_model=64, heads=4, ffn=128)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            packed = name.endswith(("qkv.weight", "q.weight", "kv.weight"))
            bound = math.sqrt(6 / (64 + 192 if packed else sum(parameter.shape)))
            # of thousands of uniform draws the largest is close to the bound
            assert 0.99 * bound < parameter.abs().max() <= bound, name
            assert abs(parameter.mean()) < 0.05 * bound, name
        elif "attn" in name or (".norm" in name and name.endswith("bias")):
            assert not parameter.any(), name
        elif ".norm" in name:
            assert (parameter == 1).all(), name
        else:
            fan_in = 128 if "linear2" in name else 64
            assert 0 < parameter.abs().max() <= fan_in**-0.5, name


def test_padding_has_no_influence() -> None:
    model = tiny().eval()
    src, tgt = sentences()
    logits = model(src, tgt)
    for row in range(len(src)):
        source, target = src[row][src[row] != PAD], tgt[row][tgt[row] != PAD]
        alone = model(source[None], target[None])[0]
        torch.testing.assert_close(alone, logits[row, : len(target)], rtol=1e-5, atol=1e-5)


def test_no_position_sees_a_later_one() -> None:
    model = tiny().eval()
    src, tgt = sentences()
    changed = tgt.clone()
    changed[:, 4:] = 17
    assert torch.equal(model(src, tgt)[:, :4], model(src, changed)[:, :4])


@pytest.mark.parametrize(("src_length", "tgt_length"), [(33, 5), (5, 33)])
def test_the_limit_of_positions_is_named(src_length: int, tgt_length: int) -> None:
    model = tiny()
    model(torch.full((1, 32), 4), torch.full((1, 32), 4))
    with pytest.raises(ValueError, match="a sequence of 33 tokens is longer than the model's 32 positions"):
        model(torch.full((1, src_length), 4), torch.full((1, tgt_length), 4))
