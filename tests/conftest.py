"""What all tests share."""

from collections.abc import Iterator

import pytest
import torch

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each device there is, in turn; new tensors come to lie there."""
    if request.param == "cpu":
        yield request.param
    else:
        with torch.device(request.param):
            yield request.param


@pytest.fixture(params=DEVICES)
def target(request: pytest.FixtureRequest) -> str:
    """Each device there is, in turn; new tensors lie on the CPU all the same."""
    return request.param
