"""A training step of the translator against the same step in plain PyTorch: time and memory, at several compressions.

    python benchmarks/translation_step.py [--compressions 0 1 2] [--threads 2] [--steps 7] [--json FILE]

A step is 128 pairs of 22 tokens through the paper's model (3 + 3 layers of 512, vocabularies 19214 and 10837): forward,
loss, backward, Adam. The plain form is what a user would write: `nn.Transformer`, `F.linear(x, W * M)` in the feed-forward and
the generator (a mask on `out_proj` would be ignored there), `CrossEntropyLoss` and `torch.optim.Adam` as it comes; with bf16,
under autocast and with `fused=True`. Each kind has its own process; they take their steps in turn. Memory is what the
peak of a step adds to what is allocated between steps (weights, Adam's moments), in processes that give freed memory
back at once.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from process_memory import megabytes, reset_peak
from torch import Tensor, nn
from torch.nn import functional
from turns import Turn, Worker, work

import prune
from models import Seq2SeqTransformer
from sweep.core.provenance import machine
from sweep.run.embedding_grads import RowGradients
from sweep.tasks.metrics.translation import cross_entropy

PAIRS, TOKENS = 128, 22
SOURCE_VOCABULARY, TARGET_VOCABULARY, SIZE = 19214, 10837, 512

LossOf = Callable[[Tensor, Tensor], Tensor]


class PlainMaskedLinear(nn.Linear):
    """`F.linear(x, W * M)`."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.mask, self.bias)


class PlainTransformer(nn.Module):
    """PyTorch's translation tutorial, with masks where a mask has an effect."""

    def __init__(self, density: float) -> None:
        super().__init__()
        self.source = nn.Embedding(SOURCE_VOCABULARY, SIZE)
        self.target = nn.Embedding(TARGET_VOCABULARY, SIZE)
        self.positions = nn.Parameter(torch.randn(1, 64, SIZE), requires_grad=False)
        self.dropout = nn.Dropout(0.1)
        self.transformer = nn.Transformer(SIZE, 8, 3, 3, SIZE, 0.1, batch_first=True)
        self.generator = nn.Linear(SIZE, TARGET_VOCABULARY)
        for module in list(self.modules()):
            for name, child in module.named_children():
                if type(child) is nn.Linear:
                    masked = PlainMaskedLinear(child.in_features, child.out_features)
                    masked.register_buffer("mask", (torch.rand_like(masked.weight) < density).float())
                    setattr(module, name, masked)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        embedded = [
            self.dropout(table(tokens) * SIZE**0.5 + self.positions[:, : tokens.size(1)])
            for table, tokens in ((self.source, source), (self.target, target))
        ]
        causal = nn.Transformer.generate_square_subsequent_mask(target.size(1), dtype=torch.bool)
        padding = source == 1
        hidden = self.transformer(
            *embedded,
            tgt_mask=causal,
            src_key_padding_mask=padding,
            tgt_key_padding_mask=target == 1,
            memory_key_padding_mask=padding,
        )
        return self.generator(hidden)


def plain(compression: float, _form: str) -> tuple[nn.Module, LossOf]:
    """PyTorch's own parts."""
    model = PlainTransformer(10**-compression)
    criterion = nn.CrossEntropyLoss(ignore_index=1)

    def loss(source: Tensor, target: Tensor) -> Tensor:
        logits = model(source, target[:, :-1])
        return criterion(logits.reshape(-1, TARGET_VOCABULARY), target[:, 1:].reshape(-1))

    return model, loss


def project(compression: float, form: str) -> tuple[nn.Module, LossOf]:
    """The project's model; `form` of the loss: "chunked", "plain", or "recompute"."""
    model = Seq2SeqTransformer(SOURCE_VOCABULARY, TARGET_VOCABULARY)
    prune.prune_model(model, cross_entropy, [], "random", compression, skip=model.unpruned("paper"))
    forms: dict[str, LossOf] = {
        "chunked": model.loss,
        "plain": lambda source, target: cross_entropy(model(source, target[:, :-1]), target),
        "recompute": lambda source, target: model.loss(source, target, recompute=True),
    }
    return model, forms[form]


KINDS: dict[str, tuple[Callable[[float, str], tuple[nn.Module, LossOf]], str, bool, bool]] = {
    # name: model, form of the loss, bf16, fused Adam with gradients of embeddings row by row
    "plain PyTorch": (plain, "plain", False, False),
    "plain PyTorch, bf16, fused Adam": (plain, "plain", True, True),
    "project": (project, "chunked", False, True),
    "project, bf16": (project, "chunked", True, True),
}
MEMORY_KINDS = {
    "plain PyTorch": KINDS["plain PyTorch"],
    "project, plain form": (project, "plain", False, True),
    "project": KINDS["project"],
    "project, bf16": KINDS["project, bf16"],
    "project, recompute": (project, "recompute", False, True),
}


def job(kind: str, compression: float, threads: int, steps: int, turn: Turn) -> float:
    """Take `steps` steps, the first of them before the first turn; return the memory that the last one added at its peak, MB."""
    make, form, bf16, fused = MEMORY_KINDS.get(kind) or KINDS[kind]
    torch.set_num_threads(threads)
    torch.set_flush_denormal(make is project)  # as every run does
    torch.manual_seed(0)
    model, loss = make(compression, form)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=fused)
    gradients = RowGradients(model if make is project else nn.Module())
    source = torch.randint(4, SOURCE_VOCABULARY, (PAIRS, TOKENS))
    target = torch.randint(4, TARGET_VOCABULARY, (PAIRS, TOKENS + 1))
    model.train()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = loss(source, target)
        optimizer.zero_grad()
        value.backward()
        with gradients.for_step():
            optimizer.step()

    step()
    turn()
    added = 0.0
    for _ in range(steps):
        optimizer.zero_grad()
        before = megabytes("VmRSS")
        reset_peak()
        step()
        added = megabytes("VmHWM") - before
        turn()
    return added


def measure(compression: float, threads: int, steps: int) -> dict[str, Any]:
    """Seconds a step and megabytes of every kind."""
    common = ["--worker-compression", str(compression), "--threads", str(threads)]
    workers = {kind: Worker(*common, "--work", kind, "--steps", str(steps)) for kind in KINDS}
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(steps):
        for kind, worker in workers.items():
            seconds[kind].append(worker.piece())
    for worker in workers.values():
        worker.result()
    memory = {}
    for kind in MEMORY_KINDS:
        # by default the allocator keeps what is freed in pieces of up to 32 MB
        worker = Worker(
            *common, "--work", kind, "--steps", "1", environment={"MALLOC_MMAP_THRESHOLD_": "65536"}
        )
        worker.piece()
        memory[kind] = worker.result()
    return {"compression": compression, "threads": threads, "seconds": seconds, "megabytes": memory}


def show(found: dict[str, Any]) -> None:
    """The measurements of one compression, as a table."""
    medians = {kind: statistics.median(values) for kind, values in found["seconds"].items()}
    print(f"compression {found['compression']:g}, {found['threads']} threads")
    for kind, seconds in medians.items():
        ratios = zip(found["seconds"]["plain PyTorch"], found["seconds"][kind], strict=True)
        print(f"  {kind:34}{seconds:6.2f} s {statistics.median(a / b for a, b in ratios):6.2f} x")
    for kind, added in found["megabytes"].items():
        print(f"  {kind:34}{added:6.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compressions", type=float, nargs="+", default=[0.0, 1.0, 2.0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the measurements here")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--worker-compression", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(
            lambda turn: job(
                arguments.work, arguments.worker_compression, arguments.threads, arguments.steps, turn
            )
        )
        return
    found = []
    for compression in arguments.compressions:
        found.append(measure(compression, arguments.threads, arguments.steps))
        show(found[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "measurements": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
