"""Beam search with a length penalty."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.decoding.state import DecodingState
from models.seq2seq import Seq2SeqTransformer


def length_normalised(log_probability: float, length: int, penalty: float) -> float:
    """Return log P / ((5 + length) / 6)^penalty, the score of Wu et al. 2016 (arXiv:1609.08144, equation 14).

    `length` counts the generated tokens, <eos> included; penalty 0 is log P itself, a larger one favours longer sentences.
    """
    return log_probability / ((5 + length) / 6) ** penalty


def beam_search(
    model: Seq2SeqTransformer, src: Sequence[Tensor], max_len: int, beam: int, penalty: float
) -> list[list[int]]:
    """Return for each sentence the best-scored hypothesis that a beam search finds.

    At each position all one-token extensions of the sentence's hypotheses are ranked by log P. Of the best `beam`, those that
    end with <eos> are finished (at `max_len` all are); the best `beam` that do not end are extended next. A sentence is
    done when `beam` hypotheses are finished. The best of them by `length_normalised` is returned, the first of equals.

    Args:
        model: in eval mode, gradients off.
        src: as `DecodingState` takes it.
        max_len: number of tokens generated at most, <eos> included.
        beam: hypotheses per sentence.
        penalty: of the length.
    """
    device = src[0].device
    state = DecodingState(model, src)
    sentences = torch.arange(len(src), device=device)
    state.select(sentences[:, None].expand(-1, beam))
    log_p = torch.full((len(src), beam), -torch.inf, device=device)
    log_p[:, 0] = 0  # one empty hypothesis to start from, not `beam` equal ones
    tokens = torch.full((len(src), beam), model.bos, device=device)
    prefixes = tokens[:, :, None][:, :, :0]
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(len(src))]

    for length in range(1, max_len + 1):
        of_next = state.step(tokens.flatten()).float().log_softmax(-1).unflatten(0, (-1, beam))
        vocab = of_next.size(2)
        # at most `beam` of twice as many end, so at least `beam` continue
        log_p, index = (log_p[:, :, None] + of_next).flatten(1).topk(2 * beam)
        parents, tokens = index // vocab, index % vocab
        prefixes = torch.cat((_rows(prefixes, parents), tokens[:, :, None]), dim=2)

        ends = tokens == model.eos
        complete = (ends | (length == max_len)) & (log_p != -torch.inf)
        sentence_of_row = sentences.tolist()
        for row, rank in complete[:, :beam].nonzero().tolist():
            score = length_normalised(log_p[row, rank].item(), length, penalty)
            finished[sentence_of_row[row]].append((score, prefixes[row, rank].tolist()))

        live = torch.tensor(
            [row for row, n in enumerate(sentence_of_row) if len(finished[n]) < beam], device=device
        )
        if length == max_len or len(live) == 0:
            break
        # stable, so that the order by log P stays
        going = ends[live].byte().argsort(dim=1, stable=True)[:, :beam]
        log_p, tokens, parents = (t[live].gather(1, going) for t in (log_p, tokens, parents))
        prefixes, sentences = _rows(prefixes[live], going), sentences[live]
        state.select(live[:, None] * beam + parents)
    return [max(hypotheses, key=lambda scored: scored[0])[1] for hypotheses in finished]


def _rows(prefixes: Tensor, index: Tensor) -> Tensor:
    """[n, rows, length], [n, chosen] -> [n, chosen, length]"""
    return prefixes.gather(1, index[:, :, None].expand(-1, -1, prefixes.size(2)))
