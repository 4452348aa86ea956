"""The decoder between two tokens: what it has computed so far and will need again."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from models.decoding.kv_cache import KeyValueCache
from models.seq2seq import Seq2SeqTransformer

# The encoder works on so many sentences at a time: padding is what a batch of mixed lengths costs there. The decoder, which
# reads all weights for every token, wants many more rows.
_ENCODED_TOGETHER = 64


class DecodingState:
    """Decodes one token at a time, with the encoder run once and all keys and values kept.

    A sentence has one row or more, one after the other, each with its own prefix.

    Args:
        model: in eval mode, gradients off.
        sentences: int64 [S] each, best in order of length; each has a token that is not padding.
    """

    def __init__(self, model: Seq2SeqTransformer, sentences: Sequence[Tensor]) -> None:
        self._model = model
        self._keys_values, self._memory_allowed = _encode(model, sentences)
        self._caches = [KeyValueCache() for _ in self._keys_values]
        self._allowed = self._memory_allowed.new_ones(len(sentences), 0)

    def step(self, tokens: Tensor) -> Tensor:
        """Take the next token of each row, int64 [rows], and return the logits of the one after it, [rows, V]."""
        position = self._allowed.size(1)
        # a padding token in the middle, should one be decoded, is not a key, as in the model's forward
        self._allowed = torch.cat((self._allowed, (tokens != self._model.pad)[:, None]), dim=1)
        x = self._model.tgt_embedding(tokens[:, None], start=position)
        allowed = self._allowed[:, None, None]
        x = self._model.decoder(x, allowed, self._keys_values, self._memory_allowed, self._caches)
        return self._model.generator(x[:, 0])

    def select(self, rows: Tensor) -> None:
        """Drop and reorder rows: afterwards a sentence has the rows that its line of `rows` names.

        Args:
            rows: int64 [B', n], indices of present rows; those of a line belong to one sentence and may repeat. Lines are in
                the order of the sentences; a sentence without a line is dropped.
        """
        sentences = rows[:, 0] // (len(self._allowed) // len(self._memory_allowed))
        rows = rows.flatten()
        self._allowed = self._allowed[rows]
        for cache in self._caches:
            cache.select(rows)
        if len(sentences) < len(self._memory_allowed):
            self._memory_allowed = self._memory_allowed[sentences]
            # index_select copies several times faster than indexing does
            self._keys_values = [
                tuple(part.index_select(0, sentences) for part in layer) for layer in self._keys_values
            ]


def _encode(
    model: Seq2SeqTransformer, sentences: Sequence[Tensor]
) -> tuple[list[tuple[Tensor, ...]], Tensor]:
    """Return keys and values of each decoder layer, and where they may be attended to, of all sentences together."""
    longest = max(map(len, sentences))
    keys_values: list[list[Tensor]] = []  # of each chunk: keys and values, layer after layer
    masks = []
    for start in range(0, len(sentences), _ENCODED_TOGETHER):
        chunk = pad_sequence(
            list(sentences[start : start + _ENCODED_TOGETHER]), batch_first=True, padding_value=model.pad
        )
        memory, allowed = model.encode(chunk)
        missing = longest - chunk.size(1)
        masks.append(pad(allowed, (0, missing)))
        parts = [part for layer in model.decoder.keys_values(memory) for part in layer]
        keys_values.append([pad(part, (0, 0, 0, missing)) for part in parts])
    whole = [torch.cat(parts) for parts in zip(*keys_values, strict=True)]
    return list(zip(whole[::2], whole[1::2], strict=True)), torch.cat(masks)
