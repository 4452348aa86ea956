"""Greedy decoding: the likeliest token, again and again."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.decoding.state import DecodingState
from models.seq2seq import Seq2SeqTransformer

# finished sentences are dropped when they are this share of all: dropping copies the keys and values of the others
_DROP_SHARE = 0.125


def greedy(model: Seq2SeqTransformer, src: Sequence[Tensor], max_len: int) -> list[list[int]]:
    """Return for each sentence the likeliest token after each prefix, up to `max_len` tokens, filled up with <eos>.

    Args:
        model: in eval mode, gradients off.
        src: as `DecodingState` takes it.
        max_len: number of tokens generated at most, <eos> included.
    """
    state = DecodingState(model, src)
    sentences = torch.arange(len(src), device=src[0].device)
    decoded = torch.full((len(src), max_len), model.eos, device=src[0].device)
    tokens = torch.full_like(sentences, model.bos)
    finished = torch.zeros_like(sentences, dtype=torch.bool)
    for position in range(max_len):
        # the index of max comes several times faster than argmax on the CPU
        tokens = state.step(tokens).max(-1).indices
        decoded[sentences, position] = tokens.where(~finished, model.eos)
        finished |= tokens == model.eos
        done = int(finished.sum())
        if done == len(finished):
            break
        if done >= _DROP_SHARE * len(finished):
            live = (~finished).nonzero()[:, 0]
            state.select(live[:, None])
            sentences, tokens, finished = sentences[live], tokens[live], finished[live]
    return decoded.tolist()
