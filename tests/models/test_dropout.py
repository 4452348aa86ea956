"""Dropout from sixteen random bits."""

import math

import pytest
import torch

from models.dropout import Dropout


@pytest.mark.parametrize("device", ["cpu"], indirect=True)  # on a GPU it is PyTorch's
def test_elements_are_zero_or_scaled_so_that_the_expectation_stays() -> None:
    n = 1_000_003  # not a multiple of the four elements that share a random word
    y = Dropout(0.1)(torch.full((n,), 3.0))
    dropped = round(0.1 * 2**16) / 2**16
    assert set(y.unique().tolist()) == {0.0, torch.tensor(3.0 / (1 - dropped)).item()}
    deviation = math.sqrt(dropped * (1 - dropped) / n)
    assert (y == 0).double().mean().item() == pytest.approx(dropped, abs=4 * deviation)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_elements_are_independent(p: float) -> None:
    n = 400_000
    zero = (Dropout(p)(torch.ones(n, 4)) == 0).double()
    # the four elements of a random word, and the last of one with the first of the next
    pairs = [(zero[:, i], zero[:, j]) for i in range(4) for j in range(i)] + [(zero[:-1, 3], zero[1:, 0])]
    for a, b in pairs:
        assert a.mean().item() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))
        assert (a * b).mean().item() == pytest.approx(p * p, abs=4 * math.sqrt(p * p * (1 - p * p) / n))


def test_the_gradient_is_dropped_and_scaled_alike() -> None:
    x = torch.randn(7, 5, dtype=torch.float64).requires_grad_()
    y = Dropout(0.4)(x)
    grad = torch.randn_like(y)
    y.backward(grad)
    torch.testing.assert_close(x.grad, grad * (y / x).detach())


@pytest.mark.parametrize("device", ["cpu"], indirect=True)  # on a GPU it is PyTorch's
def test_a_dropped_element_has_no_influence() -> None:
    def outcome(junk: float) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(1)
        x = torch.ones(1000).masked_fill(dropped, junk).requires_grad_()
        y = Dropout(0.4)(x)
        y.sum().backward()
        return y, x.grad

    dropped = torch.zeros(1000, dtype=torch.bool)
    dropped = outcome(1.0)[0] == 0
    assert 300 < dropped.sum() < 500
    for got, want in zip(outcome(torch.nan), outcome(1.0), strict=True):
        assert torch.equal(got, want)


def test_the_global_generator_decides() -> None:
    x, dropout = torch.ones(100), Dropout(0.5)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(0)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def test_it_is_the_identity_where_it_should_be() -> None:
    x, dropout = torch.randn(100), Dropout(0.5)
    assert Dropout(0.0)(x) is x
    assert dropout.eval()(x) is x
    with dropout.train().synflow_form():
        assert dropout(x) is x
    assert not torch.equal(dropout(x), x)


def test_dtype_and_shape_stay() -> None:
    for shape in ((), (0, 3), (2, 3, 5)):
        y = Dropout(0.5)(torch.ones(shape, dtype=torch.bfloat16))
        assert (y.shape, y.dtype) == (shape, torch.bfloat16)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=f"dropout is {p}, but it needs to be from 0 to below 1"):
        Dropout(p)
