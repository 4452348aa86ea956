"""Multi-head attention (Vaswani et al. 2017) built from plain linear layers, each of which is called as a module."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.decoding.kv_cache import KeyValueCache
from models.dropout import Dropout
from models.linear_form import LinearForm


class Attention(LinearForm):
    """What self and cross attention share: heads, the weighted mean of the values, `out_proj`.

    In the linear form every allowed key has the same weight: the softmax of zero.

    Args:
        d_model: size of input and output, a multiple of `heads`.
        heads: number of heads.
        dropout: probability with which an attention weight is dropped while training.

    Attributes:
        projections: names of the linear layers that produce queries, keys and values.
    """

    projections: ClassVar[tuple[str, ...]]
    out_proj: nn.Linear

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__()
        if d_model % heads:
            raise ValueError(f"d_model is {d_model}, but it needs to be a multiple of heads, {heads}")
        self.heads = heads
        self.dropout = Dropout(dropout)

    def split_heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Cut [B, T, parts * d_model] into `parts` tensors [B, heads, T, d_model / heads]."""
        return x.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        """Return the projected attention of each query, [B, T, d_model].

        Args:
            q: [B, heads, T, d_head]; k, v: [B, heads, S, d_head].
            allowed: bool, broadcastable to [B, heads, T, S]; at least one key for each query.
        """
        # written out: PyTorch's fused attention has no dropout on the CPU and no second derivative, and what it falls back to
        # takes three times as long for sentences of this length
        scaled = torch.zeros_like(q) if self.in_linear_form else q * q.size(-1) ** -0.5
        scores = (scaled @ k.transpose(-2, -1)).masked_fill(~allowed, -torch.inf)
        weights = scores.softmax(-1)
        mean = (weights if self.in_linear_form else self.dropout(weights)) @ v
        return self.out_proj(mean.transpose(1, 2).flatten(2))


class SelfAttention(Attention):
    """Attention of a sequence to itself; queries, keys and values come from one linear layer `qkv`, in this order."""

    projections = ("qkv",)

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__(d_model, heads, dropout)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, allowed: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Return [B, T, d_model].

        Args:
            x: [B, T, d_model].
            allowed: bool, broadcastable to [B, heads, T, S]; true where the query may attend to the key.
            cache: keys and values of earlier positions, which come before those of `x` among the S keys; those of
                `x` are added to it. Without it S = T.
        """
        q, k, v = self.split_heads(self.qkv(x), 3)
        if cache is not None:
            k, v = cache.append(k, v)
        return self.attend(q, k, v, allowed)


class CrossAttention(Attention):
    """Attention to another sequence: queries from the linear layer `q`, keys and values, in this order, from `kv`."""

    projections = ("q", "kv")

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__(d_model, heads, dropout)
        self.q = nn.Linear(d_model, d_model)
        self.kv = nn.Linear(d_model, 2 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, ...]:
        """Return keys and values of memory [B, S, d_model], each [B, heads, S, d_head]."""
        return self.split_heads(self.kv(memory), 2)

    def forward(self, x: Tensor, keys_values: tuple[Tensor, ...], allowed: Tensor) -> Tensor:
        """Return [B * n, T, d_model].

        Args:
            x: [B * n, T, d_model]: n rows, one after the other, attend to the same row of the memory.
            keys_values: what `keys_values` returned for the memory of B rows.
            allowed: bool, broadcastable to [B, heads, n * T, S]; false for padding.
        """
        k, v = keys_values
        # queries do not see each other here, so the n rows of one memory can be one row of n * T queries
        (q,) = self.split_heads(self.q(x).reshape(len(k), -1, x.size(-1)), 1)
        return self.attend(q, k, v, allowed).view_as(x)
