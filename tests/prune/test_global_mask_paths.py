"""The paths that the selection can take: each instruction set, ties that fill the bracket, a sample that misleads; a soak."""

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from prune.ops import GlobalMask, global_mask


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def expected(values: np.ndarray, keep: int) -> np.ndarray:
    mask = np.zeros(values.size, bool)
    mask[np.argsort(-values, kind="stable")[:keep]] = True
    return mask


def check(scores: list[Tensor], keep: int, device: str = "cpu", **options: list[Tensor]) -> GlobalMask:
    """Select on `device`, and compare with a stable sort of what is selected from."""
    scores = [s.to(device) for s in scores]
    options = {name: [t.to(device) for t in tensors] for name, tensors in options.items()}
    result = global_mask(scores, keep, **options)
    products = (
        [s * w for s, w in zip(scores, options["weights"], strict=True)] if "weights" in options else scores
    )
    values = torch.cat([p.flatten() for p in products]).double().cpu().numpy()
    inside = (
        torch.cat([w.flatten() for w in options.get("within", [torch.ones_like(s) for s in scores])])
        .bool()
        .cpu()
        .numpy()
    )
    mask = np.zeros(values.size, bool)
    mask[inside] = expected(values[inside], keep)
    assert np.array_equal(torch.cat([m.flatten() for m in result.masks]).cpu().numpy(), mask)
    if keep:
        threshold = values[mask].min()
        assert result[1:] == (threshold, np.count_nonzero(values[inside] == threshold))
    return result


def sampled(total: int) -> np.ndarray:
    """Which positions the selection samples: a run of 16 in each of equal slices (csrc/global_mask/cpu/sample.h)."""
    lines = min(max(int(0.2 * total ** (2 / 3)), 1024), 65536)
    places = []
    for i in range(lines):
        z = (i + 1) * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        size, rest = divmod(total, lines)
        room = max(size + (i < rest) - 16, 0) + 1
        places.append(size * i + min(i, rest) + ((z ^ z >> 31) * room >> 64))
    return (np.array(places)[:, None] + np.arange(16)).ravel()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_sample_that_misleads_costs_only_time(target: str, dtype: torch.dtype, sign: int) -> None:
    total = 300_000
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(total, generator=generator) + 3
    places = torch.from_numpy(sampled(total))
    values[places] = torch.rand(len(places), generator=generator)
    for keep in (1, 1000, total // 2, total - 1):
        check(list((sign * values).to(dtype).split([100, 0, 200_000, 99_900])), keep, target)


@pytest.mark.parametrize("keep", [9_999, 50_000, 50_001, 99_999, 100_000, 250_000, 400_000, 400_001, 499_999])
def test_ties_on_both_sides_of_the_threshold(target: str, keep: int) -> None:
    # 50,000 above, then two values with 50,000 and 300,000, then 100,000 below
    values = torch.cat(
        [torch.rand(50_000) + 2, torch.ones(50_000), torch.zeros(300_000), torch.rand(100_000) - 2]
    )
    shuffled = values[torch.randperm(len(values), generator=torch.Generator().manual_seed(1))]
    for threads in (1, 4):
        torch.set_num_threads(threads)
        check(list(shuffled.split([123_456, 376_544])), keep, target)


@pytest.mark.parametrize("order", [1, -1])
def test_a_bracket_of_one_value_that_the_threshold_is_not(target: str, order: int) -> None:
    # sorted, so that the sample is sure of itself, and a few ranks off
    counts = {1: 4799, 0: 4708, -1: 4834, -2: 4686}
    values = torch.cat([torch.full((n,), float(value)) for value, n in counts.items()])
    for keep in range(4790, 4820), range(9490, 9525), range(14_330, 14_350):
        for k in keep:
            check([values if order == 1 else values.flip(0)], k, target)


def test_a_thousand_tiny_tensors_and_a_huge_one(target: str) -> None:
    generator = torch.Generator().manual_seed(2)
    tiny = [torch.randn(i % 7, generator=generator) for i in range(1000)]
    for scores in ([*tiny, torch.randn(200_000, generator=generator)], [torch.zeros(150_000), *tiny]):
        check(scores, 20_000, target)


def test_large_masks_are_separate_tensors() -> None:
    scores = [
        torch.randn(3_000_001),
        torch.randn(0, 4),
        torch.randn(6_000_000),
    ]  # enough for a block of huge pages
    masks = global_mask(scores, 1_000_000).masks
    assert len({m.untyped_storage().data_ptr() for m in masks if m.numel()}) == 2
    assert [m.untyped_storage().nbytes() for m in masks] == [3_000_001, 0, 6_000_000]
    kept, first = masks[2].clone(), int(masks[0].sum())
    masks[0].fill_(True)
    del masks[0]
    assert torch.equal(masks[1], kept)
    assert first + int(kept.sum()) == 1_000_000


def test_products_of_denormals_do_not_depend_on_threads() -> None:
    generator = torch.Generator().manual_seed(3)
    scores, weights = (torch.randn(400_000, generator=generator) * 1e-20 for _ in range(2))
    for flush in (True, False):
        torch.set_flush_denormal(flush)
        try:
            torch.set_num_threads(1)
            want = global_mask([scores * weights], 300_000)
            for threads in (1, 2, 3, 4):
                torch.set_num_threads(threads)
                got = global_mask([scores], 300_000, weights=[weights])
                assert torch.equal(got.masks[0], want.masks[0])
                assert got[1:] == want[1:]
        finally:
            torch.set_flush_denormal(False)


def random_case(seed: int, largest: int, device: str = "cpu") -> None:
    """Sizes, values, options and number of threads at random."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(0, rng.integers(1, largest), rng.integers(1, 7))]
    dtype = [torch.float32, torch.float64, torch.bfloat16][rng.integers(3)]
    levels = [2, 3, 300, 10**7][rng.integers(4)]

    def values() -> list[Tensor]:
        scale, order = 10.0 ** rng.integers(-30, 30), rng.integers(3)
        drawn = [rng.integers(-levels, levels, n) * scale * rng.choice([0.1, 1]) for n in sizes]
        return [torch.from_numpy([d, np.sort(d), -np.sort(d)][order]).to(dtype) for d in drawn]

    options = {}
    if rng.random() < 0.3:
        options["weights"] = [(w != 0).to(dtype) - 2 * (w < 0).to(dtype) for w in values()]
    if rng.random() < 0.3:
        options["within"] = [torch.from_numpy(rng.random(n) < 0.7) for n in sizes]
    available = int(sum(w.sum() for w in options["within"])) if "within" in options else sum(sizes)
    torch.set_num_threads(int(rng.integers(1, 5)))
    keep = int(available * rng.choice([0, 1e-3, 0.1, 0.5, 0.999, 1, rng.random()]))
    check(values(), keep, device, **options)


def random_cases(first: int, last: int, largest: int) -> None:
    for seed in range(first, last):
        random_case(seed, largest)


@pytest.mark.process
@pytest.mark.parametrize("instructions", ["plain", "avx2", "avx512"])
def test_every_instruction_set(instructions: str) -> None:
    flags = "avx2 fma bmi1" if instructions == "avx2" else "avx512f avx512bw avx512dq avx512vl"
    with open("/proc/cpuinfo") as info:
        if instructions != "plain" and not set(flags.split()) <= set(info.read().split()):
            pytest.skip(f"this machine has no {instructions}")
    call = "from test_global_mask_paths import random_cases; random_cases(0, 25, 60_000)"
    directory = os.path.dirname(__file__)
    environment = os.environ | {"PRUNE_CPU": instructions}
    subprocess.run([sys.executable, "-c", call], cwd=directory, env=environment, check=True)


def test_random_cases(target: str) -> None:
    for seed in range(100, 130):
        random_case(seed, 60_000, target)


MASK = "import torch, prune; print(prune.ops.global_mask([torch.ones(3)], 1).masks)"
LINEAR = (
    "import torch, prune; mask = torch.zeros(64, 128, dtype=torch.bool); mask[:, 0] = True\n"
    "print(prune.ops.masked_linear(torch.ones(1, 128), torch.ones(64, 128), mask).sum())"
)


def with_instruction_set(name: str, call: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PRUNE_CPU": name, "PRUNE_MASKED_LINEAR": "sparse"}
    return subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True)


@pytest.mark.process
@pytest.mark.parametrize("call", [MASK, LINEAR])
def test_an_unknown_instruction_set_is_refused(call: str) -> None:
    done = with_instruction_set("sse9", call)
    assert done.returncode == 1
    assert "PRUNE_CPU is 'sse9': plain, avx2 and avx512 are known" in done.stderr


@pytest.mark.process
@pytest.mark.parametrize(("call", "result"), [(MASK, "[ True, False, False]"), (LINEAR, "tensor(64.)")])
def test_an_empty_name_of_an_instruction_set_is_none(call: str, result: str) -> None:
    done = with_instruction_set("", call)
    assert done.returncode == 0, done.stderr
    assert result in done.stdout


@pytest.mark.long
def test_soak() -> None:
    random_cases(1000, 5000, 100_000)
