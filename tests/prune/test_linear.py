"""The masked linear layer and swapping."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from prune.errors import PruneError
from prune.masked_linear import MaskedLinear, mask_linears, prunable_linears


class TwoPlaces(nn.Module):
    """One layer found in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.inner = nn.Sequential(nn.Linear(3, 3), self.first)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.first(x))


class OwnForward(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t()


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2, bias=False)))


def test_a_new_layer_starts_dense() -> None:
    torch.manual_seed(0)
    masked = MaskedLinear(3, 4)
    torch.manual_seed(0)
    dense = nn.Linear(3, 4)
    x = torch.randn(5, 3)
    assert torch.equal(masked(x), dense(x))
    assert masked.weight_mask.dtype == torch.bool
    assert masked.weight_mask.all()


def test_writing_the_mask_in_place_prunes() -> None:
    masked = MaskedLinear(2, 1, bias=False)
    masked.weight.data.copy_(torch.tensor([[3.0, torch.nan]]))
    masked.weight_mask[0, 1] = False
    assert masked(torch.tensor([5.0, 7.0])).tolist() == [15]
    masked(torch.tensor([5.0, 7.0])).sum().backward()
    assert masked.weight.grad.tolist() == [[5, 0]]


def test_mask_is_in_the_state_dict_and_survives_copies() -> None:
    masked = MaskedLinear(3, 4)
    masked.weight_mask[1] = False
    assert masked.state_dict().keys() == {"weight", "bias", "weight_mask"}
    other = MaskedLinear(3, 4)
    other.load_state_dict(masked.state_dict())
    for twin in (other, copy.deepcopy(masked), pickle.loads(pickle.dumps(masked))):
        assert torch.equal(twin.weight_mask, masked.weight_mask)
        twin.weight_mask.fill_(True)
        assert not masked.weight_mask[1].any()
    with pytest.raises(RuntimeError, match="weight_mask"):
        MaskedLinear(3, 4).load_state_dict(nn.Linear(3, 4).state_dict())


def test_dtype_conversion_leaves_the_mask_bool() -> None:
    masked = MaskedLinear(3, 4).to(torch.bfloat16)
    assert (masked.weight.dtype, masked.weight_mask.dtype) == (torch.bfloat16, torch.bool)
    assert masked(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_representation_shows_the_density() -> None:
    masked = MaskedLinear(4, 2)
    masked.weight_mask[0] = False
    masked.weight_mask[1, 0] = False
    assert repr(masked) == "MaskedLinear(in_features=4, out_features=2, bias=True, density=0.375)"
    assert "density=unknown" in repr(masked.to("meta"))
    assert "density=0" in repr(MaskedLinear(0, 2))


@pytest.mark.parametrize("bias", [True, False])
def test_from_linear_shares_the_parameters(bias: bool) -> None:
    linear = nn.Linear(3, 4, bias=bias, dtype=torch.float64).eval()
    linear.weight.requires_grad_(False)
    state = torch.get_rng_state()
    masked = MaskedLinear.from_linear(linear)
    assert torch.equal(torch.get_rng_state(), state)
    assert masked.weight is linear.weight
    assert masked.bias is linear.bias
    assert not masked.training
    assert (masked.in_features, masked.out_features) == (3, 4)
    assert (masked.weight_mask.shape, masked.weight_mask.device.type) == ((4, 3), "cpu")
    assert masked.weight_mask.all()


def test_from_linear_of_a_meta_layer_stays_there() -> None:
    assert MaskedLinear.from_linear(nn.Linear(3, 4, device="meta")).weight_mask.is_meta


def with_hook() -> nn.Linear:
    linear = nn.Linear(3, 4)
    linear.register_forward_hook(lambda _module, _inputs, output: output)
    return linear


def with_buffer() -> nn.Linear:
    linear = nn.Linear(3, 4)
    linear.register_buffer("scale", torch.ones(4))
    return linear


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (with_hook, "has hooks"),
        (with_buffer, "does not hold weight and bias alone"),
        (lambda: nn.utils.weight_norm(nn.Linear(3, 4)), "does not hold weight and bias alone"),
        (lambda: OwnForward(3, 4), "not a plain nn.Linear"),
        (lambda: MaskedLinear(3, 4), "not a plain nn.Linear"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_from_linear_loses_nothing_silently(make: Callable[[], nn.Linear], message: str) -> None:
    with pytest.raises(PruneError, match=message):
        MaskedLinear.from_linear(make())


def test_swapping_keeps_outputs_names_and_optimiser() -> None:
    model, x = two_layers(), torch.randn(5, 3)
    before, parameters = model(x), dict(model.named_parameters())
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    masked = mask_linears(model)
    assert list(masked) == ["0", "2.0"]
    assert masked["0"] is model[0]
    assert masked["2.0"] is model[2][0]
    assert all(type(layer) is MaskedLinear for layer in masked.values())
    assert torch.equal(model(x), before)
    assert all(p is parameters[name] for name, p in model.named_parameters())

    masked["0"].weight_mask[0] = False
    old = masked["0"].weight.detach().clone()
    model(x).sum().backward()
    optimiser.step()
    assert torch.equal(masked["0"].weight[0], old[0])
    assert not torch.equal(masked["0"].weight[1:], old[1:])


def test_swapping_again_keeps_layers_and_masks() -> None:
    model = two_layers()
    first = mask_linears(model)
    first["0"].weight_mask[0, 0] = False
    second = mask_linears(model)
    assert list(second) == list(first)
    assert all(second[name] is first[name] for name in first)
    assert not second["0"].weight_mask[0, 0]


def test_a_layer_in_two_places_stays_one() -> None:
    model = TwoPlaces()
    masked = mask_linears(model)
    assert list(masked) == ["first", "inner.0"]
    assert model.first is model.inner[1]
    assert model.first is masked["first"]


def test_tied_weights_stay_tied() -> None:
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "head": nn.Linear(3, 5)})
    model["head"].weight = model["embedding"].weight
    mask_linears(model)
    assert model["head"].weight is model["embedding"].weight


@pytest.mark.parametrize(
    ("skip", "expected"),
    [((), ["first", "inner.0"]), (["inner.0"], ["first"]), (["first"], ["inner.0"]), (["inner"], [])],
)
def test_skip(skip: list[str], expected: list[str]) -> None:
    model = TwoPlaces()
    assert list(mask_linears(model, skip)) == expected
    assert type(model.inner[0]) is (MaskedLinear if "inner.0" in expected else nn.Linear)
    assert type(model.first) is (MaskedLinear if "first" in expected else nn.Linear)
    assert model.first is model.inner[1]


def test_unknown_skip_suggests_the_nearest_name() -> None:
    model = TwoPlaces()
    with pytest.raises(PruneError, match=r"skip has 'iner', .* \(did you mean 'inner'\?\)"):
        mask_linears(model, ["iner"])
    with pytest.raises(PruneError, match=r"skip has '', "):
        mask_linears(model, [""])
    with pytest.raises(TypeError, match=r"give a list of names, \['first'\]"):
        mask_linears(model, "first")
    assert type(model.first) is nn.Linear


def test_attention_and_encoder_layers_are_refused() -> None:
    attention = nn.ModuleDict({"self_attn": nn.MultiheadAttention(4, 2)})
    with pytest.raises(
        PruneError, match=r"'self_attn\.out_proj' cannot be masked: nn\.MultiheadAttention reads"
    ):
        mask_linears(attention)
    encoder = nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8))
    with pytest.raises(PruneError, match=r"'1\.linear1' cannot be masked: nn\.TransformerEncoderLayer reads"):
        mask_linears(encoder, skip=["1.self_attn"])
    assert type(encoder[0]) is nn.Linear  # nothing was swapped before the error
    assert list(mask_linears(encoder, skip=["1"])) == ["0"]
    decoder = nn.TransformerDecoderLayer(4, 2, 8)
    assert list(mask_linears(decoder, skip=["self_attn", "multihead_attn"])) == ["linear1", "linear2"]


def test_why_they_are_refused() -> None:
    torch.manual_seed(0)
    layer, x = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval(), torch.randn(2, 3, 4)
    with torch.no_grad():
        before = layer(x)
        layer.linear1.forward = lambda x: x.new_full((*x.shape[:-1], 8), torch.nan)
        layer.self_attn.out_proj.forward = layer.linear1.forward
        assert torch.equal(layer(x), before)  # neither forward is called


def test_decoder_feed_forward_masks_are_obeyed() -> None:
    torch.manual_seed(0)
    decoder = nn.TransformerDecoderLayer(4, 2, 8, batch_first=True).eval()
    for layer in mask_linears(decoder, skip=["self_attn", "multihead_attn"]).values():
        layer.weight_mask.copy_(torch.rand_like(layer.weight) < 0.5)
        layer.weight.data.masked_fill_(~layer.weight_mask, torch.nan)
    with torch.no_grad():
        assert decoder(torch.randn(2, 3, 4), torch.randn(2, 3, 4)).isfinite().all()


def test_subclasses_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(3, 3), OwnForward(3, 3))
    with pytest.raises(PruneError, match="'1' cannot be masked: OwnForward is a subclass"):
        mask_linears(model)
    assert list(mask_linears(model, skip=["1"])) == ["0"]
    with pytest.raises(PruneError, match="LazyLinear is a subclass"):
        mask_linears(nn.Sequential(nn.LazyLinear(3)))


def test_an_error_names_the_layer_and_swaps_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 3), with_hook())
    with pytest.raises(PruneError, match=r"'1': Linear\(.*\) has hooks"):
        mask_linears(model)
    assert type(model[0]) is nn.Linear


def test_a_model_that_is_a_linear_layer() -> None:
    linear = nn.Linear(3, 4)
    assert prunable_linears(linear) == {"": linear}
    with pytest.raises(PruneError, match=r"the model is itself Linear\(.*: use MaskedLinear\.from_linear"):
        mask_linears(linear)
    masked = MaskedLinear(3, 4)
    assert mask_linears(masked) == {"": masked}


def test_prunable_linears_changes_nothing() -> None:
    model = two_layers()
    found = prunable_linears(model)
    assert list(found) == ["0", "2.0"]
    assert found["0"] is model[0]
    assert type(model[0]) is nn.Linear
