"""How much faster `models.translate` is than decoding one sentence at a time with the whole prefix again for each token.

    python benchmarks/decode.py                                     default sizes, untrained weights, random sentences
    python benchmarks/decode.py --weights model.pt --sentences ids.txt --max-len 60      a trained model, real sentences

All decode greedily with the same weights in float32, and their tokens are compared. Of the naive decoders, "forward" calls the
model with the sentence and the whole prefix for each token; "tutorial", as in PyTorch's translation tutorial, runs the encoder
once per sentence and the generator at the last position only. They are timed on a sample of the sentences, spread evenly over
the lengths, and their time is scaled up to all of them; `--sample 0` times them on all.
An untrained model does not end its sentences, so each gets exactly `--max-len` tokens.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models import Seq2SeqTransformer, translate
from prune import prune_model

NextToken = Callable[[Tensor], Tensor]
Kind = Callable[[Seq2SeqTransformer, Tensor], NextToken]


def forward(model: Seq2SeqTransformer, src: Tensor) -> NextToken:
    """Return prefix [1, T] -> logits of the next token [V], everything computed from scratch for each prefix."""
    return lambda prefix: model(src, prefix)[0, -1]


def tutorial(model: Seq2SeqTransformer, src: Tensor) -> NextToken:
    """As `forward`, but the memory is computed once and the logits at the last position only."""
    memory, allowed = model.encode(src)

    def logits(prefix: Tensor) -> Tensor:
        earlier = torch.ones(prefix.size(1), prefix.size(1), dtype=torch.bool).tril()
        x = model.decoder(model.tgt_embedding(prefix), earlier, model.decoder.keys_values(memory), allowed)
        return model.generator(x[0, -1])

    return logits


@torch.inference_mode()
def naive(kind: Kind, model: Seq2SeqTransformer, sentence: list[int], max_len: int) -> list[int]:
    """Return the greedy translation of one sentence."""
    next_token = kind(model, torch.tensor([sentence]))
    tokens = [model.bos]
    for _ in range(max_len):
        token = int(next_token(torch.tensor([tokens])).argmax())
        if token == model.eos:
            break
        tokens.append(token)
    return tokens[1:]


def random_sentences(model: Seq2SeqTransformer, count: int) -> list[list[int]]:
    """Draw token ids; lengths as in Multi30k's German: about 12 tokens, from 4 to 35."""
    # the logarithm of the lengths is about normal
    lengths = (torch.randn(count) * 0.33 + 2.45).exp().round().int().clamp(4, 35).tolist()
    vocab = model.src_embedding.tokens.num_embeddings
    first_word = max(model.pad, model.bos, model.eos) + 1
    return [[model.bos, *torch.randint(first_word, vocab, (n,)).tolist(), model.eos] for n in lengths]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=Path, help="state dict of a model of the default sizes; default: untrained"
    )
    parser.add_argument("--sentences", type=Path, help="token ids, a sentence per line; default: random")
    parser.add_argument(
        "--compression",
        type=float,
        help="prune at random to a density of 10^-COMPRESSION; default: not masked",
    )
    parser.add_argument("--count", type=int, default=1000, help="number of random sentences")
    parser.add_argument("--max-len", type=int, default=15, help="tokens generated per sentence at most")
    parser.add_argument("--sample", type=int, default=40, help="sentences for the naive decoder; 0: all")
    parser.add_argument("--repeats", type=int, default=3, help="timings of translate; the median counts")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = Seq2SeqTransformer().eval()
    if options.weights:
        model.load_state_dict(torch.load(options.weights, weights_only=True))
    if options.compression is not None:
        skip = model.unpruned("paper")
        prune_model(model, cross_entropy, (), "random", options.compression, skip=skip)
    if options.sentences:
        lines = options.sentences.read_text().splitlines()
        sentences = [[int(token) for token in line.split()] for line in lines]
    else:
        sentences = random_sentences(model, options.count)

    by_length = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    size = min(options.sample, len(sentences)) or len(sentences)
    sample = [by_length[i * len(sentences) // size] for i in range(size)]

    timings = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        found = translate(model, sentences, options.max_len, batch_size=options.batch_size)
        timings.append(time.perf_counter() - start)
    seconds = sorted(timings)[len(timings) // 2]
    generated = sum(map(len, found))
    print(f"{len(sentences)} sentences, {generated} tokens generated, {options.threads} threads")
    print(f"translate          {seconds:9.2f} s   (median of {options.repeats})")

    figures = {
        "threads": options.threads,
        "compression": options.compression,
        "sentences": len(sentences),
        "sample": size,
        "tokens_read": sum(map(len, sentences)),
        "tokens_generated": generated,
        "max_len": options.max_len,
        "batch_size": options.batch_size,
        "translate_seconds": seconds,
    }
    for name, kind in (("tutorial", tutorial), ("forward", forward)):
        naive(kind, model, sentences[sample[0]], 2)
        start = time.perf_counter()
        expected = [naive(kind, model, sentences[i], options.max_len) for i in sample]
        naive_seconds = (time.perf_counter() - start) * len(sentences) / size
        equal = sum(found[i] == tokens for i, tokens in zip(sample, expected, strict=True))
        figures |= {
            f"{name}_seconds": naive_seconds,
            f"{name}_ratio": naive_seconds / seconds,
            f"{name}_equal": equal,
        }
        scaled = f" (timed on {size} sentences, scaled)" if size < len(sentences) else ""
        print(
            f"naive, {name:9}   {naive_seconds:9.2f} s   {naive_seconds / seconds:6.1f} times as long, "
            f"same tokens in {equal} of {size}{scaled}"
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
