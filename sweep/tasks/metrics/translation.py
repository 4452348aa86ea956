"""What translation tasks have in common: the loss, decoding and the evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models import Seq2SeqTransformer
from models.decoding.translate import translate
from prune.eval_mode import eval_mode
from sweep.tasks.data.sentence_pairs import PAD, PairSplit
from sweep.tasks.metrics.bleu import corpus_bleu, sacrebleu
from sweep.tasks.metrics.detokenize import detokenize

_TOKENS = 32
"""Tokens of a pair of captions, source and target."""


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy in nats, mean over the tokens of a batch that are not padding.

    Args:
        logits: `[B, T - 1, V]`, for the token after each position but the last.
        target: int64 `[B, T]`, with the <bos> that is not predicted.
    """
    return nn.functional.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)


def predicted_tokens(target: Tensor) -> Tensor:
    """How many tokens `cross_entropy` is the mean over, an int64 scalar."""
    return (target[:, 1:] != PAD).sum()


def mean_loss(model: Seq2SeqTransformer, split: PairSplit, batch_size: int) -> float:
    """Cross entropy in nats, mean over all tokens of `split`, in eval mode."""
    device = next(model.parameters()).device
    total, tokens = 0.0, 0
    with eval_mode(model), torch.no_grad():
        # by length: in random batches half of the work would be on padding
        for (source, _), target in split.bucketed(_TOKENS * batch_size, torch.arange(len(split))):
            count = int(predicted_tokens(target))
            total += model.loss(source.to(device), target.to(device)).item() * count
            tokens += count
    return total / tokens


def evaluate(
    model: Seq2SeqTransformer, split: PairSplit, batch_size: int, max_len: int, beam: int
) -> dict[str, float | str]:
    """Mean loss over `split`, and BLEU of its translation.

    `BLEU` is on tokens against tokenized references and the main figure; `bleu_precision_1` to `_4` and
    `bleu_brevity_penalty` are its parts. `bleu_paper` compares tokens with the raw references split at white
    space, where "drink." is not "drink". `sacrebleu` is on plain text, with `sacrebleu_signature`.
    """
    outputs = translations(model, split.source.lists(), split.vocabulary, max_len, beam, batch_size)
    joined = [" ".join(tokens) for tokens in outputs]
    main = corpus_bleu(joined, split.texts("reference"))
    raw = split.texts("target")
    sacre, signature = sacrebleu([detokenize(tokens) for tokens in outputs], raw)
    return {
        "loss": mean_loss(model, split, batch_size),
        "BLEU": main.score,
        **{f"bleu_precision_{n}": precision for n, precision in enumerate(main.precisions, 1)},
        "bleu_brevity_penalty": main.brevity_penalty,
        "bleu_paper": corpus_bleu(joined, raw).score,
        "sacrebleu": sacre,
        "sacrebleu_signature": signature,
    }


def samples(
    model: Seq2SeqTransformer, split: PairSplit, count: int, max_len: int, beam: int
) -> list[dict[str, str]]:
    """Source, reference and output of the first `count` rows of `split`, as text."""
    sources = split.source.lists()[:count]
    outputs = translations(model, sources, split.vocabulary, max_len, beam, count)
    texts = zip(split.texts("source"), split.texts("target"), outputs, strict=False)
    return [
        {"source": source, "reference": target, "output": detokenize(tokens)}
        for source, target, tokens in texts
    ]


def translations(
    model: Seq2SeqTransformer,
    sources: list[Tensor],
    vocabulary: Sequence[str],
    max_len: int,
    beam: int,
    batch_size: int,
) -> list[list[str]]:
    """Tokens of the translation of each of `sources`."""
    decoded = translate(model, sources, max_len, beam, batch_size=batch_size)
    return [[vocabulary[token] for token in tokens] for tokens in decoded]
