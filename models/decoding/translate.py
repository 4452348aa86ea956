"""Translating a whole set of sentences."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.decoding.beam import beam_search
from models.decoding.greedy import greedy
from models.seq2seq import Seq2SeqTransformer


def translate(
    model: Seq2SeqTransformer,
    src: Sequence[Sequence[int] | Tensor],
    max_len: int,
    beam: int = 1,
    length_penalty: float = 0.6,
    batch_size: int = 1024,
) -> list[list[int]]:
    """Return the translation of each sentence as token ids, without <bos> and cut before <eos>.

    Decoding is in eval mode, without gradients, under the autocast in force; training flags are as before afterwards.
    Sentences of like length are decoded together; what a sentence is batched with has no effect on it, except that
    products of matrices of another size may round differently.

    Args:
        model: any device and dtype.
        src: token ids of each sentence, with <bos> and <eos>, as a list or an int64 tensor [S].
        max_len: number of tokens generated at most, <eos> included.
        beam: 1 is greedy decoding; more is beam search, see `models.decoding.beam.beam_search`, with so many hypotheses.
        length_penalty: alpha of `models.decoding.beam.length_normalised`; has no meaning for greedy decoding.
        batch_size: hypotheses decoded at a time.

    Raises:
        ValueError: a sentence without tokens, padding apart; `max_len`, `beam` or `batch_size` below 1; a negative penalty; more
            tokens, read or generated, than the model has positions.
    """
    _check(model, max_len, beam, length_penalty, batch_size)
    sentences = [torch.as_tensor(tokens, dtype=torch.int64) for tokens in src]
    for index, sentence in enumerate(sentences):
        if not (sentence != model.pad).any():
            raise ValueError(f"sentence {index} has no tokens: give at least <bos> and <eos>")
    # longest first: if memory does not suffice, it is known at once
    order = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
    size = max(1, batch_size // beam)
    device = model.generator.weight.device
    translations: list[list[int]] = [[] for _ in sentences]
    with _eval_mode(model), torch.inference_mode():
        for start in range(0, len(order), size):
            indices = order[start : start + size]
            batch = [sentences[i].to(device) for i in indices]
            decoded = (
                greedy(model, batch, max_len)
                if beam == 1
                else beam_search(model, batch, max_len, beam, length_penalty)
            )
            for i, tokens in zip(indices, decoded, strict=True):
                translations[i] = tokens[: tokens.index(model.eos)] if model.eos in tokens else tokens
    return translations


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """As `prune.eval_mode`, which is not imported: `models` needs nothing but torch."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in flags:
            module.training = training


def _check(
    model: Seq2SeqTransformer, max_len: int, beam: int, length_penalty: float, batch_size: int
) -> None:
    for name, value in (("max_len", max_len), ("beam", beam), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} is {value}, but it needs to be at least 1")
    if length_penalty < 0:
        raise ValueError(f"length_penalty is {length_penalty}, but it needs to be 0 or more")
    # the last token is generated but not read, <bos> is read but not generated
    if max_len > model.tgt_embedding.max_len:
        raise ValueError(
            f"max_len is {max_len}, but the model has {model.tgt_embedding.max_len} positions: "
            "generate fewer tokens, or build the model with a larger max_len"
        )
