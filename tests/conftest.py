"""What all tests share."""

from collections.abc import Iterator

import pytest
import torch
import yaml
from support.workplace import Workplace

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


@pytest.fixture(scope="session")
def token_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def work(tmp_path, token_cache):
    return Workplace(tmp_path / "results", {"SWEEP_CACHE": str(token_cache)})


@pytest.fixture
def grid(tmp_path):
    """Write a grid of toy runs, `grid.yaml`, and return its path."""

    def write(**changes):
        fields = {
            "tasks": {"toy": {"epochs": 1}},
            "pruners": ["random", "grasp"],
            "compressions": [1],
            "seeds": [0],
        }
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump(fields | changes, sort_keys=False))
        return path

    return write
