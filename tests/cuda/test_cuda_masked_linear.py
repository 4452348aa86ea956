"""The algorithms of the masked linear layer on CUDA: each against float64, streams, graphs, determinism."""

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
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

# out, in, rows, density: rests of every tile, several chunks, one row, nothing kept, everything kept
SHAPES = [
    (3, 4, 5, 0.5),
    (64, 64, 64, 0.1),
    (300, 260, 130, 0.1),
    (301, 299, 65, 0.05),
    (700, 1300, 70, 0.1),
    (513, 512, 2100, 0.1),
    (1000, 77, 64, 0.01),
    (40, 2100, 257, 0.05),
    (2500, 33, 2048, 0.02),
    (10837, 512, 96, 0.01),
    (17, 16, 1, 0.9),
    (512, 512, 16, 0.3),
    (9, 9, 3, 0.0),
    (33, 40, 31, 1.0),
]


def draw(out: int, n_in: int, rows: int, density: float, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """x, weight, mask, bias, grad; with NaN under the mask, and values that the dtype holds."""
    generator = torch.Generator().manual_seed(out + n_in + rows)
    mask = torch.rand(out, n_in, generator=generator) < density
    weight = torch.randn(out, n_in, generator=generator).masked_fill_(~mask, torch.nan)
    others = [torch.randn(*s, generator=generator) for s in ((rows, n_in), (out,), (rows, out))]
    x, weight, bias, grad = (t.to("cuda", dtype) for t in (others[0], weight, *others[1:]))
    return x, weight, mask.cuda(), bias, grad


def products(x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor, grad: Tensor) -> list[Tensor]:
    """y, dx, dW, db through autograd."""
    leaves = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    y = masked_linear(leaves[0], leaves[1], mask, leaves[2])
    return [y.detach(), *torch.autograd.grad(y, leaves, grad)]


def check_against_float64() -> None:
    """Run in a process for each algorithm."""
    for dtype in DTYPES:
        for tf32 in (False, True) if dtype == torch.float32 else (False,):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            # of the largest value: rounding of the operands and of the result, and of sums in float32
            tolerance = (
                2**-10 if tf32 else max(4 * torch.finfo(dtype).eps, 2e-6 if dtype != torch.float64 else 0)
            )
            for shape in SHAPES:
                x, weight, mask, bias, grad = draw(*shape, dtype)
                wide = [t.double() for t in (x, torch.where(mask, weight, 0), bias, grad)]
                wanted = [
                    wide[0] @ wide[1].t() + wide[2],
                    wide[3] @ wide[1],
                    (wide[3].t() @ wide[0]) * mask,
                    wide[3].sum(0),
                ]
                got = products(x, weight, mask, bias, grad)
                again = products(x, weight, mask, bias, grad)
                for name, a, b, want in zip(("y", "dx", "dW", "db"), got, again, wanted, strict=True):
                    where = (name, dtype, tf32, shape)
                    assert torch.equal(a, b), where
                    error = (a - want).abs().max().item()
                    scale = want.abs().max().item()
                    assert error <= tolerance * max(scale, 1), (where, error, scale)
                assert not got[2][~mask].any(), shape
                assert torch.equal(OPS.masked_linear(x, weight, mask, bias), got[0])
                assert torch.equal(OPS.masked_linear_grad_input(grad, weight, mask), got[1])
                assert torch.equal(OPS.masked_linear_grad_weight(grad, x, mask), got[2])


@pytest.mark.process
@pytest.mark.parametrize("algorithm", ["dense", "fused", "sparse", ""])
def test_every_algorithm_against_float64(algorithm: str) -> None:
    here = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {here!r}); import test_cuda_masked_linear as t; t.check_against_float64()"
    environment = os.environ | {"PRUNE_MASKED_LINEAR": algorithm}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-2000:]


def layer(density: float = 0.02) -> MaskedLinear:
    torch.manual_seed(0)
    made = MaskedLinear(512, 600).cuda()
    made.weight_mask.copy_(torch.rand(600, 512, device="cuda") < density)
    return made


@pytest.mark.parametrize("density", [0.02, 0.5])
@pytest.mark.parametrize("rows", [64, 1024])
def test_a_captured_step_gives_what_an_eager_one_gives(density: float, rows: int) -> None:
    x = torch.randn(rows, 512, device="cuda", requires_grad=True)
    module = layer(density)
    parameters = [x, *module.parameters()]

    def step() -> list[Tensor]:
        y = module(x)
        return [y, *torch.autograd.grad(y.square().sum(), parameters)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        x.normal_()
        module.weight.mul_(1.5)  # the graph reads weights when it runs
    graph.replay()
    for got, want in zip(captured, step(), strict=True):
        assert torch.equal(got, want)


def test_a_mask_first_seen_under_capture_takes_the_dense_algorithm() -> None:
    module, x = layer(), torch.randn(1024, 512, device="cuda")
    torch.nn.functional.linear(x, module.weight, module.bias)  # cuBLAS wants to be there before
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        y = module(x)
    graph.replay()
    torch.testing.assert_close(y, module(x), rtol=1e-4, atol=1e-4)


def test_work_goes_to_the_current_stream() -> None:
    module = layer()
    x = torch.randn(1024, 512, device="cuda")
    want = module(x)
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        late = torch.zeros(1024, 512, device="cuda")
        torch.cuda._sleep(50_000_000)
        late.copy_(x)
        got = module(late)  # wrong unless it waits for the copy, which is late on this stream
    side.synchronize()
    assert torch.equal(got, want)


def test_steps_do_not_wait_for_the_device() -> None:
    module = layer()
    x = torch.randn(1024, 512, device="cuda", requires_grad=True)
    module(x).sum().backward()  # the count of a new mask is read once
    torch.cuda.set_sync_debug_mode("error")
    try:
        module(x).sum().backward()
        with torch.no_grad():
            module(x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_equal_to_the_cpu_within_rounding() -> None:
    module = layer()
    x = torch.randn(1024, 512)
    torch.testing.assert_close(module(x.cuda()).cpu(), module.cpu()(x), rtol=1e-4, atol=1e-4)


def test_autocast_to_half() -> None:
    module = layer()
    x = torch.randn(64, 512, device="cuda")
    with torch.autocast("cuda", torch.float16):
        y = module(x)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.float(), module(x), rtol=1e-2, atol=1e-2)


def test_a_layer_of_more_than_two_to_the_31_weights() -> None:
    if torch.cuda.get_device_properties(0).total_memory < 40 * 2**30:
        pytest.skip("needs 40 GB of device memory")
    out, n_in = 70_000, 32_768  # 2.29e9 weights, bfloat16
    weight = torch.zeros(out, n_in, device="cuda", dtype=torch.bfloat16)
    mask = torch.zeros(out, n_in, device="cuda", dtype=torch.bool)
    places = torch.tensor([[0, 0], [out - 1, n_in - 1], [65_536, 1], [out - 1, 0]], device="cuda")
    weight[places[:, 0], places[:, 1]] = 3
    weight[out - 1, 5] = torch.nan  # pruned
    mask[places[:, 0], places[:, 1]] = True
    x = torch.randn(300, n_in, device="cuda").bfloat16()
    y = masked_linear(x, weight, mask)
    assert torch.equal(y[:, 0], 3 * x[:, 0])
    assert torch.equal(y[:, 65_536], 3 * x[:, 1])
    want = 3 * x[:, -1].float() + 3 * x[:, 0].float()
    torch.testing.assert_close(y[:, -1], want.bfloat16(), rtol=1e-2, atol=1e-3)
    assert int(y.count_nonzero(0).count_nonzero()) == 3


def test_tf32_may_change_between_forward_and_backward() -> None:
    weight = torch.randn(1001, 512, device="cuda", requires_grad=True)
    x = torch.randn(600, 512, device="cuda", requires_grad=True)
    mask = torch.rand(1001, 512, device="cuda") < 0.5
    for first, second in ((True, False), (False, True)):
        torch.backends.cuda.matmul.allow_tf32 = first
        y = masked_linear(x, weight, mask)
        torch.backends.cuda.matmul.allow_tf32 = second
        got = torch.autograd.grad(y, x, torch.ones_like(y))[0]
        torch.testing.assert_close(got, (weight * mask).sum(0).expand(600, 512), rtol=1e-2, atol=0.2)
    torch.backends.cuda.matmul.allow_tf32 = False


def test_a_graph_outlives_the_plan_it_was_captured_with() -> None:
    module = layer()
    x = torch.randn(1024, 512, device="cuda")
    with torch.no_grad():
        want = module(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = module(x)
        module.weight_mask.fill_(True)
        module(x)
        torch.cuda.empty_cache()
        graph.replay()
    assert torch.equal(y, want)


def test_a_plan_lives_as_long_as_another_stream_reads_it() -> None:
    x, late = torch.randn(1024, 512, device="cuda"), torch.randn(1024, 512, device="cuda")
    side = torch.cuda.Stream()
    for density in (0.02, 0.5):
        module = layer(density)
        with torch.no_grad():
            want = module(x)  # makes the plan, in the memory of this stream
            torch.cuda.synchronize()
            with torch.cuda.stream(side):
                torch.cuda._sleep(50_000_000)
                late.copy_(x)
                got = module(late)
            module.refresh()
            junk = [torch.full((1 << size,), 255, dtype=torch.uint8, device="cuda") for size in range(9, 21)]
            side.synchronize()
        assert torch.equal(got, want)
        del junk


def test_refresh_after_a_change_that_is_not_counted() -> None:
    module, x = layer(), torch.randn(1024, 512, device="cuda")
    module(x)
    module.weight_mask.data.zero_()
    module.refresh()
    assert torch.equal(module(x), module.bias.expand(1024, 600))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU here, and this needs two")
@pytest.mark.parametrize("density", [0.02, 0.5])
@pytest.mark.parametrize("rows", [16, 1024])
def test_work_goes_to_the_device_of_the_tensors(density: float, rows: int) -> None:
    x = torch.randn(rows, 512)
    results = []
    for device in ("cuda:0", "cuda:1"):
        module, there = layer(density).to(device), x.to(device).requires_grad_()
        y = module(there)
        y.square().sum().backward()
        results.append([t.cpu() for t in (y.detach(), there.grad, module.weight.grad, module.bias.grad)])
        assert torch.cuda.current_device() == 0
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)
