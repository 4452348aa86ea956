"""The sparse kernels of the masked linear layer: every instruction set, threads, plans, the output pool."""

import copy
import gc
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prune import MaskedLinear
from prune.ops import masked_linear

OPS = torch.ops.prune

# out, in, rows, density: tiles and blocks with rests, several chunks, more than 16 of them (of outputs and inputs, by slices and
# by tiles), slices of rows, results that are written past the caches, one row, nothing kept
SHAPES = [
    (3, 4, 5, 0.5),
    (300, 260, 130, 0.3),
    (700, 1300, 70, 0.3),
    (513, 512, 2100, 0.1),
    (1000, 77, 64, 0.01),
    (40, 2100, 257, 0.05),
    (2500, 33, 2048, 0.02),
    (2500, 33, 300, 0.1),
    (1300, 40, 70, 0.3),
    (600, 300, 33, 0.1),
    (17, 16, 1, 0.9),
    (9, 9, 3, 0.0),
]


def draw(out: int, n_in: int, rows: int, density: float) -> tuple[Tensor, ...]:
    """x, weight, mask, bias, grad; with NaN under the mask."""
    generator = torch.Generator().manual_seed(out + n_in + rows)
    mask = torch.rand(out, n_in, generator=generator) < density
    weight = torch.randn(out, n_in, generator=generator).masked_fill_(~mask, torch.nan)
    return (
        torch.randn(rows, n_in, generator=generator),
        weight,
        mask,
        torch.randn(out, generator=generator),
        torch.randn(rows, out, generator=generator),
    )


def products(x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor, grad: Tensor) -> list[Tensor]:
    """y, dx, dW, db through autograd."""
    leaves = [t.detach().requires_grad_() for t in (x, weight, bias)]
    y = masked_linear(leaves[0], leaves[1], mask, leaves[2])
    return [y.detach(), *torch.autograd.grad(y, leaves, grad)]


def check_against_float64() -> None:
    """Run in a process where the sparse algorithm is forced."""
    for shape in SHAPES:
        x, weight, mask, bias, grad = draw(*shape)
        dense = torch.where(mask, weight, 0)
        wide = [t.double() for t in (x, dense, bias, grad)]
        wanted = [
            wide[0] @ wide[1].t() + wide[2],
            wide[3] @ wide[1],
            (wide[3].t() @ wide[0]) * mask,
            wide[3].sum(0),
        ]
        # torch's own float32 products, on all of the dense weight
        torchs = [x @ dense.t() + bias, grad @ dense, (grad.t() @ x) * mask, grad.sum(0)]
        results = {}
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results[threads] = products(x, weight, mask, bias, grad)
        for got, again, more, other, want in zip(*results.values(), torchs, wanted, strict=True):
            assert torch.equal(got, again), shape
            assert torch.equal(got, more), shape
            scale = want.abs().max().item() if want.numel() else 0.0
            error, usual = ((t - want).abs().max().item() for t in (got, other))
            # where few numbers are summed the largest of a few rounding errors is a matter of chance
            assert error <= max(1.2 * usual, 3e-7 * scale), (shape, error, usual, scale)
        assert not results[1][2][~mask].any()
        # each product by itself
        assert torch.equal(OPS.masked_linear(x, weight, mask, bias), results[1][0])
        assert torch.equal(OPS.masked_linear_grad_input(grad, weight, mask), results[1][1])
        assert torch.equal(OPS.masked_linear_grad_weight(grad, x, mask), results[1][2])


def instruction_sets() -> list[str]:
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    needed = {"avx512": ["avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"], "avx2": ["avx2", "fma"]}
    return [name for name, wanted in needed.items() if all(flag in flags for flag in wanted)] + ["plain"]


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    here = str(Path(__file__).parent)
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {here!r})\n{code}"],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


@pytest.mark.process
@pytest.mark.parametrize("cpu", instruction_sets())
def test_every_instruction_set_against_float64(cpu: str) -> None:
    code = "import test_masked_linear_kernels as t; t.check_against_float64()"
    result = run(code, PRUNE_CPU=cpu, PRUNE_MASKED_LINEAR="sparse")
    assert result.returncode == 0, result.stderr


@pytest.mark.process
@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PRUNE_CPU", "mmx", "PRUNE_CPU is 'mmx': plain, avx2 and avx512 are known"),
        (
            "PRUNE_MASKED_LINEAR",
            "fast",
            "PRUNE_MASKED_LINEAR is 'fast', but dense, fused or sparse is needed",
        ),
        ("PRUNE_POOL_MB", "many", "PRUNE_POOL_MB is 'many', but a whole number of megabytes"),
    ],
)
def test_a_bad_environment_variable_is_named(variable: str, value: str, message: str) -> None:
    code = (
        "import torch, test_masked_linear_kernels as t\n"
        "try: t.products(*t.draw(700, 1024, 512, 0.01))\n"
        "except RuntimeError as error: print(error)"
    )
    assert message in run(code, **{variable: value}).stdout


@pytest.fixture
def layer() -> MaskedLinear:
    """Large and sparse enough for the sparse algorithm."""
    torch.manual_seed(0)
    layer = MaskedLinear(512, 600)
    layer.weight_mask.copy_(torch.rand(600, 512) < 0.02)
    return layer


def dense(layer: MaskedLinear, x: Tensor) -> Tensor:
    weight = torch.where(layer.weight_mask, layer.weight, 0)
    return torch.nn.functional.linear(x, weight, layer.bias)


def check(layer: MaskedLinear, x: Tensor | None = None) -> None:
    x = torch.randn(256, 512) if x is None else x
    torch.testing.assert_close(layer(x), dense(layer, x), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("device")
def test_the_plan_follows_the_mask(layer: MaskedLinear) -> None:
    check(layer)
    assert OPS.masked_linear_plan_bytes(layer.weight_mask) > 0
    layer.weight_mask[:300] = False
    check(layer)
    layer.weight_mask.fill_(True)
    check(layer)
    other = MaskedLinear(512, 600)
    other.weight_mask.copy_(torch.rand(600, 512) < 0.1)
    layer.load_state_dict(other.state_dict())
    check(layer)
    layer.load_state_dict(MaskedLinear(512, 600).state_dict(), assign=True)
    check(layer)
    layer.weight_mask = torch.rand(600, 512) < 0.01
    check(layer)


def shifted(tensor: Tensor) -> Tensor:
    """The same values, contiguous, one element away from where an allocation begins."""
    return torch.cat([tensor.new_empty(1), tensor.flatten()])[1:].view_as(tensor)


@pytest.mark.slow
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("density", [0.01, 0.5])
@pytest.mark.parametrize("shape", [(600, 512, 16), (600, 512, 300), (601, 515, 100)])
def test_operands_that_begin_anywhere(
    shape: tuple[int, int, int], density: float, dtype: torch.dtype
) -> None:
    out, n_in, rows = shape
    mask = torch.rand(out, n_in) < density
    others = [torch.randn(*s).to(dtype) for s in ((rows, n_in), (out, n_in), (out,), (rows, out))]
    x, weight, bias, grad = (shifted(t) for t in others)
    assert x.data_ptr() % 16
    error = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    wanted = products(others[0], others[1], mask, *others[2:])
    for got, want in zip(products(x, weight, shifted(mask), bias, grad), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=error, atol=error * want.abs().max().item())


@pytest.mark.usefixtures("device")
def test_no_plan_for_a_tensor_that_counts_for_itself(layer: MaskedLinear) -> None:
    """`.data`, and assigning to it, take along what is kept with a mask but not its count of changes; small counts coincide."""
    check(layer)
    mask = layer.weight_mask.data
    while mask._version != layer.weight_mask._version:
        mask.copy_(torch.rand(600, 512) < 0.3)
    layer.weight_mask = mask
    check(layer)
    other = copy.deepcopy(layer)
    check(other)
    other.weight_mask.copy_(torch.rand(600, 512) < 0.3)
    layer.weight_mask.data = other.weight_mask
    check(layer)


def test_refresh_after_a_change_that_is_not_counted(layer: MaskedLinear) -> None:
    x = torch.randn(256, 512)
    before = layer(x)
    layer.weight_mask.numpy()[:] = False
    assert torch.equal(layer(x), before)  # the documented limit
    layer.refresh()
    assert torch.equal(layer(x), layer.bias.expand(256, 600))


@pytest.mark.usefixtures("device")
def test_weights_are_read_anew_each_time(layer: MaskedLinear) -> None:
    check(layer)
    layer.weight.data.mul_(2)  # not counted as a change
    check(layer)


@pytest.mark.usefixtures("device")
def test_copies_and_views_have_plans_of_their_own(layer: MaskedLinear) -> None:
    check(layer)
    twin = copy.deepcopy(layer)
    twin.weight_mask.logical_not_()
    check(twin)
    check(layer)
    x = torch.randn(256, 512)
    view = layer.weight_mask[100:400]
    expected = torch.where(view, layer.weight[100:400], 0)
    torch.testing.assert_close(
        masked_linear(x, layer.weight[100:400], view), x @ expected.t(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.usefixtures("device")
def test_a_mask_made_in_inference_mode(layer: MaskedLinear) -> None:
    with torch.inference_mode():
        check(layer)
        mask = torch.rand(600, 512) < 0.02
        x = torch.randn(256, 512)
        for _ in range(2):
            y = masked_linear(x, layer.weight, mask)
            torch.testing.assert_close(y, x @ torch.where(mask, layer.weight, 0).t(), rtol=1e-4, atol=1e-5)
            mask.logical_not_()  # nothing counts this


def test_plan_size_is_shown_and_bounded(layer: MaskedLinear) -> None:
    check(layer)
    layer(torch.randn(256, 512, requires_grad=True)).sum().backward()  # dx has a pattern of its own
    kept = int(layer.weight_mask.sum())
    size = OPS.masked_linear_plan_bytes(layer.weight_mask)
    assert 4 * kept <= size <= 24 * kept
    assert f"plan={size / kept:.3g} bytes per kept weight" in repr(layer)


@pytest.mark.usefixtures("device")
def test_a_network_compiled_in_one_graph(layer: MaskedLinear) -> None:
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(256, 512, requires_grad=True)
    results = []
    for function in (compiled, layer):
        y = function(x)
        results.append([y, *torch.autograd.grad(y.sum(), [x, *layer.parameters()])])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("device")
def test_second_derivatives_of_the_sparse_algorithm(layer: MaskedLinear) -> None:
    x = torch.randn(256, 512)

    def squared_gradient(function: object) -> Tensor:
        loss = function(layer, x).tanh().sum()  # type: ignore[operator]
        (gradient,) = torch.autograd.grad(loss, layer.weight, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), layer.weight)[0]

    sparse = squared_gradient(lambda layer, x: layer(x))
    torch.testing.assert_close(sparse, squared_gradient(dense), rtol=1e-3, atol=1e-2)
    assert not sparse[~layer.weight_mask].any()


def _worker(layer: MaskedLinear, x: Tensor, want: Tensor) -> None:
    torch.set_num_threads(1)
    layer.weight_mask = layer.weight_mask.clone()  # a plan of the worker's own as well
    assert torch.equal(layer(x), want)


@pytest.mark.process
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_worker_processes(layer: MaskedLinear, method: str) -> None:
    x = torch.randn(256, 512)
    with torch.no_grad():
        want = layer(x)
    layer.requires_grad_(False)
    process = multiprocessing.get_context(method).Process(target=_worker, args=(layer, x, want))  # type: ignore[attr-defined]
    process.start()
    process.join(300)
    assert process.exitcode == 0


@pytest.mark.slow
@pytest.mark.usefixtures("device")
def test_no_result_shares_memory_with_another_that_lives() -> None:
    """Outputs of a megabyte and more, dropped and made in every order; views keep their memory too."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(600, 512) < 0.02
    weight, x = torch.randn(600, 512, requires_grad=True), torch.randn(1024, 512, requires_grad=True)
    alive: list[tuple[Tensor, Tensor]] = []
    for step in range(40):
        rows = (1024, 1000, 900)[step % 3]
        y = masked_linear(x[:rows], weight, mask)
        gradients = torch.autograd.grad(y, (x, weight), torch.ones_like(y))
        for result in (y.detach(), y.detach()[rows // 2 :, 1:], *gradients):
            alive.append((result, result.clone()))
        drop = int(torch.randint(0, 6, (), generator=generator, device="cpu"))
        for _ in range(min(drop, len(alive) - 1)):
            del alive[int(torch.randint(0, len(alive), (), generator=generator, device="cpu"))]
        if step % 10 == 0:
            gc.collect()
        for result, copied in alive:
            assert torch.equal(result, copied)


@pytest.mark.process
def test_the_pool_keeps_no_more_than_it_may() -> None:
    code = (
        "import json, os, torch\n"
        "from prune.ops import masked_linear\n"
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE') >> 20\n"
        "torch.set_num_threads(1)\n"
        "mask = torch.rand(2048, 256) < 0.01\n"
        "weight, x = torch.randn(2048, 256), torch.randn(16384, 256)\n"  # y has 128 MB
        "masked_linear(x[:2048], weight, mask); before = resident()\n"
        "y = masked_linear(x, weight, mask); during = resident(); del y; after = resident()\n"
        "print(json.dumps([during - before, after - before]))"
    )
    kept = {}
    for megabytes in (0, 64, 256):
        result = run(code, PRUNE_POOL_MB=str(megabytes))
        assert result.returncode == 0, result.stderr
        during, kept[megabytes] = json.loads(result.stdout)
        assert during >= 120
    assert kept[0] < 64
    assert kept[64] < 64 + 64
    assert kept[256] >= 120
