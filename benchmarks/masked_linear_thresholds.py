"""Up to which density the sparse algorithm for each product of the masked linear layer is faster than the dense one.

    PRUNE_MASKED_LINEAR=sparse python benchmarks/masked_linear_thresholds.py [--shapes 512x512x64 ...] [--autocast]

The table in csrc/masked_linear/cpu/choose_algorithm.cpp comes from this. A shape is out x in x N. The dense algorithm masks the
weight or its gradient, as bits, and calls PyTorch's product. Times are the thread's CPU time, best of several, on one thread.

With --autocast: a forward and backward pass under autocast to bfloat16, where the sparse algorithm computes in float32.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import prune.ops  # noqa: F401  (registers the operators)

OPS = torch.ops.prune
SHAPES = [
    f"{out}x{n_in}x{rows}"
    for rows in (1, 8, 16, 32, 64, 128, 200, 256, 1024, 4096)
    for out, n_in in (
        (512, 512),
        (10837, 512),
        (2048, 512),
        (512, 2048),
        (4096, 2048),
        (512, 4096),
        (4096, 4096),
    )
    if out * n_in * rows < 2e10
]
DENSITIES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.32, 0.25, 0.18, 0.12)
AUTOCAST_DENSITIES = (0.18, 0.1, 0.07, 0.05, 0.03, 0.01)


def best(call: Callable[[], Tensor]) -> float:
    call()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.1 and len(times) < 30):
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    return min(times)


def measure(out: int, n_in: int, rows: int) -> str:
    """A line of ratios."""
    generator = torch.Generator().manual_seed(0)
    x, weight, grad = torch.randn(rows, n_in), torch.randn(out, n_in), torch.randn(rows, out)
    bits = -(torch.rand(out, n_in) < 0.5).int()

    def masked(values: Tensor) -> Tensor:
        return values.view(torch.int32).bitwise_and(bits).view(torch.float32)

    dense = (
        best(lambda: x @ masked(weight).t()),
        best(lambda: grad @ masked(weight)),
        best(lambda: masked(grad.t() @ x)),
    )
    columns = []
    for density in DENSITIES:
        mask = torch.rand(out, n_in, generator=generator) < density
        sparse = (
            best(partial(OPS.masked_linear, x, weight, mask)),
            best(partial(OPS.masked_linear_grad_input, grad, weight, mask)),
            best(partial(OPS.masked_linear_grad_weight, grad, x, mask)),
        )
        columns.append(" ".join(f"{d / s:4.2f}" for d, s in zip(dense, sparse, strict=True)))
    return " | ".join(columns)


def measure_autocast(out: int, n_in: int, rows: int) -> str:
    """A line of ratios."""
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(rows, n_in, requires_grad=True), torch.randn(out, n_in, requires_grad=True)
    grad = torch.randn(rows, out, dtype=torch.bfloat16)

    def step(layer: Callable[[Tensor], Tensor], mask: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(mask)
        return torch.autograd.grad(y, (x, weight), grad)[0]

    columns = []
    for density in AUTOCAST_DENSITIES:
        mask = torch.rand(out, n_in, generator=generator) < density
        dense = best(partial(step, lambda mask: torch.nn.functional.linear(x, weight * mask), mask))
        columns.append(f"{dense / best(partial(step, partial(OPS.masked_linear, x, weight), mask)):4.2f}")
    return " | ".join(columns)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--autocast", action="store_true")
    arguments = parser.parse_args()
    if os.environ.get("PRUNE_MASKED_LINEAR") != "sparse":
        raise SystemExit("PRUNE_MASKED_LINEAR needs to be 'sparse'")
    torch.set_num_threads(1)
    if arguments.autocast:
        line, measured = measure_autocast, f"of a step under autocast at density {AUTOCAST_DENSITIES}"
    else:
        line, measured = measure, f"of y, dx, dW at density {DENSITIES}"
    print(f"{'out x in x N':18} dense time / sparse time {measured}")
    for shape in arguments.shapes:
        print(f"{shape:18} {line(*map(int, shape.split('x')))}", flush=True)


if __name__ == "__main__":
    main()
