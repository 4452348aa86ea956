"""Encoder and decoder stacks of a Transformer in the post-norm form of Vaswani et al. (2017), with ReLU."""

from collections.abc import Iterable, Sequence
from typing import cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.attention import CrossAttention, SelfAttention
from models.decoding.kv_cache import KeyValueCache
from models.dropout import Dropout
from models.linear_form import LinearForm


class LayerNorm(nn.LayerNorm, LinearForm):
    """`nn.LayerNorm`; the identity in the linear form."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.LayerNorm's name
        return input if self.in_linear_form else super().forward(input)


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, linear, at every position."""

    def __init__(self, d_model: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, ffn)
        self.dropout = Dropout(dropout)
        self.linear2 = nn.Linear(ffn, d_model)

    def forward(self, x: Tensor) -> Tensor:
        # ReLU and dropout commute; in this order the backward pass needs one stored activation instead of two
        return self.linear2(self.dropout(self.linear1(x)).relu())


class EncoderLayer(nn.Module):
    """Self attention and feed-forward; after each dropout, the residual sum and normalisation."""

    def __init__(self, d_model: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = SelfAttention(d_model, heads, dropout)
        self.feed_forward = FeedForward(d_model, ffn, dropout)
        self.norm1, self.norm2 = LayerNorm(d_model), LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.self_attn(x, allowed)))
        return self.norm2(x + self.dropout(self.feed_forward(x)))


class DecoderLayer(nn.Module):
    """Self attention, attention to the memory and feed-forward; after each as in `EncoderLayer`."""

    def __init__(self, d_model: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = SelfAttention(d_model, heads, dropout)
        self.cross_attn = CrossAttention(d_model, heads, dropout)
        self.feed_forward = FeedForward(d_model, ffn, dropout)
        self.norm1, self.norm2, self.norm3 = LayerNorm(d_model), LayerNorm(d_model), LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        allowed: Tensor,
        keys_values: tuple[Tensor, ...],
        memory_allowed: Tensor,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        x = self.norm1(x + self.dropout(self.self_attn(x, allowed, cache)))
        x = self.norm2(x + self.dropout(self.cross_attn(x, keys_values, memory_allowed)))
        return self.norm3(x + self.dropout(self.feed_forward(x)))


class Encoder(nn.Module):
    """A stack of encoder layers and a last normalisation."""

    def __init__(self, layers: int, d_model: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, heads, ffn, dropout) for _ in range(layers))
        self.norm = LayerNorm(d_model)

    def forward(self, x: Tensor, allowed: Tensor, recompute: bool = False) -> Tensor:
        """Return the memory, [B, S, d_model]; `allowed` as in `SelfAttention`, `recompute` as in `Seq2SeqTransformer.loss`."""
        for layer in self.layers:
            x = checkpoint(layer, x, allowed, use_reentrant=False) if recompute else layer(x, allowed)
        return self.norm(x)


class Decoder(nn.Module):
    """A stack of decoder layers and a last normalisation."""

    def __init__(self, layers: int, d_model: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d_model, heads, ffn, dropout) for _ in range(layers))
        self.norm = LayerNorm(d_model)

    def keys_values(self, memory: Tensor) -> list[tuple[Tensor, ...]]:
        """Return what each layer's attention to the memory [B, S, d_model] needs of it."""
        layers = cast(Iterable[DecoderLayer], self.layers)
        return [layer.cross_attn.keys_values(memory) for layer in layers]

    def forward(
        self,
        x: Tensor,
        allowed: Tensor,
        keys_values: Sequence[tuple[Tensor, ...]],
        memory_allowed: Tensor,
        caches: Sequence[KeyValueCache] | None = None,
        recompute: bool = False,
    ) -> Tensor:
        """Return [B, T, d_model].

        Args:
            x, allowed, memory_allowed: as in `models.attention`.
            keys_values: what `keys_values` returned for the memory.
            caches: one for each layer, if earlier positions were decoded before.
            recompute: as in `Seq2SeqTransformer.loss`; not together with caches.
        """
        for index, layer in enumerate(self.layers):
            inputs = (x, allowed, keys_values[index], memory_allowed)
            if recompute:
                x = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                x = layer(*inputs, caches[index] if caches else None)
        return self.norm(x)
