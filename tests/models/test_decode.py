"""Decoding against the definition: greedy against the naive decoder, beam search against a plain one and all sequences."""

import itertools
import math
from collections.abc import Sequence
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from models import Seq2SeqTransformer, translate
from models.decoding.beam import length_normalised

PAD, BOS, EOS = 1, 2, 3
Sentences = list[list[int]]


def tiny(seed: int, tgt_vocab: int = 20) -> Seq2SeqTransformer:
    """An untrained model that looks at its source more than a fresh one does, so that translations differ."""
    torch.manual_seed(seed)
    model = Seq2SeqTransformer(
        30, tgt_vocab, d_model=16, heads=2, encoder_layers=1, decoder_layers=2, ffn=24, max_len=24
    )
    with torch.no_grad():
        for layer in model.decoder.layers:
            layer.cross_attn.kv.weight *= 2
    return model


def sentences(count: int, longest: int = 12) -> Sentences:
    lengths = torch.randint(0, longest + 1, (count,)).tolist()
    return [[BOS, *torch.randint(4, 30, (n,)).tolist(), EOS] for n in lengths]


@torch.no_grad()
def log_probabilities(model: Seq2SeqTransformer, sentence: Sequence[int], prefix: Sequence[int]) -> Tensor:
    """Of the token after the prefix, [V]."""
    return model(torch.tensor([sentence]), torch.tensor([[BOS, *prefix]]))[0, -1].log_softmax(-1)


def naive(model: Seq2SeqTransformer, sentence: list[int], max_len: int) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < max_len:
        token = int(log_probabilities(model, sentence, tokens).argmax())
        if token == EOS:
            break
        tokens.append(token)
    return tokens


def trained() -> Seq2SeqTransformer:
    """A model that has learned to say a sentence backwards: it ends where the sentence ends."""
    return _trained(torch.get_default_device())


@cache
def _trained(_device: torch.device) -> Seq2SeqTransformer:
    torch.manual_seed(0)
    model = Seq2SeqTransformer(
        30, 30, d_model=32, heads=2, encoder_layers=1, decoder_layers=1, ffn=32, dropout=0.0, max_len=24
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        words = [s[1:-1] for s in sentences(64, longest=5)]
        src, tgt = (
            torch.nn.utils.rnn.pad_sequence(
                [torch.tensor([BOS, *w, EOS]) for w in side], batch_first=True, padding_value=PAD
            )
            for side in (words, [w[::-1] for w in words])
        )
        optimizer.zero_grad()
        model.loss(src, tgt).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("seed", range(12))
def test_greedy_is_the_naive_decoder(seed: int) -> None:
    model = tiny(seed).eval()
    src = sentences(12)
    assert translate(model, src, max_len=18, batch_size=5) == [naive(model, s, 18) for s in src]


@pytest.mark.slow
def test_greedy_is_the_naive_decoder_when_sentences_end_one_by_one() -> None:
    src = sentences(60, longest=8)
    expected = [naive(trained(), s, 15) for s in src]
    assert len({len(tokens) for tokens in expected}) >= 6
    assert sum(tokens == s[-2:0:-1] for tokens, s in zip(expected, src, strict=True)) > 20
    for batch_size in (1, 7, 256):
        assert translate(trained(), src, max_len=15, batch_size=batch_size) == expected


@pytest.mark.parametrize("device", ["cpu"], indirect=True)  # of this very random model
def test_a_decoded_padding_token_is_no_key() -> None:
    model = tiny(1).eval()
    src = sentences(15)
    expected = [naive(model, s, 18) for s in src]
    # padding, and something else after it that could depend on it
    assert sum(PAD in tokens and tokens[-1] != PAD for tokens in expected) > 3
    assert translate(model, src, max_len=18) == expected


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu"], indirect=True)  # of this very random model
def test_max_len_counts_generated_tokens() -> None:
    src = [[BOS, 10, 11, 12, EOS]]
    whole = translate(trained(), src, max_len=20)[0]
    assert whole == [12, 11, 10]
    for beam in (1, 4):
        found = [translate(trained(), src, max_len=n, beam=beam)[0] for n in range(1, 6)]
        assert found == [whole[:1], whole[:2], whole, whole, whole]


def all_sequences(vocab: int, max_len: int) -> list[tuple[int, ...]]:
    """Every sequence that ends with its only <eos>, and every one of `max_len` tokens without."""
    words = [token for token in range(vocab) if token != EOS]
    ended = [(*s, EOS) for n in range(max_len) for s in itertools.product(words, repeat=n)]
    return ended + list(itertools.product(words, repeat=max_len))


@pytest.mark.parametrize("device", ["cpu"], indirect=True)  # of this very random model
def test_a_wide_beam_finds_the_best_of_all_sequences() -> None:
    vocab, max_len = 5, 3
    found = set()
    for seed in range(4):
        model = tiny(seed, vocab).eval()
        with torch.no_grad():
            model.generator.bias[EOS] += 1  # so that short sentences can win
        src = sentences(2)
        log_p = []
        for sentence in src:
            steps = cache(partial(log_probabilities, model, tuple(sentence)))
            log_p.append(
                {
                    sequence: sum(steps(sequence[:n])[token].item() for n, token in enumerate(sequence))
                    for sequence in all_sequences(vocab, max_len)
                }
            )
        for penalty in (0.0, 0.6, 3.0):
            expected = []
            for of_sequences in log_p:
                best = max(of_sequences, key=lambda s: of_sequences[s] / ((5 + len(s)) / 6) ** penalty)
                expected.append([token for token in best if token != EOS])
            assert translate(model, src, max_len, beam=vocab**max_len, length_penalty=penalty) == expected
            found.add(tuple(len(tokens) for tokens in expected))
    assert len(found) > 3


def plain_beam_search(
    model: Seq2SeqTransformer, sentence: list[int], max_len: int, beam: int, penalty: float
) -> list[int]:
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, max_len + 1):
        extended = [
            (log_p + step, [*tokens, token])
            for log_p, tokens in live
            for token, step in enumerate(log_probabilities(model, sentence, tokens).tolist())
        ]
        extended.sort(key=lambda hypothesis: -hypothesis[0])
        for log_p, tokens in extended[:beam]:
            if tokens[-1] == EOS or length == max_len:
                finished.append((log_p / ((5 + length) / 6) ** penalty, [t for t in tokens if t != EOS]))
        if len(finished) >= beam:
            break
        live = [hypothesis for hypothesis in extended if hypothesis[1][-1] != EOS][:beam]
    return max(finished, key=lambda hypothesis: hypothesis[0])[1]


@pytest.mark.slow
@pytest.mark.parametrize("beam", [2, 5])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beam_search_is_the_plain_one(beam: int, penalty: float) -> None:
    differs = 0
    for model in (tiny(1).eval(), tiny(2).eval(), trained()):
        src = sentences(5, longest=7)
        expected = [plain_beam_search(model, s, 8, beam, penalty) for s in src]
        assert translate(model, src, 8, beam=beam, length_penalty=penalty, batch_size=20) == expected
        differs += sum(found != naive(model, s, 8) for found, s in zip(expected, src, strict=True))
    assert differs > 0


def test_the_length_penalty_by_hand() -> None:
    # ((5 + 7) / 6)^1 = 2, ((5 + 19) / 6)^0.5 = 2
    assert length_normalised(-3.0, 7, 1.0) == -1.5
    assert length_normalised(-3.0, 19, 0.5) == -1.5
    assert length_normalised(-3.0, 19, 0.0) == -3.0
    # by its own length a sentence is worth log P / length in the end
    assert math.isclose(length_normalised(-100.0, 10**6, 1.0), -100 * 6 / (10**6 + 5))


@pytest.mark.parametrize("device", ["cpu"], indirect=True)  # of this very random model
def test_a_larger_penalty_prefers_longer_sentences() -> None:
    for seed in (1, 3, 6):
        model, src = tiny(seed), sentences(15)
        short, long = (
            sum(map(len, translate(model, src, 12, beam=4, length_penalty=penalty))) for penalty in (0.0, 3.0)
        )
        assert short < long


@pytest.mark.slow
@pytest.mark.parametrize("beam", [1, 3])
def test_what_else_is_decoded_has_no_effect(beam: int) -> None:
    src = sentences(30, longest=8)
    together = translate(trained(), src, 15, beam=beam)
    assert translate(trained(), src[::-1], 15, beam=beam) == together[::-1]
    assert translate(trained(), src[:3], 15, beam=beam) == together[:3]
    assert [translate(trained(), [s], 15, beam=beam)[0] for s in src] == together
    padded = [torch.tensor(s + [PAD] * 3) for s in src]
    assert translate(trained(), padded, 15, beam=beam) == together


@pytest.mark.parametrize("beam", [1, 3])
def test_decoding_leaves_the_model_as_it_was(beam: int) -> None:
    model = tiny(0).train()
    model.decoder.eval()
    flags = {name: module.training for name, module in model.named_modules()}
    src = sentences(10)
    first = translate(model, src, 10, beam=beam)
    # dropout is off, so the same comes again
    assert translate(model, src, 10, beam=beam) == first == translate(model.eval(), src, 10, beam=beam)
    model.train()
    model.decoder.eval()
    with pytest.raises(ValueError, match="a sequence of 25 tokens is longer than the model's 24 positions"):
        translate(model, [*src, [5] * 25], 10, beam=beam)
    assert {name: module.training for name, module in model.named_modules()} == flags


def test_nothing_to_translate() -> None:
    assert translate(tiny(0), [], 10) == []


@pytest.mark.parametrize("beam", [1, 3])
def test_a_model_that_has_diverged_is_decoded_too(beam: int) -> None:
    model = tiny(0)
    torch.nn.init.constant_(model.generator.weight, torch.nan)
    found = translate(model, sentences(5), 7, beam=beam)
    assert len(found) == 5
    assert max(map(len, found)) <= 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_len": 0}, "max_len is 0, but it needs to be at least 1"),
        ({"beam": 0}, "beam is 0, but it needs to be at least 1"),
        ({"batch_size": 0}, "batch_size is 0, but it needs to be at least 1"),
        ({"length_penalty": -0.5}, "length_penalty is -0.5, but it needs to be 0 or more"),
        ({"max_len": 25}, "max_len is 25, but the model has 24 positions"),
        ({"src": [[BOS, EOS], []]}, "sentence 1 has no tokens: give at least <bos> and <eos>"),
        ({"src": [[PAD, PAD]]}, "sentence 0 has no tokens"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        translate(tiny(0), **{"src": [[BOS, EOS]], "max_len": 5} | arguments)


def test_the_most_tokens_that_there_are_positions_for() -> None:
    model = tiny(0).eval()
    src = sentences(5)
    assert translate(model, src, 24) == [naive(model, s, 24) for s in src]
