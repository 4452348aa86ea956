"""However a run is started, its numbers are the same: in one launch of many or alone, again, forked or not, from anywhere."""

import pytest
from support.second_launch import Files

import sweep

pytestmark = pytest.mark.process

# scores, initial weights and dropout, each from a generator of the process; a set of strings; a relative path
PLUGIN = """
import os
import random

import numpy as np
import prune
import torch
from torch import nn
from sweep.tasks import task
from sweep.tasks.toy_classification import Toy

AT_IMPORT = np.random.rand()
os.chdir("/")


@prune.method("numpy", data=False)
def by_numpy(scoring):
    return [torch.from_numpy(np.random.rand(*w.shape)).float() for w in scoring.weights]


@prune.method("python", data=False)
def by_python(scoring):
    return [torch.tensor([random.random() + AT_IMPORT for _ in range(w.numel())]).view_as(w) for w in scoring.weights]


class Noise(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
        self.order = sorted({"a", "b", "c", "d"}, key=hash)
        self.register_buffer("at_start", torch.tensor([random.random(), np.random.rand(), self.order.index("a")]))

    def forward(self, *inputs):
        return self.network(*inputs) * (1 + 0.01 * np.random.rand() if self.training else 1)


@task("noisy")
class Noisy(Toy):
    def model(self, data):
        return Noise(super().model(data))
"""

FIELDS = {
    "tasks": {"noisy": {"epochs": 1}},
    "pruners": ["numpy", "python"],
    "compressions": [1],
    "seeds": [0, 1],
}


def hashes(work, name="grid"):
    rows = sweep.load(work.results / name).to_pylist()
    return {(row["pruner"], row["seed"]): row["weights_hash"] for row in rows}


@pytest.fixture
def plugin(tmp_path):
    return Files(tmp_path).plugin("mine", "noisy.py", PLUGIN)


def test_one_launch_of_two_seeds_and_two_launches_of_one(work, grid, plugin):
    launch = ("--grid", grid(**FIELDS), "--local", "--plugin", plugin)
    done = work(*launch)
    assert done.returncode == 0, done.stdout + done.stderr
    together = hashes(work)
    assert len(set(together.values())) == 4, "each seed and pruner draws for itself"
    # in another order, under another name, from processes forked anew
    for seeds in ("1", "0"):
        done = work.process(*launch, "--name", "apart", "--seeds", seeds)
        assert done.returncode == 0, done.stdout + done.stderr
    assert hashes(work, "apart") == together
    # a new process that was not forked, with the hash seed that launches give theirs
    work.environment["PYTHONHASHSEED"] = "0"
    done = work.process("run", work.run_ids()[1], "--name", "grid", "--again", module="sweep.cli")
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashes(work) == together
