"""Forward and backward of the masked linear layer against PyTorch's alternatives: time and error, by density.

    python benchmarks/masked_linear.py [--shapes 512x512x4096 ...] [--densities 1 0.316 0.1 0.01] [--threads 1 2]
                                       [--masks FILE.pt] [--json FILE]
    python benchmarks/masked_linear.py --device cuda [--dtypes float32 tf32 bfloat16 float16] ...

A shape is out x in x N: N rows of x. All candidates take turns in one process, so that a change of the machine's speed affects
all of them, in a different order in each round, since each leaves caches and memory to the next; ratios are medians over the
rounds of A's time divided by theirs. The weight is written before every call, as an optimiser would, outside the timing.

    ours   prune.ops.masked_linear
    A      F.linear(x, W * M, b), M in the dtype of W
    B      W multiplied by M in place (timed: a step needs it once), F.linear(x, W, b), a hook that masks the gradient
    CSR    torch.sparse_csr (MKL) products for y and dx, torch.sparse.sampled_addmm for dW; structures built beforehand

Errors are the largest difference from float64 over the largest value: of y and dx in the first 256 rows, of dW in the first
256 outputs, of db everywhere. `--masks` takes a file of masks by name as every run writes it (`mask.pt`): each mask is timed
next to a uniform one of its density. `--json` adds to what the file has, so that a table can be made in several calls.

On a CUDA device, "seconds" are the device's: forward and backward of several layers, whose weights together exceed the cache, are
captured in a graph for each baseline, and replays of the graphs take turns. "eager" is the same without a graph, launched by
Python one by one, where small layers wait for the CPU. B's multiplication of the weight is in both. There is no CSR.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from prune.ops import masked_linear
from sweep.core.provenance import machine

SHAPES = ["10837x512x4096", "512x512x4096", "2048x512x4096", "4096x4096x1024", "512x512x64", "10837x512x64"]
SMALL = ["4x64x64", "4x64x8192"]
DENSITIES = [1.0, 0.79, 0.316, 0.1, 0.01]
CHECKED = 256
DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

Call = Callable[[], tuple[Tensor, ...]]  # -> y, dx, dW, db


class Case:
    """One layer with its data on the device of `mask`, and the baselines on it."""

    def __init__(self, mask: Tensor, rows: int, dtype: torch.dtype = torch.float32) -> None:
        out, n_in = mask.shape
        there: dict[str, Any] = {"device": mask.device, "dtype": dtype}
        self.mask, self.mask_float = mask, mask.to(dtype)
        self.x = torch.randn(rows, n_in, **there).requires_grad_()
        self.grad = torch.randn(rows, out, **there)
        self.weight = torch.randn(out, n_in, **there).mul_(n_in**-0.5).requires_grad_()
        self.bias = torch.randn(out, **there).requires_grad_()
        self.hooked = self.weight.detach().clone().requires_grad_()
        self.hooked.register_hook(lambda g: g * self.mask_float)
        self.csr: Call | None = None

    def _train(self, y: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        return (y.detach(), *torch.autograd.grad(y, (self.x, weight, self.bias), self.grad))

    def ours(self) -> tuple[Tensor, ...]:
        return self._train(masked_linear(self.x, self.weight, self.mask, self.bias), self.weight)

    def a(self) -> tuple[Tensor, ...]:
        return self._train(functional.linear(self.x, self.weight * self.mask_float, self.bias), self.weight)

    def b(self) -> tuple[Tensor, ...]:
        with torch.no_grad():
            self.hooked.mul_(self.mask_float)
        return self._train(functional.linear(self.x, self.hooked, self.bias), self.hooked)

    def csr_products(self) -> tuple[Tensor, ...]:
        if self.csr is None:
            self.csr = _csr(self)
        return self.csr()

    def touch(self) -> None:
        with torch.no_grad():
            self.weight.add_(0)
            self.hooked.add_(0)

    def errors(self, results: tuple[Tensor, ...]) -> list[float]:
        """Of y, dx, dW, db against float64."""
        x, grad, bias = self.x.detach().double(), self.grad.double(), self.bias.detach().double()
        weight = torch.where(self.mask, self.weight.detach(), 0).double()
        part = slice(CHECKED)
        wanted = (
            x[part] @ weight.t() + bias,
            grad[part] @ weight,
            (grad[:, part].t() @ x) * self.mask[part],
            grad.sum(0),
        )
        pairs = zip(results, wanted, strict=True)
        return [float((got[: len(want)] - want).abs().max() / want.abs().max()) for got, want in pairs]


def _csr(case: Case) -> Call:
    """The baseline CSR with its structures built."""
    pattern = case.mask_float.to_sparse_csr()
    transposed = case.mask_float.t().contiguous().to_sparse_csr()
    x, bias = case.x.detach(), case.bias.detach()

    def products() -> tuple[Tensor, ...]:
        weight = case.weight.detach()
        values, other = weight[case.mask], weight.t()[case.mask.t()]
        forward = torch.sparse_csr_tensor(
            pattern.crow_indices(), pattern.col_indices(), values, pattern.shape, check_invariants=False
        )
        backward = torch.sparse_csr_tensor(
            transposed.crow_indices(),
            transposed.col_indices(),
            other,
            transposed.shape,
            check_invariants=False,
        )
        y = (forward @ x.t()).t() + bias
        by_x = (backward @ case.grad.t()).t()
        by_weight = torch.sparse.sampled_addmm(pattern, case.grad.t(), x, beta=0).to_dense()
        return y, by_x, by_weight, case.grad.sum(0)

    return products


def measure(mask: Tensor, rows: int, seconds: float, with_csr: bool) -> dict[str, Any]:
    """Median times and ratios to A's, and errors, of every baseline, in rounds for about `seconds` seconds."""
    case = Case(mask, rows)
    start = time.perf_counter()
    masked_linear(case.x, case.weight, mask, case.bias).backward(case.grad)
    first = time.perf_counter() - start  # with the plan
    case.x.grad = case.weight.grad = case.bias.grad = None
    baselines: dict[str, Call] = {"ours": case.ours, "A": case.a, "B": case.b}
    if with_csr and mask.any():
        baselines["CSR"] = case.csr_products
    errors = {name: case.errors(call()) for name, call in baselines.items()}  # warms up, too
    times: dict[str, list[float]] = {name: [] for name in baselines}
    order, shuffled = list(baselines.items()), random.Random(0)
    deadline = time.perf_counter() + seconds
    while len(times["A"]) < 3 or (time.perf_counter() < deadline and len(times["A"]) < 2000):
        shuffled.shuffle(order)
        for name, call in order:
            if name == "CSR" and times[name] and time.perf_counter() + times[name][0] > deadline:
                continue
            case.touch()
            start = time.perf_counter()
            results = call()
            times[name].append(time.perf_counter() - start)
            del results
    ratios = {
        name: statistics.median(a / t for a, t in zip(times["A"], values, strict=False))
        for name, values in times.items()
    }
    return {
        "density": float(mask.float().mean()),
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "speed_against_A": ratios,
        "errors": errors,
        "first_call_seconds": first,
        "plan_bytes_per_kept": torch.ops.prune.masked_linear_plan_bytes(mask) / max(int(mask.sum()), 1),
        "rounds": len(times["A"]),
    }


def measure_on_cuda(mask: Tensor, rows: int, dtype: str, seconds: float) -> dict[str, Any]:
    """As `measure`, for one of DTYPES on the mask's device."""
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    kind = DTYPES[dtype]
    cache = 4 * torch.cuda.get_device_properties(mask.device).L2_cache_size
    layers = max(1, min(16, -(-cache // (mask.numel() * kind.itemsize))))
    cases = [Case(mask.clone(), rows, kind) for _ in range(layers)]
    baselines: dict[str, Callable[[Case], tuple[Tensor, ...]]] = {"ours": Case.ours, "A": Case.a, "B": Case.b}
    errors = {name: cases[0].errors(call(cases[0])) for name, call in baselines.items()}
    runs: dict[str, Callable[[], None]] = {}
    for name, call in baselines.items():

        def eager(call: Callable[[Case], tuple[Tensor, ...]] = call) -> None:
            for case in cases:
                call(case)

        eager()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            eager()
        runs[name], runs[f"{name} eager"] = graph.replay, eager
    times: dict[str, list[float]] = {name: [] for name in runs}
    deadline = time.perf_counter() + seconds
    while len(times["A"]) < 5 or (time.perf_counter() < deadline and len(times["A"]) < 200):
        for name, run in runs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end) / 1e3 / layers)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "density": float(mask.float().mean()),
        "dtype": dtype,
        "seconds": {name: medians[name] for name in baselines},
        "eager_seconds": {name: medians[f"{name} eager"] for name in baselines},
        "speed_against_A": {
            name: statistics.median(a / t for a, t in zip(times["A"], times[name], strict=True))
            for name in baselines
        },
        "eager_speed_against_A": medians["A eager"] / medians["ours eager"],
        "errors": errors,
        "plan_bytes_per_kept": torch.ops.prune.masked_linear_plan_bytes(cases[0].mask)
        / max(int(mask.sum()), 1),
        "rounds": len(times["A"]),
    }


def cuda_limits() -> dict[str, Any]:
    """Name and best of the device: products of 8192x8192 (FLOP/s) and copying 2 GB (bytes/s, read and written)."""

    def best(call: Callable[[], Any], amount: float) -> float:
        times = []
        for _ in range(8):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        return amount / min(times)

    limits: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    for name, kind in DTYPES.items():
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=kind) for _ in range(2))
        limits[f"flops {name}"] = best(lambda a=a, b=b: a @ b, 2 * 8192**3)
    source, target = (torch.empty(1 << 31, dtype=torch.uint8, device="cuda") for _ in range(2))
    limits["copy"] = best(lambda: target.copy_(source), 2 * (1 << 31))
    return limits


def machine_limits() -> dict[str, float]:
    """What this machine does at best: float32 products (FLOP/s), reading and writing large memory (bytes/s)."""
    a, b, memory = torch.randn(2048, 2048), torch.randn(2048, 2048), torch.zeros(1 << 26)
    work = {
        "flops": (lambda: a @ b, 2 * 2048**3),
        "read": (lambda: memory.sum(), 1 << 28),
        "write": (lambda: memory.fill_(1), 1 << 28),
    }
    best = {}
    for name, (call, amount) in work.items():
        times = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        best[name] = amount / min(times)
    return best


def show(name: str, cell: dict[str, Any]) -> None:
    ratios = "  ".join(f"{baseline} {ratio:5.2f}" for baseline, ratio in cell["speed_against_A"].items())
    error = max(cell["errors"]["ours"])
    against = max(o / max(a, 1e-12) for o, a in zip(cell["errors"]["ours"], cell["errors"]["A"], strict=True))
    where = cell["dtype"] if "dtype" in cell else f"{cell['threads']} threads"
    eager = f"  eager {cell['eager_speed_against_A']:5.2f}" if "dtype" in cell else ""
    print(
        f"{name:34} {where:9} density {cell['density']:7.4f}  {ratios}{eager}  A {cell['seconds']['A'] * 1e3:8.3f} ms"
        f"  error {error:.0e} ({against:.2f} of A's)",
        flush=True,
    )


def cells_of(arguments: argparse.Namespace) -> list[tuple[str, Tensor, int]]:
    """(name, mask, rows of x) of each cell to measure."""
    generator = torch.Generator().manual_seed(0)
    if arguments.masks:
        cells = []
        for name, mask in torch.load(arguments.masks, weights_only=True).items():
            uniform = torch.rand(mask.shape, generator=generator) < mask.float().mean()
            cells += [(name, mask, arguments.rows), (f"{name} uniform", uniform, arguments.rows)]
        return cells
    sizes = [(shape, *map(int, shape.split("x"))) for shape in arguments.shapes]
    return [
        (shape, torch.rand(out, n_in, generator=generator) < density, rows)
        for shape, out, n_in, rows in sizes
        for density in arguments.densities
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=SHAPES + SMALL)
    parser.add_argument("--densities", type=float, nargs="+", default=DENSITIES)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0, help="per cell")
    parser.add_argument("--rows", type=int, default=4096, help="rows of x for --masks")
    parser.add_argument("--masks", type=Path, help="masks by name, as torch.save writes them")
    parser.add_argument("--no-csr", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES), help="on a CUDA device"
    )
    parser.add_argument("--json", type=Path, help="add the measurements to this file")
    arguments = parser.parse_args()

    cells = cells_of(arguments)
    stored = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    found = {
        (c["name"], c.get("dtype") or c["threads"], round(c["density"], 3)): c
        for c in stored.get("cells", [])
    }
    limits = stored.get("limits", {})
    if arguments.device == "cuda":
        limits |= cuda_limits()
        for name, mask, rows in cells:
            for dtype in arguments.dtypes:
                cell = {"name": name} | measure_on_cuda(mask.cuda(), rows, dtype, arguments.seconds)
                show(name, cell)
                found[name, dtype, round(cell["density"], 3)] = cell
    for threads in arguments.threads if arguments.device == "cpu" else []:
        torch.set_num_threads(threads)
        limits[str(threads)] = machine_limits()
        for name, mask, rows in cells:
            cell = {"name": name, "threads": threads}
            cell |= measure(mask, rows, arguments.seconds, not arguments.no_csr)
            show(name, cell)
            found[name, threads, round(cell["density"], 3)] = cell
    if arguments.json:
        written = {"machine": machine(), "limits": limits, "cells": list(found.values())}
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
