"""A whole training step of the translator with `MaskedLinear` against the same model with `F.linear(x, W * M)`.

    python benchmarks/train_step.py [--compressions 0 0.5 1 2] [--prunable paper all] [--bf16]
                                    [--threads 2] [--steps 5] [--json FILE]

A step is 128 pairs of 22 tokens through the paper's model: forward, loss, backward, fused Adam, as every run takes it. Masks are
random. The two models take their steps in turn, in one process. At the end of each, a profile of a step of the first: what
share of the time the masked layers have, and what else costs most.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import prune
from models import Seq2SeqTransformer
from sweep.provenance import machine
from sweep.row_gradients import RowGradients
from sweep.translation import cross_entropy

PAIRS, TOKENS = 128, 22
SOURCE_VOCABULARY, TARGET_VOCABULARY = 19214, 10837


class Multiplied(prune.MaskedLinear):
    """`F.linear(x, W * M)`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight * self.weight_mask, self.bias)


def stepper(
    layer: type[prune.MaskedLinear], compression: float, prunable: str, bf16: bool
) -> Callable[[], None]:
    """Return a function that takes one step."""
    torch.manual_seed(0)
    model = Seq2SeqTransformer(SOURCE_VOCABULARY, TARGET_VOCABULARY)
    prune.prune_model(model, cross_entropy, [], "random", compression, skip=model.unpruned(prunable))
    for module in model.modules():
        if isinstance(module, prune.MaskedLinear):
            module.__class__ = layer
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)
    gradients = RowGradients(model)
    source = torch.randint(4, SOURCE_VOCABULARY, (PAIRS, TOKENS))
    target = torch.randint(4, TARGET_VOCABULARY, (PAIRS, TOKENS + 1))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = model.loss(source, target)
        optimizer.zero_grad()
        value.backward()
        with gradients.for_step():
            optimizer.step()

    return step


def largest(step: Callable[[], None], count: int = 8) -> dict[str, float]:
    """The operators with the largest shares of a step's time, by their own time."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = sorted(profiler.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return {event.key: round(event.self_cpu_time_total / total, 3) for event in events[:count]}


def measure(compression: float, prunable: str, bf16: bool, steps: int) -> dict[str, Any]:
    """Median seconds of a step, the median ratio, and the profile."""
    kinds = {"masked": prune.MaskedLinear, "multiplied": Multiplied}
    steppers = {name: stepper(layer, compression, prunable, bf16) for name, layer in kinds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(steps + 1):
        for name, step in steppers.items():
            began = time.perf_counter()
            step()
            if turn:  # the first warms up
                seconds[name].append(time.perf_counter() - began)
    pairs = zip(seconds["multiplied"], seconds["masked"], strict=True)
    return {
        "compression": compression,
        "prunable": prunable,
        "bf16": bf16,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "speed": statistics.median(a / b for a, b in pairs),
        "profile": largest(steppers["masked"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compressions", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0])
    parser.add_argument("--prunable", nargs="+", default=["paper", "all"])
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", type=Path, help="add the measurements to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # as every run does
    exists = arguments.json is not None and arguments.json.exists()
    found = json.loads(arguments.json.read_text())["measurements"] if exists else []
    for prunable in arguments.prunable:
        for compression in arguments.compressions:
            cell = measure(compression, prunable, arguments.bf16, arguments.steps)
            found.append(cell | {"threads": arguments.threads})
            kind = "bf16" if arguments.bf16 else "float32"
            print(
                f"c {compression:g}, prunable {prunable}, {kind}: {cell['seconds']['masked']:.2f} s, "
                f"multiplied {cell['seconds']['multiplied']:.2f} s, {cell['speed']:.2f} x; {cell['profile']}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "measurements": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
