"""A whole training step with `MaskedLinear` against the same model with `F.linear(x, W * M)`, on the CPU or on a GPU.

    python benchmarks/train_step.py [--task translation ag_news] [--compressions 0 0.5 1 2] [--prunable paper all]
                                    [--precision float32 bf16] [--device cpu] [--threads 2] [--steps 5] [--json FILE]

A step of translation is 128 pairs of 22 tokens through the paper's model, one of AG News 128 texts of 8 to 80 tokens through
the embedding bag with 95811 rows: forward, loss, backward, fused Adam, as in every run. Tokens and masks are random. The
two models take their steps in turn, in one process. At the end of each, a profile of a step of the first: what share of the time
the masked layers have, and what else costs most. On a GPU the process is set up as a run's, a step's time is from an idle device
to an idle device, `back_to_back` is the time of a step among 50 that do not wait for each other, also
where steps are CUDA graphs as in a run of the translator, and the memory is the tensors' peak, weights and Adam's moments
included. Needs torch alone; where the project is not installed, with PYTHONPATH=. set.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

import prune
from models import Seq2SeqTransformer, TextClassificationModel
from sweep.run.cuda_graphs import CapturedSteps
from sweep.run.device import use
from sweep.run.embedding_grads import RowGradients

ROWS, TOKENS, PAD = 128, 22, 1
_NOTHING = torch.empty(0)
SOURCE_VOCABULARY, TARGET_VOCABULARY = 19214, 10837


class Multiplied(prune.MaskedLinear):
    """`F.linear(x, W * M)`."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.weight_mask, self.bias)


def translation(device: torch.device, prunable: str) -> tuple[nn.Module, list[str], Callable[[], Tensor]]:
    """The model, what is not pruned of it, and what computes its loss, in the form that a run takes on the device."""
    model = Seq2SeqTransformer(SOURCE_VOCABULARY, TARGET_VOCABULARY).to(device)
    source = torch.randint(4, SOURCE_VOCABULARY, (ROWS, TOKENS)).to(device)
    target = torch.randint(4, TARGET_VOCABULARY, (ROWS, TOKENS + 1)).to(device)

    def plain() -> Tensor:
        logits = model(source, target[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)

    by_chunks = device.type == "cpu"
    return model, list(model.unpruned(prunable)), (lambda: model.loss(source, target)) if by_chunks else plain


def ag_news(device: torch.device, _prunable: str) -> tuple[nn.Module, list[str], Callable[[], Tensor]]:
    """As `translation`; there is one layer to prune."""
    model = TextClassificationModel().to(device)
    lengths = torch.randint(8, 81, (ROWS,))
    tokens = torch.randint(model.embedding.num_embeddings, (int(lengths.sum()),)).to(device)
    offsets, target = (lengths.cumsum(0) - lengths).to(device), torch.randint(4, (ROWS,)).to(device)
    return model, [], lambda: functional.cross_entropy(model(tokens, offsets), target)


TASKS = {"translation": translation, "ag_news": ag_news}


def stepper(
    layer: type[prune.MaskedLinear],
    device: torch.device,
    task: str,
    compression: float,
    prunable: str,
    precision: str,
    captured: bool = False,
) -> Callable[[], object]:
    """Return a function that takes one step, on a GPU from the third on as a CUDA graph if wanted."""
    torch.manual_seed(0)
    model, unpruned, loss = TASKS[task](device, prunable)
    prune.prune_model(model, functional.cross_entropy, [], "random", compression, skip=unpruned)
    for module in model.modules():
        if isinstance(module, prune.MaskedLinear):
            module.__class__ = layer
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)
    gradients = RowGradients(model)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

    def step(_inputs: tuple[Tensor, ...] = (), _target: Tensor = _NOTHING) -> Tensor:
        with autocast:
            value = loss()
        optimizer.zero_grad()
        value.backward()
        with gradients.for_step():
            optimizer.step()
        return value.detach()

    if not captured:
        return step
    repeat = CapturedSteps(step, optimizer)
    return lambda: repeat((), _NOTHING.to(device))


def seconds_of(step: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Wall time of `times` steps, from and to an idle device, divided by them."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(times):
        step()
    _wait(device)
    return (time.perf_counter() - start) / times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def largest(step: Callable[[], object], device: torch.device, count: int = 8) -> dict[str, float]:
    """The operators with the largest shares of a step's time on the device, by their own time."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu) as profiler:
        seconds_of(step, device)
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, own))
    total = sum(getattr(event, own) for event in events) or 1.0  # a driver may not allow profiling
    return {event.key: round(getattr(event, own) / total, 3) for event in events[:count]}


KINDS = {"masked": prune.MaskedLinear, "multiplied": Multiplied}


def times(steps: int, device: torch.device, *form: Any) -> dict[str, Any]:
    """Median seconds of a step, the median ratio, the profile, and on a GPU steps that do not wait; `form` as for `stepper`."""
    steppers = {name: stepper(layer, device, *form) for name, layer in KINDS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in KINDS}
    for turn in range(steps + 1):
        for name, step in steppers.items():
            taken = seconds_of(step, device)
            if turn:  # the first warms up
                seconds[name].append(taken)
    pairs = zip(seconds["multiplied"], seconds["masked"], strict=True)
    found: dict[str, Any] = {
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "speed": statistics.median(a / b for a, b in pairs),
        "profile": largest(steppers["masked"], device),
    }
    if device.type == "cuda":
        found["back_to_back"] = {name: seconds_of(step, device, 50) for name, step in steppers.items()}
        if form[0] == "translation":  # the task whose runs do so
            for name, layer in KINDS.items():
                step = stepper(layer, device, *form, captured=True)
                seconds_of(step, device, 5)
                found["back_to_back"][f"{name}, captured"] = seconds_of(step, device, 50)
    return found


def megabytes(layer: type[prune.MaskedLinear], device: torch.device, *form: Any) -> float:
    """Peak of the tensors on the GPU in two steps (10^6 bytes)."""
    torch.cuda.reset_peak_memory_stats()
    seconds_of(stepper(layer, device, *form), device, 2)
    return torch.cuda.max_memory_allocated() / 1e6


def measure(
    task: str, compression: float, prunable: str, precision: str, device: torch.device, steps: int
) -> dict[str, Any]:
    """What is asked, and what `times` and `megabytes` find."""
    form = (task, compression, prunable, precision)
    found = dict(zip(("task", "compression", "prunable", "precision"), form, strict=True))
    found |= {"device": device.type, **times(steps, device, *form)}
    if device.type == "cuda":
        found["megabytes"] = {name: megabytes(layer, device, *form) for name, layer in KINDS.items()}
    return found


def machine(device: torch.device) -> dict[str, Any]:
    """Versions and hardware; `sweep.core.provenance` requires the project to be installed."""
    return {
        "torch_version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "host": platform.node(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", nargs="+", choices=TASKS, default=["translation"])
    parser.add_argument("--compressions", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0])
    parser.add_argument("--prunable", nargs="+", default=["paper", "all"])
    parser.add_argument("--precision", nargs="+", choices=["float32", "bf16"], default=["float32"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", type=Path, help="add the measurements to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # as every run does
    device = use(arguments.device)
    exists = arguments.json is not None and arguments.json.exists()
    found = json.loads(arguments.json.read_text())["measurements"] if exists else []
    for task in arguments.task:
        for precision in arguments.precision:
            for prunable in arguments.prunable if task == "translation" else ["all"]:
                for compression in arguments.compressions:
                    cell = measure(task, compression, prunable, precision, device, arguments.steps)
                    found.append(cell | {"threads": arguments.threads})
                    show(cell)
    if arguments.json:
        text = json.dumps({"machine": machine(device), "measurements": found}, indent=1)
        arguments.json.write_text(text + "\n")


def show(cell: dict[str, Any]) -> None:
    """A measurement in a line or two."""
    masked, multiplied = (1e3 * cell["seconds"][name] for name in ("masked", "multiplied"))
    print(
        f"{cell['task']}, c {cell['compression']:g}, prunable {cell['prunable']}, {cell['precision']}, {cell['device']}: "
        f"{masked:.2f} ms, multiplied {multiplied:.2f} ms, {cell['speed']:.2f} x; {cell['profile']}",
        flush=True,
    )
    for name, unit, scale in (("back_to_back", "ms", 1e3), ("megabytes", "MB", 1)):
        if name in cell:
            values = (f"{kind} {scale * value:.2f} {unit}" for kind, value in cell[name].items())
            print(f"  {name}: {', '.join(values)}", flush=True)


if __name__ == "__main__":
    main()
