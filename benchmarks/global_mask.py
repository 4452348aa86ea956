"""The global top-k against other ways to find the k highest of many scores: time, memory, passes over the scores.

    python benchmarks/global_mask.py [--sizes 1e6 1e7 3e7] [--keep 0.1] [--adversarial 1e7] [--rounds 7] [--json FILE]
                                     [--device cuda]

The scores are float32 in 40 tensors of mixed sizes and scales; the result is 40 masks. Each baseline first concatenates the 40
tensors (`torch.cat`), finds the threshold with its own algorithm, and compares (sort and topk: scatter). All take turns, so that
none finds its data in the cache, and a ratio is the median over the rounds of the ratios within one. "Alone": repeated without
turns. A pass is the time that two threads need to read the scores. Extra memory is the peak above what was allocated before,
without the masks themselves. Exactness is checked against a stable order every time; a baseline that breaks ties arbitrarily is
exempt.

On a CUDA device the times are from the call until the device is done, a pass is the time that `torch.sum` needs for the scores
in one tensor, and memory is that of PyTorch's allocator.
"""

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from process_memory import megabytes, reset_peak
from torch import Tensor

from prune import ops
from sweep.core.provenance import machine

Select = Callable[[list[Tensor], int], list[Tensor]]
LIBC = ctypes.CDLL(None)


def compiled() -> ctypes.CDLL:
    """rivals.cpp as a library, for this very machine."""
    source = Path(__file__).with_name("rivals.cpp")
    with tempfile.TemporaryDirectory() as directory:
        library = f"{directory}/rivals.so"
        subprocess.run(
            ["c++", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", str(source), "-o", library],
            check=True,
        )
        loaded = ctypes.CDLL(library)
    loaded.nth_element.restype = ctypes.c_float
    loaded.nth_element.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    return loaded


BASELINES_LIBRARY: ctypes.CDLL | None = None


def split(flat: Tensor, scores: list[Tensor]) -> list[Tensor]:
    return [m.view(s.shape) for m, s in zip(flat.split([s.numel() for s in scores]), scores, strict=True)]


def above(flat: Tensor, threshold: float, scores: list[Tensor]) -> list[Tensor]:
    return split(flat >= threshold, scores)


def flatten(scores: list[Tensor]) -> Tensor:
    return torch.cat([s.flatten() for s in scores])


def ours(scores: list[Tensor], keep: int) -> list[Tensor]:
    return ops.global_mask(scores, keep).masks


def kthvalue(scores: list[Tensor], keep: int) -> list[Tensor]:
    flat = flatten(scores)
    return above(flat, flat.kthvalue(flat.numel() - keep + 1).values.item(), scores)


def topk(scores: list[Tensor], keep: int) -> list[Tensor]:
    flat = flatten(scores)
    mask = torch.zeros(flat.numel(), dtype=torch.bool, device=flat.device)
    mask[flat.topk(keep, sorted=False).indices] = True
    return split(mask, scores)


def sort(scores: list[Tensor], keep: int) -> list[Tensor]:
    flat = flatten(scores)
    mask = torch.zeros(flat.numel(), dtype=torch.bool, device=flat.device)
    mask[flat.argsort(descending=True)[:keep]] = True
    return split(mask, scores)


def partition(scores: list[Tensor], keep: int) -> list[Tensor]:
    flat = flatten(scores)
    return above(flat, np.partition(flat.numpy(), flat.numel() - keep)[flat.numel() - keep].item(), scores)


def nth_element(scores: list[Tensor], keep: int) -> list[Tensor]:
    flat = flatten(scores)
    assert BASELINES_LIBRARY
    threshold = BASELINES_LIBRARY.nth_element(flat.data_ptr(), flat.numel(), keep)
    return [s >= threshold for s in scores]


BASELINES: dict[str, Select] = {
    "kthvalue": kthvalue,
    "topk": topk,
    "sort": sort,
    "numpy.partition": partition,
    "std::nth_element": nth_element,
}


def sizes_of(total: int) -> list[int]:
    """40 sizes from small to a quarter of all."""
    weights = torch.logspace(0, 2, 39).tolist()
    sizes = [int(total * 0.75 * w / sum(weights)) for w in weights]
    return [*sizes, total - sum(sizes)]


def typical(total: int) -> list[Tensor]:
    """Normal scores, of another scale in every tensor."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, generator=generator) * 2.0 ** (i % 5 - 2) for i, n in enumerate(sizes_of(total))]


def adversarial(total: int) -> dict[str, Callable[[], list[Tensor]]]:
    """Data that slow a selection down or make it fail; {name: scores}."""
    generator = torch.Generator().manual_seed(0)

    def uniform() -> Tensor:
        return torch.rand(total, generator=generator)

    def normal() -> Tensor:
        return torch.randn(total, generator=generator)

    def levels(values: list[float]) -> Tensor:
        return torch.tensor(values)[torch.randint(len(values), (total,), generator=generator)]

    flat: dict[str, Callable[[], Tensor]] = {
        "all equal": lambda: torch.full((total,), 0.5),
        "two values, 10 % ones": lambda: (uniform() < 0.1).float(),
        "two values, 50 % ones": lambda: (uniform() < 0.5).float(),
        "1 + 3e-5 u": lambda: 1 + 3e-5 * uniform(),
        "85 % ties in mid-range": lambda: torch.where(uniform() < 0.85, 0.0, normal()),
        "ties up to the threshold": lambda: torch.where(
            uniform() < 0.8, 0.0, normal().abs() - normal().abs()
        ),
        "ascending": lambda: torch.arange(total).float(),
        "descending": lambda: -torch.arange(total).float(),
        "denormals": lambda: uniform() * 1e-39,
        "infinities": lambda: levels([torch.inf, -torch.inf, 1.0]),
        "zeros of both signs": lambda: levels([0.0, -0.0]),
    }
    cases = {name: lambda make=make: list(make().split(sizes_of(total))) for name, make in flat.items()}
    return cases | {
        "one huge, a thousand tiny": lambda: [normal(), *(torch.full((i % 7,), 0.1) for i in range(1000))]
    }


def expected(scores: list[Tensor], keep: int) -> np.ndarray:
    """The flat mask: all above the threshold, then the first of those equal to it."""
    flat = flatten(scores).cpu().numpy()
    threshold = np.partition(flat, flat.size - keep)[flat.size - keep]
    mask = flat > threshold
    mask[np.flatnonzero(flat == threshold)[: keep - int(mask.sum())]] = True
    return mask


def timed(select: Select, scores: list[Tensor], keep: int) -> float:
    wait(scores)
    start = time.perf_counter()
    masks = select(scores, keep)
    wait(scores)
    seconds = time.perf_counter() - start
    del masks
    return seconds


def wait(scores: list[Tensor]) -> None:
    """Wait until the device is idle."""
    if scores[0].is_cuda:
        torch.cuda.synchronize()


def extra_megabytes(select: Select, scores: list[Tensor], keep: int) -> float:
    """Peak of memory above that before the call, less one byte per score for the masks; MB (10^6 bytes)."""
    if scores[0].is_cuda:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        masks = select(scores, keep)
        return (torch.cuda.max_memory_allocated() - held - sum(m.numel() for m in masks)) / 1e6
    # as in a first call: live masks leave nothing in the pool of 256 MB to be reused
    living = []
    if select is ours:
        living = [ours(scores, keep) for _ in range(2 + (256 << 20) // sum(s.numel() for s in scores))]
    gc.collect()
    LIBC.malloc_trim(0)
    before = megabytes("VmRSS")
    reset_peak()
    masks = select(scores, keep)
    extra = megabytes("VmHWM") - before - sum(m.numel() for m in masks) / 1e6
    del living
    return extra


def read_pass(scores: list[Tensor]) -> Callable[[], float]:
    if scores[0].is_cuda:
        flat = flatten(scores)
        return lambda: timed(lambda _scores, _keep: [flat.sum()], scores, 0)
    assert BASELINES_LIBRARY
    sum_all = BASELINES_LIBRARY.read_pass
    pointers = (ctypes.c_void_p * len(scores))(*(s.data_ptr() for s in scores))
    sizes = (ctypes.c_int64 * len(scores))(*(s.numel() for s in scores))

    def once() -> float:
        start = time.perf_counter()
        sum_all(pointers, sizes, ctypes.c_int64(len(scores)))
        return time.perf_counter() - start

    return once


def measure(
    data: str, scores: list[Tensor], fraction: float, rounds: int, baselines: dict[str, Select]
) -> dict[str, Any]:
    """Time everyone on the same scores. The sort, which takes a hundred times as long on a CPU, runs only once there."""
    total = sum(s.numel() for s in scores)
    keep = round(total * fraction)
    got = flatten(ours(scores, keep)).cpu().numpy()
    if not np.array_equal(got, expected(scores, keep)):
        raise SystemExit(f"wrong masks: {data}, {total} scores, keep {keep}")
    del got
    everyone = {"ours": ours, **baselines}
    if scores[0].is_cuda:  # a kernel is loaded at its first launch
        for select in everyone.values():
            select(scores, keep)
    seconds: dict[str, list[float]] = {name: [] for name in everyone}
    reads, one_pass = [], read_pass(scores)
    for i in range(rounds):
        reads.append(one_pass())
        for name, select in everyone.items():
            if i == 0 or name != "sort" or scores[0].is_cuda:
                seconds[name].append(timed(select, scores, keep))
    alone = [timed(ours, scores, keep) for _ in range(2 * rounds)]
    extra = {name: extra_megabytes(select, scores, keep) for name, select in everyone.items()}
    return {
        "data": data,
        "scores": total,
        "keep": fraction,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if scores[0].is_cuda else "cpu",
        "seconds": seconds,
        "alone": alone,
        "read_pass": reads,
        "extra_megabytes": extra,
    }


def show(found: dict[str, Any]) -> None:
    """One measurement, as a table."""
    seconds, median = found["seconds"], statistics.median
    one_pass = median(found["read_pass"])
    on = found["device"] if found["device"] != "cpu" else f"{found['threads']} threads"
    print(
        f"{found['data']}: {found['scores'] / 1e6:g} M scores, keep {found['keep']:.0%}, {on}; "
        f"alone {median(found['alone']) * 1e3:.2f} ms; read pass {one_pass * 1e3:.2f} ms"
    )
    for name, times in seconds.items():
        ratio = median(b / a for a, b in zip(seconds["ours"], times, strict=False))
        extra = found["extra_megabytes"][name]
        print(
            f"  {name:18}{median(times) * 1e3:10.2f} ms {ratio:7.1f} x {median(times) / one_pass:8.1f} passes "
            f"{extra:8.1f} MB {extra * 1e6 / found['scores']:7.2f} B a score"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=float, nargs="*", default=[1e6, 1e7, 3e7], help="numbers of scores")
    parser.add_argument("--keep", type=float, nargs="+", default=[0.1], help="fractions")
    parser.add_argument("--adversarial", type=float, help="number of scores of the adversarial data")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", type=Path, help="also add the measurements to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    global BASELINES_LIBRARY
    on_cpu = arguments.device == "cpu"
    BASELINES_LIBRARY = compiled() if on_cpu else None
    everyone = BASELINES if on_cpu else {name: BASELINES[name] for name in ("kthvalue", "topk", "sort")}
    found = []
    for size in arguments.sizes:
        scores = [s.to(arguments.device) for s in typical(int(size))]
        for keep in arguments.keep:
            found.append(measure("normal", scores, keep, arguments.rounds, everyone))
            show(found[-1])
        del scores
    if arguments.adversarial:
        baselines = {"numpy.partition": partition} if on_cpu else {"topk": topk}
        for name, make in adversarial(int(arguments.adversarial)).items():
            scores = [s.to(arguments.device) for s in make()]
            found.append(measure(name, scores, arguments.keep[0], arguments.rounds, baselines))
            show(found[-1])
    if arguments.json:
        old = json.loads(arguments.json.read_text())["measurements"] if arguments.json.exists() else []
        key = ("data", "scores", "keep", "threads", "device")
        new = {tuple(f.get(k, "cpu") for k in key): f for f in [*old, *found]}
        arguments.json.write_text(
            json.dumps({"machine": machine(), "measurements": list(new.values())}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
