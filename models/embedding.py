"""Token embeddings with sinusoidal positions."""

import math

import torch
from torch import Tensor, nn

from models.dropout import Dropout
from models.linear_form import LinearForm


class TokenEmbedding(LinearForm):
    """Dropout of the token's embedding, times sqrt(d_model), plus its position's sinusoid (Vaswani et al. 2017, 3.4, 3.5).

    In the linear form no position is added.

    Args:
        vocab: number of tokens.
        d_model: size of an embedding, even.
        dropout: probability of dropping an element of the sum.
        max_len: number of positions there are.
    """

    positions: Tensor

    def __init__(self, vocab: int, d_model: int, dropout: float, max_len: int) -> None:
        super().__init__()
        self.max_len = max_len
        self.tokens = nn.Embedding(vocab, d_model)
        self.dropout = Dropout(dropout)
        # computed, not learned: no part of the state dict
        self.register_buffer("positions", sinusoids(max_len, d_model), persistent=False)

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Embed token ids, int64 [B, T], whose first column is at position `start`; [B, T, d_model].

        Raises:
            ValueError: a position beyond `max_len`.
        """
        end = start + tokens.size(1)
        if end > self.max_len:
            raise ValueError(
                f"a sequence of {end} tokens is longer than the model's {self.max_len} positions: "
                "shorten it, or build the model with a larger max_len"
            )
        scaled = self.tokens(tokens) * math.sqrt(self.tokens.embedding_dim)
        return self.dropout(scaled if self.in_linear_form else scaled + self.positions[start:end])


def sinusoids(length: int, size: int) -> Tensor:
    """Return [length, size]: sin(t / 10000^(2i/size)) in column 2i of row t, the cosine of the same in column 2i + 1.

    Raises:
        ValueError: an odd size.
    """
    if size % 2:
        raise ValueError(f"d_model is {size}, but sine and cosine in pairs need an even number")
    frequencies = torch.exp(torch.arange(0, size, 2) * (-math.log(10000.0) / size))
    angles = torch.arange(length)[:, None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)
