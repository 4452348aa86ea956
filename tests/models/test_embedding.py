"""Token embeddings with positions."""

import math

import pytest
import torch

from models.embedding import TokenEmbedding, sinusoids


def test_sinusoids_are_the_papers() -> None:
    found = sinusoids(20, 6)
    for position in range(20):
        for i in range(3):
            angle = position / 10000 ** (2 * i / 6)
            assert found[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_the_embedding_is_scaled_and_its_position_added() -> None:
    embedding = TokenEmbedding(vocab=5, d_model=4, dropout=0.5, max_len=8).eval()
    with torch.no_grad():
        embedding.tokens.weight.copy_(torch.arange(20.0).view(5, 4))
    row = torch.tensor([4.0, 5.0, 6.0, 7.0])  # of token 1
    # sqrt(4) = 2; the angles at position 3 are 3 and 0.03
    position = torch.tensor([math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)])
    torch.testing.assert_close(embedding(torch.tensor([[0, 0, 0, 1]]))[0, 3], 2 * row + position)
    torch.testing.assert_close(embedding(torch.tensor([[1]]), start=3)[0, 0], 2 * row + position)
    with embedding.synflow_form():
        assert torch.equal(embedding(torch.tensor([[1]]))[0, 0], 2 * row)


def test_positions_are_no_part_of_the_state() -> None:
    assert list(TokenEmbedding(5, 4, 0.0, 8).state_dict()) == ["tokens.weight"]


@pytest.mark.parametrize(("length", "start"), [(9, 0), (1, 8), (3, 6)])
def test_the_limit_is_named(length: int, start: int) -> None:
    embedding = TokenEmbedding(5, 4, 0.0, max_len=8)
    with pytest.raises(ValueError, match="a sequence of 9 tokens is longer than the model's 8 positions"):
        embedding(torch.zeros(1, length, dtype=torch.int64), start)


def test_an_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="d_model is 5, but sine and cosine in pairs need an even number"):
        TokenEmbedding(5, 5, 0.0, 8)
