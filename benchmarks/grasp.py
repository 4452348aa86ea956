"""The whole GraSP step on the translator, against the same step in plain PyTorch: time by phase, memory.

    python benchmarks/grasp.py [--compression 1] [--batches 2] [--rounds 2] [--threads 2] [--json FILE]

The step: the gradient g summed over the batches, the product H g (a double backward per batch), scores w * (H g), masks over all
prunable weights. The model has the paper's sizes (3 + 3 layers of 512, vocabularies 19214 and 10837), a batch is 64 pairs of 22
tokens. The plain form copies the scores to one tensor (`torch.cat`), takes `kthvalue` and compares. Each form has its own
process; they take their steps in turn. Memory is what the peak of a step adds to the model, in processes that give freed memory
back at once.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from process_memory import megabytes, reset_peak
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from turns import Turn, Worker, work

import prune
from models import Seq2SeqTransformer
from prune.masked_linear import prunable_linears
from prune.masks import Score, kept_weights, select
from prune.methods import current_masks
from prune.scoring_context import Batches, Scoring, scoring_mode
from sweep.core.provenance import machine
from sweep.tasks.metrics.translation import cross_entropy

PAIRS, TOKENS, SOURCE_VOCABULARY, TARGET_VOCABULARY = 64, 22, 19214, 10837

Seconds = dict[str, float]


def model_and_batches(count: int) -> tuple[Seq2SeqTransformer, Batches]:
    torch.manual_seed(0)
    model = Seq2SeqTransformer(SOURCE_VOCABULARY, TARGET_VOCABULARY)
    batches = []
    for _ in range(count):
        source = torch.randint(4, SOURCE_VOCABULARY, (PAIRS, TOKENS))
        target = torch.randint(4, TARGET_VOCABULARY, (PAIRS, TOKENS + 1))
        batches.append(((source, target[:, :-1]), target))
    return model, batches


class Stopwatch:
    """Seconds of each part, as they end."""

    def __init__(self) -> None:
        self.seconds: Seconds = {}
        self._last = time.perf_counter()

    def part(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now


def plain(model: Seq2SeqTransformer, batches: Batches, compression: float) -> Seconds:
    """As a user would write it."""
    watch = Stopwatch()
    model.eval()
    linears = prunable_linears(model, model.unpruned("paper"))
    weights = [linear.weight for linear in linears.values()]
    with sdpa_kernel(SDPBackend.MATH):
        total = [torch.zeros_like(w) for w in weights]
        for inputs, target in batches:
            gradient = torch.autograd.grad(cross_entropy(model(*inputs) / 200, target), weights)
            total = [t + g for t, g in zip(total, gradient, strict=True)]
        watch.part("gradient")
        product = [torch.zeros_like(w) for w in weights]
        for inputs, target in batches:
            loss = cross_entropy(model(*inputs) / 200, target)
            gradient = torch.autograd.grad(loss, weights, create_graph=True)
            dot = torch.stack([(g * t).sum() for g, t in zip(gradient, total, strict=True)]).sum()
            product = [p + h for p, h in zip(product, torch.autograd.grad(dot, weights), strict=True)]
        watch.part("Hessian product")
    with torch.no_grad():
        scores = [w * p for w, p in zip(weights, product, strict=True)]
        flat = torch.cat([s.flatten() for s in scores])
        keep = kept_weights(flat.numel(), compression)
        threshold = flat.kthvalue(flat.numel() - keep + 1).values
        masks = [s >= threshold for s in scores]
    watch.part("selection")
    assert sum(int(m.sum()) for m in masks) >= keep
    return watch.seconds


def project(model: Seq2SeqTransformer, batches: Batches, compression: float) -> Seconds:
    """What `prune.prune_model(..., "grasp", ...)` does, part by part."""
    watch = Stopwatch()
    linears: dict[str, nn.Linear] = prunable_linears(model, model.unpruned("paper"))
    masks: dict[str, Tensor] = current_masks(linears)
    with scoring_mode(model):
        scoring = Scoring(model, cross_entropy, batches, linears, masks)
        gradient = scoring.gradient(temperature=200)
        watch.part("gradient")
        product = scoring.hessian_product(gradient, temperature=200)
        watch.part("Hessian product")
    pairs = zip(product, scoring.weights, strict=True)
    scores = {name: Score(p, w.detach()) for name, (p, w) in zip(scoring.names, pairs, strict=True)}
    select(scores, kept_weights(sum(m.numel() for m in masks.values()), compression), masks)
    watch.part("selection")
    return watch.seconds


def whole(model: Seq2SeqTransformer, batches: Batches, compression: float) -> Seconds:
    """The call itself, on a fresh model."""
    watch = Stopwatch()
    skip = model.unpruned("paper")
    prune.prune_model(model, cross_entropy, batches, "grasp", compression, skip=skip)
    watch.part("all")
    return watch.seconds


FORMS = {"plain": plain, "project": project, "prune_model": whole}


def job(form: str, compression: float, batches: int, rounds: int, threads: int, turn: Turn) -> dict[str, Any]:
    """Take a step a turn; return the seconds of each part in each, and the most that a step added to memory, MB."""
    torch.set_num_threads(threads)
    turn()
    parts, added = [], 0.0
    for _ in range(rounds):
        model, data = model_and_batches(batches)
        before = megabytes("VmRSS")
        reset_peak()
        parts.append(FORMS[form](model, data, compression))
        added = max(added, megabytes("VmHWM") - before)
        turn()
    return {"parts": parts, "megabytes": added}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compression", type=float, default=1.0)
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the measurements here")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    compression, batches = arguments.compression, arguments.batches
    rounds, threads = arguments.rounds, arguments.threads
    if arguments.work:
        work(lambda turn: job(arguments.work, compression, batches, rounds, threads, turn))
        return
    options = [
        f"--compression={compression}",
        f"--batches={batches}",
        f"--rounds={rounds}",
        f"--threads={threads}",
    ]
    # by default the allocator keeps what is freed in pieces of up to 32 MB
    environment = {"MALLOC_MMAP_THRESHOLD_": "65536"}
    workers = {form: Worker(*options, "--work", form, environment=environment) for form in FORMS}
    for _ in range(rounds):
        for worker in workers.values():
            worker.piece()
    found = {form: worker.result() for form, worker in workers.items()}
    for form, measured in found.items():
        medians = {
            part: statistics.median(seconds[part] for seconds in measured["parts"])
            for part in measured["parts"][0]
        }
        parts = ", ".join(f"{part} {seconds:.3f} s" for part, seconds in medians.items())
        print(f"{form:12}{sum(medians.values()):7.2f} s ({parts}), {measured['megabytes']:.0f} MB")
    if arguments.json:
        asked = {"compression": compression, "batches": batches, "threads": threads}
        content = {"machine": machine(), **asked, "measurements": found}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
