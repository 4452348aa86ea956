"""The masked linear operators: values, gradients of every order, transformations, errors."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import linear
from torch.utils.flop_counter import FlopCounterMode

from prune.ops import masked_linear

OPS = torch.ops.prune
JUNK = [torch.nan, torch.inf, -torch.inf, 1e9]


def draw(*shape: int, dtype: torch.dtype = torch.float64, grad: bool = False) -> Tensor:
    return torch.randn(*shape, dtype=dtype).requires_grad_(grad)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def mask() -> Tensor:
    """[3, 4], with a full, an empty and a mixed row."""
    return torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1]], dtype=torch.bool)


@pytest.mark.usefixtures("device")
def test_values_and_gradients_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    weight = torch.tensor([[3.0, 5.0], [7.0, 11.0]], requires_grad=True)
    bias = torch.tensor([0.5, -0.5], requires_grad=True)
    y = masked_linear(x, weight, torch.tensor([[True, False], [True, True]]), bias)
    assert y.tolist() == [[1 * 3 + 0.5, 1 * 7 + 2 * 11 - 0.5]]
    y.backward(torch.tensor([[1.0, 10.0]]))
    assert x.grad.tolist() == [[1 * 3 + 10 * 7, 10 * 11]]
    assert weight.grad.tolist() == [[1, 0], [10, 20]]
    assert bias.grad.tolist() == [1, 10]


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 4), (0, 4), (2, 0, 4), (1, 1, 1, 4)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_the_dense_product(
    mask: Tensor, shape: tuple[int, ...], dtype: torch.dtype, with_bias: bool
) -> None:
    x, weight = draw(*shape, dtype=dtype, grad=True), draw(3, 4, dtype=dtype, grad=True)
    bias = draw(3, dtype=dtype, grad=True) if with_bias else None
    y = masked_linear(x, weight, mask, bias)
    grad = draw(*shape[:-1], 3, dtype=dtype)
    y.backward(grad)

    wide, dense = x.detach().double(), weight.detach().double() * mask
    expected = torch.einsum("...i,oi->...o", wide, dense) + (bias.detach().double() if with_bias else 0)
    eps = torch.finfo(dtype).eps
    close = {"rtol": 8 * eps, "atol": 8 * eps, "check_dtype": False}
    assert y.dtype == dtype
    assert y.is_contiguous()
    torch.testing.assert_close(y, expected, **close)
    rows = grad.double().reshape(-1, 3)
    torch.testing.assert_close(x.grad, torch.einsum("...o,oi->...i", grad.double(), dense), **close)
    torch.testing.assert_close(weight.grad, rows.t() @ wide.reshape(-1, 4) * mask, **close)
    assert not weight.grad[~mask].any()
    if with_bias:
        torch.testing.assert_close(bias.grad, rows.sum(0), **close)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(("out_features", "in_features"), [(3, 0), (0, 4), (0, 0)])
def test_empty_features(out_features: int, in_features: int) -> None:
    x, weight = draw(5, in_features, grad=True), draw(out_features, in_features, grad=True)
    bias = draw(out_features, grad=True)
    y = masked_linear(x, weight, torch.ones(out_features, in_features, dtype=torch.bool), bias)
    assert torch.equal(y, bias.expand(5, out_features))  # a sum over nothing is zero
    y.sum().backward()
    assert torch.equal(x.grad, torch.zeros(5, in_features))
    assert weight.grad.shape == weight.shape
    assert torch.equal(bias.grad, torch.full((out_features,), 5.0))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_large_weights_on_several_threads(dtype: torch.dtype) -> None:
    weight, mask = draw(301, 299, dtype=dtype), torch.rand(301, 299) < 0.3
    spoilt, pruned = weight.masked_fill(~mask, torch.nan), ~mask
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for size, op in ((299, OPS.masked_linear), (301, OPS.masked_linear_grad_input)):
                selected = op(
                    torch.eye(size, dtype=dtype), spoilt, mask
                )  # exact: sums of one product and zeros
                selected = selected.t() if size == 299 else selected
                assert torch.equal(selected[mask], weight[mask])
                assert not selected[pruned].any()
            gradient = OPS.masked_linear_grad_weight(torch.eye(301, dtype=dtype), weight, mask)
            assert torch.equal(gradient[mask], weight[mask])
            assert not gradient[pruned].any()
    finally:
        torch.set_num_threads(threads)


@pytest.mark.usefixtures("device")
def test_any_strides(mask: Tensor) -> None:
    x, weight, bias, grad = draw(2, 5, 4), draw(3, 4), draw(3), draw(2, 5, 3)
    plain = (x, weight, mask, bias)
    strided = (
        x.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        weight.repeat_interleave(2, 1)[:, ::2],
        mask.t().contiguous().t(),
        bias.repeat_interleave(2)[::2],
    )
    assert not any(t.is_contiguous() for t in strided)
    y = masked_linear(*strided)
    torch.testing.assert_close(y, masked_linear(*plain))
    twisted = grad.transpose(0, 1).contiguous().transpose(0, 1)
    for op, a, b in (
        (OPS.masked_linear_grad_input, (twisted, *strided[1:3]), (grad, weight, mask)),
        (OPS.masked_linear_grad_weight, (twisted, strided[0], strided[2]), (grad, x, mask)),
    ):
        torch.testing.assert_close(op(*a), op(*b))
        assert op(*a).is_contiguous()


@pytest.mark.usefixtures("device")
def test_expanded_gradient(mask: Tensor) -> None:
    x, weight = draw(5, 4, grad=True), draw(3, 4, grad=True)
    masked_linear(x, weight, mask).sum().backward()  # the gradient of a sum has strides of zero
    torch.testing.assert_close(x.grad, (weight.detach() * mask).sum(0).expand(5, 4))
    torch.testing.assert_close(weight.grad, x.detach().sum(0) * mask)


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("mode", ["train", "no_grad", "inference", "autocast", "compiled"])
def test_pruned_weights_have_no_influence(device: str, mask: Tensor, junk: float, mode: str) -> None:
    function = (
        torch.compile(masked_linear, fullgraph=True, backend="aot_eager")
        if mode == "compiled"
        else masked_linear
    )
    x, weight, bias = (
        draw(5, 4, dtype=torch.float32),
        draw(3, 4, dtype=torch.float32),
        draw(3, dtype=torch.float32),
    )

    def outcome(weight: Tensor) -> list[Tensor]:
        leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
        with torch.autocast(device, torch.bfloat16, enabled=mode == "autocast"):
            if mode in ("no_grad", "inference"):
                with torch.inference_mode(mode == "inference"), torch.no_grad():
                    return [function(leaves[0], leaves[1], mask, leaves[2])]
            y = function(leaves[0], leaves[1], mask, leaves[2])
        first = torch.autograd.grad(y.float().square().sum(), leaves, create_graph=mode != "compiled")
        if mode == "compiled":
            return [y, *first]
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
        return [y, *first, *second]

    for clean, scrambled in zip(outcome(weight), outcome(weight.masked_fill(~mask, junk)), strict=True):
        assert clean.isfinite().all()
        assert torch.equal(clean, scrambled)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("shape", [(5, 4), (4,), (2, 3, 4), (0, 4)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_gradcheck(mask: Tensor, shape: tuple[int, ...], with_bias: bool) -> None:
    inputs = [draw(*shape, grad=True), draw(3, 4, grad=True)]
    if with_bias:
        inputs.append(draw(3, grad=True))

    def function(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return masked_linear(x, weight, mask, bias)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.usefixtures("device")
def test_gradcheck_of_the_gradient_operators(mask: Tensor) -> None:
    grad, x, weight = draw(2, 5, 3, grad=True), draw(2, 5, 4, grad=True), draw(3, 4, grad=True)
    for function, inputs in (
        (lambda g, w: OPS.masked_linear_grad_input(g, w, mask), (grad, weight)),
        (lambda g, x: OPS.masked_linear_grad_weight(g, x, mask), (grad, x)),
    ):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.usefixtures("device")
def test_third_order(mask: Tensor) -> None:
    x, weight = draw(2, 4, grad=True), draw(3, 4, grad=True)

    def squared_gradient(x: Tensor, weight: Tensor) -> Tensor:
        loss = masked_linear(x, weight, mask).pow(3).sum()
        return torch.stack(
            [g.square().sum() for g in torch.autograd.grad(loss, (x, weight), create_graph=True)]
        )

    assert torch.autograd.gradgradcheck(squared_gradient, (x, weight))


@pytest.mark.usefixtures("device")
def test_hessian_product_against_finite_differences(mask: Tensor) -> None:
    x, weight, direction = draw(5, 4), draw(3, 4), draw(3, 4) * mask

    def gradient(weight: Tensor, create_graph: bool = False) -> Tensor:
        loss = masked_linear(x, weight, mask).tanh().exp().sum()
        return torch.autograd.grad(loss, weight, create_graph=create_graph)[0]

    leaf = weight.clone().requires_grad_()
    (product,) = torch.autograd.grad((gradient(leaf, create_graph=True) * direction).sum(), leaf)
    step = 1e-5
    ahead, behind = (gradient((weight + s * direction).requires_grad_()) for s in (step, -step))
    torch.testing.assert_close(product, (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-8)


@pytest.mark.slow
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (4,), (0, 4)])
def test_opcheck(mask: Tensor, shape: tuple[int, ...]) -> None:
    x, weight, bias = draw(*shape, grad=True), draw(3, 4, grad=True), draw(3, grad=True)
    grad = draw(*shape[:-1], 3, grad=True)
    torch.library.opcheck(OPS.masked_linear, (x, weight, mask, bias))
    torch.library.opcheck(OPS.masked_linear, (x, weight, mask))
    torch.library.opcheck(OPS.masked_linear_grad_input, (grad, weight, mask))
    torch.library.opcheck(OPS.masked_linear_grad_weight, (grad, x, mask))


@pytest.mark.process
@pytest.mark.usefixtures("device")
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's own, on first use
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_once_for_all_batch_sizes(mask: Tensor, backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(masked_linear, fullgraph=True, dynamic=True, backend=backend)
    weight, bias = draw(3, 4, grad=True), draw(3, grad=True)

    def check(rows: int) -> None:
        leaves = (draw(rows, 4, grad=True), weight, bias)
        for got, want in zip(step(compiled, leaves), step(masked_linear, leaves), strict=True):
            torch.testing.assert_close(got, want)

    def step(function: Callable[..., Tensor], leaves: tuple[Tensor, ...]) -> list[Tensor]:
        y = function(leaves[0], leaves[1], mask, leaves[2])
        return [y, *torch.autograd.grad(y.square().sum(), leaves)]

    check(5)
    with torch.compiler.set_stance("fail_on_recompile"):
        check(2)
        check(17)


def test_meta_tensors_give_shapes(mask: Tensor) -> None:
    y = masked_linear(draw(2, 5, 4).to("meta"), draw(3, 4).to("meta"), mask.to("meta"))
    assert (y.device.type, y.shape, y.dtype) == ("meta", (2, 5, 3), torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_as_the_dense_layer(device: str, mask: Tensor, dtype: torch.dtype) -> None:
    x, weight, bias = (draw(*s, dtype=dtype, grad=True) for s in ((5, 4), (3, 4), (3,)))
    with torch.autocast(device, torch.bfloat16):
        y = masked_linear(x, weight, mask, bias)
        expected = linear(x, torch.where(mask, weight, 0), bias)
    assert y.dtype == expected.dtype == (torch.bfloat16 if dtype == torch.float32 else dtype)
    # on CUDA other kernels than PyTorch's may do it
    close = {} if device == "cuda" else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(y, expected, **close)
    for got, want in zip(
        torch.autograd.grad(y.sum(), (x, weight, bias)),
        torch.autograd.grad(expected.sum(), (x, weight, bias)),
        strict=True,
    ):
        assert got.dtype == dtype
        torch.testing.assert_close(got, want, **close)


@pytest.mark.parametrize("form", ["bfloat16 in", "float32 in", "inference"])
def test_autocast_multiplies_few_weights_as_they_are(form: str) -> None:
    """At 1 % of the weights float32 with the sparse algorithm is faster than bfloat16: only the outcome is rounded."""
    out, n_in = 96, 128
    mask = torch.zeros(out, n_in, dtype=torch.bool)
    mask.view(-1)[::100] = True
    x = draw(7, n_in, dtype=torch.bfloat16 if form == "bfloat16 in" else torch.float32, grad=True)
    weight, bias = draw(out, n_in, dtype=torch.float32, grad=True), draw(out, dtype=torch.float32, grad=True)
    grad = draw(7, out, dtype=torch.bfloat16)
    leaves = (x, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        if form == "inference":
            with torch.inference_mode():
                y = masked_linear(x, weight, mask.clone(), bias)  # a mask of which nothing is kept
            assert torch.equal(y, linear(x, torch.where(mask, weight, 0), bias))
            return
        y = masked_linear(x, weight, mask, bias)
    exact = linear(x.float(), torch.where(mask, weight, 0), bias)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, exact.bfloat16(), rtol=2**-7, atol=0)
    for got, want, leaf in zip(
        torch.autograd.grad(y, leaves, grad),
        torch.autograd.grad(exact, leaves, grad.float()),
        leaves,
        strict=True,
    ):
        assert got.dtype == leaf.dtype
        # no coarser than float32 where the leaf is float32: bfloat16 would be off by 1e-3
        close = 1e-5 if leaf.dtype == torch.float32 else 2**-7
        torch.testing.assert_close(got, want, rtol=close, atol=close)


def test_autocast_takes_mixed_dtypes_and_nests_with_double_backward(device: str, mask: Tensor) -> None:
    x, weight = draw(5, 4, dtype=torch.bfloat16, grad=True), draw(3, 4, dtype=torch.float32, grad=True)
    with torch.autocast(device, torch.bfloat16):
        loss = masked_linear(x, weight, mask).float().square().sum()
        first = torch.autograd.grad(loss, (x, weight), create_graph=True)
        second = torch.autograd.grad(sum(g.float().square().sum() for g in first), (x, weight))
    assert [g.dtype for g in (*first, *second)] == [torch.bfloat16, torch.float32] * 2
    assert not second[1][~mask].any()


@pytest.mark.usefixtures("device")
def test_only_what_is_asked_for_gets_a_gradient(mask: Tensor) -> None:
    x, weight, bias = draw(5, 4), draw(3, 4, grad=True), draw(3)
    masked_linear(x, weight, mask, bias).sum().backward()
    assert weight.grad is not None
    assert x.grad is None
    assert bias.grad is None
    assert not masked_linear(x, weight.detach(), mask, bias).requires_grad


@pytest.mark.usefixtures("device")
def test_mask_written_between_forward_and_backward_is_an_error(mask: Tensor) -> None:
    y = masked_linear(draw(5, 4), draw(3, 4, grad=True), mask)
    mask[0, 0] = False
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.usefixtures("device")
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's own, on first use
@pytest.mark.parametrize("grad_mode", [True, False])
def test_forward_mode_is_refused(mask: Tensor, grad_mode: bool) -> None:
    with forward_ad.dual_level(), torch.set_grad_enabled(grad_mode):
        dual = forward_ad.make_dual(draw(5, 4), draw(5, 4))
        with pytest.raises(RuntimeError, match="jvp is not implemented"):
            masked_linear(dual, draw(3, 4), mask)


@pytest.mark.usefixtures("device")
def test_flops_are_counted_dense(mask: Tensor) -> None:
    x, weight, bias = draw(2, 5, 4, grad=True), draw(3, 4, grad=True), draw(3, grad=True)
    with FlopCounterMode(display=False) as counter:
        y = masked_linear(x, weight, mask, bias)
    assert counter.get_total_flops() == 2 * 10 * 4 * 3
    with FlopCounterMode(display=False) as counter:
        y.sum().backward()
    assert counter.get_total_flops() == 2 * (2 * 10 * 4 * 3)


X, W, M, B = torch.zeros(5, 4), torch.zeros(3, 4), torch.ones(3, 4, dtype=torch.bool), torch.zeros(3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X.half(), W, M), "x has dtype Half, but float32, float64 or bfloat16 is needed"),
        ((X.long(), W, M), "x has dtype Long, but float32"),
        ((X, W.double(), M), "weight has dtype Double, but x has Float; both need the same dtype"),
        ((X, W, M, B.double()), "bias has dtype Double, but x has Float; both need the same dtype"),
        ((X, W, M.float()), "mask has dtype Float, but bool is needed"),
        ((X, W[0], M), r"weight has shape \[4\], but two dimensions \[out, in\] are needed"),
        ((X, W, M[0]), r"mask has shape \[4\], but two dimensions \[out, in\] are needed"),
        ((X, W, M.t()), r"mask has shape \[4, 3\], but the shape of weight \[3, 4\] is needed"),
        (
            (X[:, :3], W, M),
            r"x has shape \[5, 3\], but its last dimension needs size 4, as weight has shape \[3, 4\]",
        ),
        ((X[0, 0], W, M), r"x has no dimensions, but \[..., in\] is needed"),
        (
            (X, W, M, B[:2]),
            r"bias has shape \[2\], but its last dimension needs size 3, as weight has shape \[3, 4\]",
        ),
        ((X, W, M, B[None]), r"bias has shape \[1, 3\], but one dimension \[out\] is needed"),
        ((X, W.to("meta"), M), "weight is on meta, but x is on cpu; both need the same device"),
        ((X, W, M.to("meta")), "mask is on meta, but weight is on cpu; both need the same device"),
        ((X, W, M, B.to("meta")), "bias is on meta, but x is on cpu; both need the same device"),
    ],
)
def test_errors_name_the_argument(arguments: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=f"^masked_linear: {message}") as error:
        masked_linear(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("op", "arguments", "message"),
    [
        ("grad_input", (X[:, :3], W, M.t()), r"mask has shape \[4, 3\]"),
        ("grad_input", (X, W, M), r"grad has shape \[5, 4\], but its last dimension needs size 3"),
        ("grad_input", (X[:, :3].double(), W, M), "weight has dtype Float, but grad has Double"),
        ("grad_weight", (X, X, M), r"grad has shape \[5, 4\], but its last dimension needs size 3"),
        (
            "grad_weight",
            (X[:, :3], X[:, :3], M),
            r"x has shape \[5, 3\], but its last dimension needs size 4",
        ),
        (
            "grad_weight",
            (X[:4, :3], X, M),
            r"x has shape \[5, 4\], but the leading dimensions of grad \[4, 3\]",
        ),
        ("grad_weight", (X[None, :, :3], X, M), r"x has shape \[5, 4\], but the leading dimensions of grad"),
        ("grad_weight", (X[:, :3], X, M.int()), "mask has dtype Int, but bool is needed"),
    ],
)
def test_errors_of_the_gradient_operators(op: str, arguments: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=f"^masked_linear_{op}: {message}"):
        getattr(OPS, f"masked_linear_{op}")(*arguments)


@pytest.mark.process
def test_without_the_cuda_library_a_cuda_tensor_is_an_error() -> None:
    code = (
        "import sys; sys.modules['prune._C_cuda'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'prune._C_cuda' else found(name, *rest)\n"
        "import torch, prune.ops\n"
        "for op in ('masked_linear', '_masked_linear_output', 'global_mask'):\n"
        "    assert torch._C._dispatch_has_kernel_for_dispatch_key(f'prune::{op}', 'CUDA'), op\n"
        "try: prune.ops._not_built()\n"
        "except RuntimeError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr == ""
    assert "prune was built without CUDA" in result.stdout
    assert "PRUNE_CUDA=1 pip install" in result.stdout


@pytest.mark.process
def test_missing_extension_says_how_to_build_it() -> None:
    code = "import sys; sys.modules['prune._C'] = None; import prune.ops"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the compiled extension prune._C cannot be imported")
    assert "make sweep" in last
    assert "pip install --no-build-isolation -e ." in last
