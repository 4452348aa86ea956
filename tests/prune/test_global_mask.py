"""Exact global selection: which scores are kept, the threshold, the ties, the errors."""

import itertools
import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from prune.ops import global_mask

NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def positions(masks: Sequence[Tensor]) -> list[int]:
    """Where the concatenated masks are true."""
    return torch.cat([m.flatten() for m in masks]).nonzero().flatten().tolist()


@pytest.mark.usefixtures("device")
def test_by_hand() -> None:
    scores = [torch.tensor([[0.1, -3.0], [2.0, 0.5]]), torch.tensor([]), torch.tensor([0.7, 4.0, -1.0])]
    result = global_mask(scores, 3)
    assert [m.tolist() for m in result.masks] == [[[False, False], [True, False]], [], [True, True, False]]
    assert (result.threshold, result.ties) == (pytest.approx(0.7), 1)
    assert all(m.dtype == torch.bool for m in result.masks)


@pytest.mark.usefixtures("device")
def test_ties_go_to_the_lowest_index() -> None:
    scores = [torch.tensor([1.0, 2.0, 1.0]), torch.tensor([[1.0], [3.0]]), torch.tensor([1.0])]
    for keep, expected in [(2, [1, 4]), (3, [0, 1, 4]), (4, [0, 1, 2, 4]), (5, [0, 1, 2, 3, 4])]:
        result = global_mask(scores, keep)
        assert positions(result.masks) == expected
        assert (result.threshold, result.ties) == ((2, 1) if keep == 2 else (1, 4))


@pytest.mark.usefixtures("device")
def test_flat_index_is_that_of_the_logical_tensor() -> None:
    scores = torch.tensor([[1.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    transposed = scores.t().contiguous().t()
    assert not transposed.is_contiguous()
    result = global_mask([transposed], 3)
    assert result.masks[0].tolist() == [[True, True, True], [False, False, False]]
    assert result.masks[0].is_contiguous()


@pytest.mark.usefixtures("device")
def test_signed_zeros_are_equal() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        result = global_mask([torch.tensor([-0.0, 0.0, -0.0, -1.0], dtype=dtype)], 2)
        assert positions(result.masks) == [0, 1]
        assert (str(result.threshold), result.ties) == ("0.0", 3)


@pytest.mark.usefixtures("device")
def test_keep_none_and_all() -> None:
    scores = [torch.tensor([3.0, -2.0]), torch.tensor(5.0)]
    nothing = global_mask(scores, 0)
    assert (positions(nothing.masks), nothing.threshold, nothing.ties) == ([], INF, 0)
    everything = global_mask(scores, 3)
    assert (positions(everything.masks), everything.threshold, everything.ties) == ([0, 1, 2], -2, 1)
    assert everything.masks[1].shape == ()
    empty = global_mask([torch.zeros(0, 3)], 0)
    assert (empty.masks[0].shape, empty.threshold, empty.ties) == ((0, 3), INF, 0)


@pytest.mark.usefixtures("device")
def test_infinities() -> None:
    scores = [torch.tensor([-INF, INF, 1.0, INF, -INF])]
    assert positions(global_mask(scores, 1).masks) == [1]
    assert global_mask(scores, 1)[1:] == (INF, 2)
    assert positions(global_mask(scores, 4).masks) == [0, 1, 2, 3]
    assert global_mask(scores, 4)[1:] == (-INF, 2)


@pytest.mark.usefixtures("device")
def test_within() -> None:
    scores = [torch.tensor([9.0, 1.0, NAN]), torch.tensor([1.0, 1.0, 5.0])]
    within = [torch.tensor([False, True, False]), torch.tensor([False, True, True])]
    result = global_mask(scores, 2, within=within)
    assert positions(result.masks) == [1, 5]
    assert (result.threshold, result.ties) == (1, 2)  # the score outside does not count
    assert positions(global_mask(scores, 3, within=within).masks) == [1, 4, 5]


@pytest.mark.usefixtures("device")
def test_weights_by_hand() -> None:
    scores = [torch.tensor([2.0, -3.0, 1.0]), torch.tensor([4.0])]
    weights = [torch.tensor([1.0, -2.0, 5.0]), torch.tensor([-1.0])]
    result = global_mask(scores, 2, weights=weights)  # products 2, 6, 5 and -4
    assert positions(result.masks) == [1, 2]
    assert (result.threshold, result.ties) == (5, 1)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_products_are_rounded_as_elementwise(dtype: torch.dtype) -> None:
    scores, weights = ([torch.randn(50, 7).to(dtype), torch.randn(90).to(dtype)] for _ in range(2))
    fused = global_mask(scores, 100, weights=weights)
    plain = global_mask([s * w for s, w in zip(scores, weights, strict=True)], 100)
    assert positions(fused.masks) == positions(plain.masks)
    assert fused[1:] == plain[1:]


@pytest.mark.usefixtures("device")
def test_scores_that_need_gradients() -> None:
    result = global_mask([torch.tensor([1.0, 2.0], requires_grad=True)], 1)
    assert positions(result.masks) == [1]
    assert not result.masks[0].requires_grad


N = 200_003
RNG = torch.Generator().manual_seed(0)


def spread(n: int, dtype: torch.dtype) -> Tensor:
    """Every exponent of the dtype, denormals and both signs."""
    tiny = math.frexp(torch.finfo(dtype).smallest_normal)[1] - 10
    exponents = torch.randint(tiny, math.frexp(torch.finfo(dtype).max)[1], (n,), generator=RNG)
    return torch.ldexp(torch.randn(n, dtype=torch.float64, generator=RNG).clamp(-1, 1), exponents).to(dtype)


ADVERSARIAL = {
    "normal": torch.randn(N, generator=RNG),
    "constant": torch.full((N,), 0.25),
    "two values": torch.randint(2, (N,), generator=RNG).float(),
    "narrow": 1 + 3e-5 * torch.rand(N, generator=RNG),
    "ties in the middle": torch.where(torch.rand(N, generator=RNG) < 0.6, 0.0, torch.randn(N, generator=RNG)),
    "signed zeros": torch.tensor([0.0, -0.0, 1.0, -1.0])[torch.randint(4, (N,), generator=RNG)],
    "infinities": torch.tensor([INF, -INF, 1.0])[torch.randint(3, (N,), generator=RNG)],
    "ascending": torch.arange(N).float(),
    "descending": -torch.arange(N).float(),
    "all exponents": spread(N, torch.float32),
    "all exponents, float64": spread(N, torch.float64),
    "float64, equal in float32": 1 + 1e-12 * torch.rand(N, dtype=torch.float64, generator=RNG),
    "bfloat16": torch.randn(N, generator=RNG).bfloat16(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("fraction", [1 / N, 0.01, 0.5, 1 - 1 / N])
def test_against_a_stable_sort_for_any_number_of_threads(device: str, name: str, fraction: float) -> None:
    values, keep = ADVERSARIAL[name], round(fraction * N)
    listed = values.tolist()
    order = sorted(range(N), key=listed.__getitem__, reverse=True)  # Python's sort stays stable in reverse
    threshold = listed[order[keep - 1]]
    scores = [*values.to(device).split([1, 70_000, 0, N - 70_001])]
    for threads in (1, 2, 5) if device == "cpu" else (1,):
        torch.set_num_threads(threads)
        result = global_mask(scores, keep)
        assert positions(result.masks) == sorted(order[:keep])
        assert (result.threshold, result.ties) == (threshold, listed.count(threshold))


@pytest.mark.usefixtures("device")
def test_threads_share_weights_and_within_alike() -> None:
    scores, weights = (torch.randint(-3, 4, (N,)).float().split([N - 5, 5]) for _ in range(2))
    within = (torch.rand(N) < 0.5).split([N - 5, 5])
    products = torch.cat([s * w for s, w in zip(scores, weights, strict=True)]).tolist()
    inside = list(itertools.compress(range(N), torch.cat(within).tolist()))
    expected = sorted(sorted(inside, key=products.__getitem__, reverse=True)[:30_000])
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        result = global_mask(scores, 30_000, weights=weights, within=within)
        assert positions(result.masks) == expected
        assert result.ties == sum(products[i] == result.threshold for i in inside)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("start", [1, 2, 3, 7])
def test_scores_that_begin_anywhere(start: int, dtype: torch.dtype) -> None:
    scores, weights = (torch.randn(N + start).to(dtype) for _ in range(2))
    within = torch.rand(N + start) < 0.9
    got = global_mask([scores[start:]], N // 10, weights=[weights[start:]], within=[within[start:]])
    copies = ([t[start:].clone()] for t in (scores, weights, within))
    want = global_mask(next(copies), N // 10, weights=next(copies), within=next(copies))
    assert torch.equal(got.masks[0], want.masks[0])
    assert got[1:] == want[1:]


@pytest.mark.slow
@pytest.mark.usefixtures("device")
def test_opcheck() -> None:
    scores, weights = (
        [torch.randn(4, 5), torch.randn(0), torch.randn(6)],
        [torch.randn(4, 5), torch.randn(0), torch.randn(6)],
    )
    within = [s > 0 for s in scores]
    for extra in ((None, None), (weights, None), (None, within), (weights, within)):
        torch.library.opcheck(torch.ops.prune.global_mask, (scores, 5, *extra))


S = torch.zeros(2, 3)
TRUE = torch.ones(2, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("scores", "keep", "extra", "message"),
    [
        ([S], 7, {}, "keep is 7, but it needs to be between 0 and 6, the number of scores"),
        ([S], -1, {}, "keep is -1, but it needs to be between 0 and 6"),
        (
            [S],
            2,
            {"within": [TRUE & False]},
            "keep is 2, but .* 0, the number of scores where within is true",
        ),
        ([], 0, {}, "scores is an empty list"),
        ([S, S], 1, {"weights": [S]}, "weights has 1 tensors, but scores has 2; one for each is needed"),
        ([S], 1, {"within": []}, "within has 0 tensors, but scores has 1; one for each is needed"),
        ([S, S + NAN], 1, {}, "tensor 1 of scores holds 6 NaN"),
        ([S, S, torch.tensor([1.0, -NAN, NAN])], 0, {}, "tensor 2 of scores holds 2 NaN"),
        ([S, S + INF], 1, {"weights": [S, S]}, r"tensor 1 of scores \* weights holds 6 NaN"),
    ],
)
def test_bad_values(
    device: str, scores: list[Tensor], keep: int, extra: dict[str, list[Tensor]], message: str
) -> None:
    there = {name: [t.to(device) for t in tensors] for name, tensors in extra.items()}
    with pytest.raises(ValueError, match=f"^global_mask: {message}") as error:
        global_mask([s.to(device) for s in scores], keep, **there)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("scores", "extra", "message"),
    [
        ([S.half()], {}, r"scores\[0\] has dtype Half, but float32, float64 or bfloat16 is needed"),
        ([S, S.double()], {}, r"scores\[1\] has dtype Double, but Float is needed"),
        ([S], {"weights": [S.double()]}, r"weights\[0\] has dtype Double, but Float is needed"),
        (
            [S, S],
            {"weights": [S, S.t()]},
            r"weights\[1\] has shape \[3, 2\], but the shape of scores\[1\] \[2, 3\]",
        ),
        ([S], {"within": [S]}, r"within\[0\] has dtype Float, but Bool is needed"),
        ([S], {"within": [TRUE[0]]}, r"within\[0\] has shape \[3\], but the shape of scores\[0\] \[2, 3\]"),
        ([S, S.to("meta")], {}, r"scores\[1\] is on meta, but cpu is needed"),
        ([S], {"within": [TRUE.to("meta")]}, r"within\[0\] is on meta, but cpu is needed"),
    ],
)
def test_bad_tensors(scores: list[Tensor], extra: dict[str, list[Tensor]], message: str) -> None:
    with pytest.raises(RuntimeError, match=f"^global_mask: {message}"):
        global_mask(scores, 1, **extra)
