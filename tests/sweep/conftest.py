"""Fixtures for commands in a results folder of the test's own."""

import pytest
import yaml
from workplace import Workplace


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
