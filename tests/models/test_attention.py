"""Attention: values, gradients, masks, cache, linear form."""

import pytest
import torch
from torch import Tensor, nn

from models.attention import CrossAttention, SelfAttention
from models.decoding.kv_cache import KeyValueCache

B, T, S, D, HEADS = 3, 5, 4, 8, 2


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def mask(queries: int, keys: int) -> Tensor:
    allowed = torch.rand(B, 1, queries, keys) < 0.6
    allowed[..., 0] = True
    return allowed


def by_hand(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d_head)) v, one sentence, head and query at a time; [B, T, D] each, allowed [B, 1, T, S]."""
    out = torch.zeros_like(q)
    size = D // HEADS
    for b in range(len(q)):
        for h in range(HEADS):
            part = slice(h * size, (h + 1) * size)
            for t in range(q.size(1)):
                keys = allowed[b, 0, t].nonzero()[:, 0]
                weights = (k[b, keys, part] @ q[b, t, part] / size**0.5).exp()
                out[b, t, part] = weights @ v[b, keys, part] / weights.sum()
    return out


@pytest.mark.parametrize("training", [True, False])
def test_self_attention_by_hand(training: bool) -> None:
    attention = SelfAttention(D, HEADS, 0.0).double().train(training)
    x, allowed = draw(B, T, D), mask(T, T)
    q, k, v = attention.qkv(x).split(D, dim=-1)
    torch.testing.assert_close(attention(x, allowed), attention.out_proj(by_hand(q, k, v, allowed)))


def test_cross_attention_by_hand() -> None:
    attention = CrossAttention(D, HEADS, 0.0).double()
    x, memory, allowed = draw(B, T, D), draw(B, S, D), mask(T, S)
    k, v = attention.kv(memory).split(D, dim=-1)
    expected = attention.out_proj(by_hand(attention.q(x), k, v, allowed))
    torch.testing.assert_close(attention(x, attention.keys_values(memory), allowed), expected)


def test_gradients_are_those_of_pytorch() -> None:
    ours = SelfAttention(D, HEADS, 0.0).double()
    theirs = nn.MultiheadAttention(D, HEADS, batch_first=True).double()
    pairs = [
        (ours.qkv.weight, theirs.in_proj_weight),
        (ours.qkv.bias, theirs.in_proj_bias),
        (ours.out_proj.weight, theirs.out_proj.weight),
        (ours.out_proj.bias, theirs.out_proj.bias),
    ]
    with torch.no_grad():
        for own, given in pairs:
            given.normal_()
            own.copy_(given)
    x, allowed = draw(B, T, D), mask(T, T)
    grad = draw(B, T, D)
    forbidden = ~allowed.expand(B, HEADS, T, T).flatten(0, 1)
    ours(x, allowed).backward(grad)
    theirs(x, x, x, attn_mask=forbidden, need_weights=False)[0].backward(grad)
    for own, given in pairs:
        torch.testing.assert_close(own.grad, given.grad, rtol=1e-9, atol=1e-9)


def test_what_is_not_allowed_has_no_influence() -> None:
    attention = SelfAttention(D, HEADS, 0.0).double()
    x = draw(B, T, D)
    allowed = torch.ones(T, T, dtype=torch.bool).tril()
    changed = x.clone()
    changed[:, 3:] = draw(B, T - 3, D)
    assert torch.equal(attention(x, allowed)[:, :3], attention(changed, allowed)[:, :3])
    assert not torch.allclose(attention(x, allowed)[:, 3], attention(changed, allowed)[:, 3])


def test_a_cache_gives_the_same_position_by_position() -> None:
    length = 40  # the cache grows twice
    attention, cache = SelfAttention(D, HEADS, 0.0).double(), KeyValueCache()
    x = draw(B, length, D)
    whole = attention(x, torch.ones(length, length, dtype=torch.bool).tril())
    steps = [(0, 3), *((i, i + 1) for i in range(3, length))]
    for start, end in steps:
        allowed = torch.ones(length, length, dtype=torch.bool).tril()[start:end, :end]
        torch.testing.assert_close(attention(x[:, start:end], allowed, cache), whole[:, start:end])
        assert cache.length == end


def test_rows_of_a_cache_are_selected_and_repeated() -> None:
    cache = KeyValueCache()
    rows = torch.tensor([2, 0, 2])
    cache.select(rows)  # empty: nothing to select
    k, v = draw(B, HEADS, 3, 4), draw(B, HEADS, 3, 4)
    cache.append(k, v)
    cache.select(rows)
    more = draw(3, HEADS, 1, 4)
    keys, values = cache.append(more, -more)
    assert torch.equal(keys, torch.cat((k[rows], more), dim=2))
    assert torch.equal(values, torch.cat((v[rows], -more), dim=2))


def test_several_rows_look_at_one_memory() -> None:
    attention = CrossAttention(D, HEADS, 0.0).double()
    x, memory, allowed = draw(B * 3, 1, D), draw(B, S, D), mask(1, S)
    repeated = attention.keys_values(memory.repeat_interleave(3, dim=0))
    expected = attention(x, repeated, allowed.repeat_interleave(3, dim=0))
    torch.testing.assert_close(attention(x, attention.keys_values(memory), allowed), expected)


def test_in_the_linear_form_every_allowed_key_counts_the_same() -> None:
    attention = SelfAttention(D, HEADS, 0.5).double().train()
    x, allowed = draw(B, T, D), mask(T, T)
    v = attention.qkv(x)[..., 2 * D :]
    weights = allowed[:, 0].double() / allowed[:, 0].sum(-1, keepdim=True)
    with attention.synflow_form():
        found = attention(x, allowed)
        (by_qkv,) = torch.autograd.grad(found.sum(), attention.qkv.weight)
    torch.testing.assert_close(found, attention.out_proj(weights @ v))
    assert not by_qkv[: 2 * D].any()
    assert by_qkv[2 * D :].any()
    assert not torch.allclose(attention(x, allowed), found)


def test_attention_weights_are_dropped_in_training_only() -> None:
    attention = SelfAttention(D, HEADS, 0.5).double()
    x, allowed = draw(B, T, D), mask(T, T)
    torch.testing.assert_close(attention.eval()(x, allowed), attention(x, allowed))
    first, second = attention.train()(x, allowed), attention(x, allowed)
    assert not torch.allclose(first, second)


def test_heads_have_to_divide_the_size() -> None:
    with pytest.raises(ValueError, match="d_model is 8, but it needs to be a multiple of heads, 3"):
        SelfAttention(8, 3, 0.0)
