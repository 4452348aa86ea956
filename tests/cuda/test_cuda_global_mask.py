"""The global top-k on CUDA against the CPU's."""

import pytest
import torch

from prune.ops import global_mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.9])
def test_masks_equal_those_of_the_cpu(dtype: torch.dtype, fraction: float) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [1, 0, 77, 4096, 1_000_003, 3_000_000]
    scores, weights = ([torch.randn(n, generator=generator).to(dtype) for n in sizes] for _ in range(2))
    within = [torch.rand(n, generator=generator) < 0.7 for n in sizes]
    available = sum(int(w.sum()) for w in within)
    for extra, total in (({}, sum(sizes)), ({"weights": weights, "within": within}, available)):
        want = global_mask(scores, round(total * fraction), **extra)
        there = {name: [t.cuda() for t in tensors] for name, tensors in extra.items()}
        got = global_mask([s.cuda() for s in scores], round(total * fraction), **there)
        assert got[1:] == want[1:]
        assert all(torch.equal(g.cpu(), w) for g, w in zip(got.masks, want.masks, strict=True))
        assert all(m.is_cuda for m in got.masks)


def test_half_as_float() -> None:
    scores = [torch.randn(5000, device="cuda").half(), torch.randn(70_000, device="cuda").half()]
    got = global_mask(scores, 7000)
    want = global_mask([s.float().cpu() for s in scores], 7000)
    assert got[1:] == want[1:]
    assert all(torch.equal(g.cpu(), w) for g, w in zip(got.masks, want.masks, strict=True))


def test_on_a_stream_of_its_own() -> None:
    scores = torch.randn(1_000_000, device="cuda")
    want = global_mask([scores], 1000)
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        late = torch.zeros_like(scores)
        torch.cuda._sleep(50_000_000)
        late.copy_(scores)
        got = global_mask([late], 1000)
    assert torch.equal(got.masks[0], want.masks[0])


def test_more_scores_than_two_to_the_31() -> None:
    if torch.cuda.get_device_properties(0).total_memory < 40 * 2**30:
        pytest.skip("needs 40 GB of device memory")
    size = 2**31 + 1000
    scores = torch.zeros(size, device="cuda", dtype=torch.bfloat16)
    scores[[5, size - 1, 2**31]] = 1
    got = global_mask([scores, torch.ones(3, device="cuda", dtype=torch.bfloat16)], 8)
    assert (got.threshold, got.ties) == (0, size - 3)
    assert got.masks[0].nonzero().flatten().tolist() == [0, 1, 5, 2**31, size - 1]
    assert got.masks[1].tolist() == [True] * 3


def sampled(total: int) -> list[int]:
    """Which positions the selection samples: one in each of equal slices (csrc/global_mask/cuda/sample.cuh)."""
    count = 32768
    size, longer = divmod(total, count)
    places = []
    for i in range(count):
        z = (i + 1) * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        places.append(size * i + min(i, longer) + ((z ^ z >> 31) * (size + (i < longer)) >> 64))
    return places


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_sample_that_misleads_costs_only_time(dtype: torch.dtype, sign: int) -> None:
    total = 300_000
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(total, generator=generator) + 3
    places = torch.tensor(sampled(total))
    values[places] = torch.rand(len(places), generator=generator)
    scores = list((sign * values).to(dtype).split([100, 0, 200_000, 99_900]))
    for keep in (1, 1000, total // 2, total - 1):
        want = global_mask(scores, keep)
        got = global_mask([s.cuda() for s in scores], keep)
        assert got[1:] == want[1:]
        assert all(torch.equal(g.cpu(), w) for g, w in zip(got.masks, want.masks, strict=True))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU here, and this needs two")
def test_scores_of_another_device_than_the_current_one() -> None:
    scores = torch.randn(1_000_000)
    want = global_mask([scores], 1000)
    for device in ("cuda:0", "cuda:1"):
        got = global_mask([scores.to(device)], 1000)
        assert got.masks[0].device == torch.device(device)
        assert torch.cuda.current_device() == 0
        assert torch.equal(got.masks[0].cpu(), want.masks[0])


def test_under_capture_it_is_an_error() -> None:
    scores = torch.randn(1_000_000, device="cuda")
    with pytest.raises(RuntimeError, match="captur"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        scores.neg()  # an empty graph would be warned of
        global_mask([scores], 1000)
    assert global_mask([scores], 1000).masks[0].sum() == 1000
