"""A bag-of-tokens text classifier: the mean of the token embeddings, then one linear layer."""

from torch import Tensor, nn


class TextClassificationModel(nn.Module):
    """Embedding bag (mean) and a linear layer, initialised as PyTorch does it, from torch's global generator.

    Embeddings are standard normal, weight and bias uniform in ±1/sqrt(embed_dim). A text without tokens has the zero vector as
    its mean, so its logits are the bias.

    Args:
        vocab_size: number of tokens; the default is the vocabulary of the full AG News training set.
        embed_dim: size of an embedding.
        num_classes: number of classes.
    """

    def __init__(self, vocab_size: int = 95811, embed_dim: int = 64, num_classes: int = 4) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocab_size, embed_dim, mode="mean")
        self.fc = nn.Linear(embed_dim, num_classes)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Classify a batch of texts that are laid end to end.

        Args:
            tokens: token ids of all texts, int64 `[total]`.
            offsets: where each text starts in `tokens`, int64 `[B]`, the first 0.

        Returns:
            Logits `[B, num_classes]`.
        """
        return self.fc(self.embedding(tokens, offsets))
