"""What a process is in, and what others did in it, changes no number: random generators, directories, forks."""

import os
import random

import numpy as np
import pytest
import torch
from support.workplace import science

import sweep
from sweep.run.device import random_state, set_random_state
from sweep.run.seeds import seed_globals

pytestmark = pytest.mark.process

DRAWS = """
    import random

    import numpy as np
    import torch

    import prune
    from sweep.tasks import task
    from sweep.tasks.toy_classification import Toy

    SHIFT = float(np.random.rand())

    @prune.method("of_numpy", data=False)
    def of_numpy(scoring):
        return [torch.from_numpy(np.random.rand(*w.shape)).float() + SHIFT for w in scoring.weights]

    @prune.method("of_python", data=False)
    def of_python(scoring):
        return [torch.tensor([[random.random() for _ in row] for row in w]) for w in scoring.weights]

    @task("noisy")
    class Noisy(Toy):
        def training_loss(self, model, inputs, target):
            noise = np.random.rand() + random.random() + float(torch.rand(()))
            return super().training_loss(model, inputs, target) * noise
"""


@pytest.fixture
def drawn(work, grid, tmp_path):
    """A sweep whose pruners and training draw from all global generators, over three seeds."""
    plugin = tmp_path / "draws.py"
    plugin.write_text("\n".join(line[4:] for line in DRAWS.splitlines()))
    fields = {"tasks": {"noisy": {"epochs": 1}}, "pruners": ["of_numpy", "of_python"], "compressions": [1]}
    done = work("--grid", grid(**fields, seeds="0-2"), "--local", "--plugin", plugin)
    assert done.returncode == 0, done.stdout
    return work, plugin, fields


def masks(work, name="grid"):
    paths = work.paths(name)
    return {run_id: torch.load(paths.run(run_id).mask)["fc"] for run_id in work.run_ids(name)}


def test_seeds_draw_differently_and_repeat_what_they_drew(drawn, grid):
    """Of 25 of 256 weights, two random masks share 2.4 on average; all 25 if the generators were the same."""
    work, plugin, fields = drawn
    rows = {row["run_id"]: row for row in sweep.load(work.results / "grid").to_pylist()}
    found = masks(work)
    for pruner in ("of_numpy", "of_python"):
        several = [mask for run_id, mask in found.items() if pruner in run_id]
        shared = [int((a & b).sum()) for i, a in enumerate(several) for b in several[:i]]
        assert len(shared) == 3
        assert max(shared) < 13, shared
    # again, in a fresh process; and each seed in a launch of its own, under another name
    first = next(iter(rows))
    assert work.process("run", first, "--again", module="sweep.cli").returncode == 0
    for seed in range(3):
        path = grid(**fields, seeds=[seed])
        assert work("--grid", path, "--local", "--plugin", plugin, "--name", "apart").returncode == 0
    for name in ("grid", "apart"):
        for row in sweep.load(work.results / name).to_pylist():
            assert science([row]) == science([rows[row["run_id"]]])
            assert torch.equal(masks(work, name)[row["run_id"]], found[row["run_id"]])


def test_the_state_of_all_generators_is_in_a_checkpoint(tmp_path):
    def draw():
        return torch.rand(2).tolist(), np.random.rand(2).tolist(), np.random.randn(), random.random()

    seed_globals(1, "train")
    np.random.randn()  # of the pair that is drawn the second is kept
    torch.save(random_state("cpu"), tmp_path / "state.pt")
    first = draw()
    assert draw() != first
    set_random_state("cpu", torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw() == first
    seed_globals(2, "train")
    assert draw() != first


MOVES = """
import locale
import os
import signal

import prune

os.chdir("/")
signal.signal(signal.SIGTERM, signal.SIG_IGN)


@prune.method("moved", data=False)
def moved(scoring):
    return [weight.detach() for weight in scoring.weights]
"""


def test_a_plugin_that_moves_the_process_when_it_is_imported(work, grid, tmp_path, monkeypatch):
    """Results go where they were meant to, and the launcher still hears signals."""
    (tmp_path / "moves.py").write_text(MOVES)
    path = grid(pruners=["moved"], compressions=[1], seeds=[0])
    options = ("--local", "--plugin", "moves.py", "--results", "here")
    done = work.process("--grid", path, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(sweep.load(tmp_path / "here")) == 1
    assert not os.path.exists("/here")


FLAGGED = """
from pathlib import Path

import prune

FLAG = Path({!r})


@prune.method("mine", data=False)
def mine(scoring):
    if FLAG.exists():
        raise ValueError("no")
    return [weight.detach() for weight in scoring.weights]
"""


def test_a_result_stays_until_its_successor_is_there(work, grid, tmp_path):
    flag, plugin = tmp_path / "flag", tmp_path / "mine.py"
    plugin.write_text(FLAGGED.format(str(flag)))
    command = ("--grid", grid(pruners=["mine"], compressions=[1], seeds=[0]), "--local", "--plugin", plugin)
    assert work(*command).returncode == 0
    (before,) = sweep.load(work.results / "grid").to_pylist()
    flag.touch()
    assert work("run", before["run_id"], "--again", module="sweep.cli").returncode == 1
    done = work(*command, "--retry", "all")
    assert done.returncode == 1, "it was asked for, and failed"
    assert "the result is of attempt 1; attempt 3 failed: mine.py, line 12: ValueError: no" in done.stdout
    flag.unlink()
    plugin.rename(tmp_path / "elsewhere.py")
    assert work("run", before["run_id"], "--again", module="sweep.cli").returncode == 1
    assert sweep.load(work.results / "grid").to_pylist() == [before]
    assert set(work.states().values()) == {"done"}
    (tmp_path / "elsewhere.py").rename(plugin)
    assert work(*command, "--retry", "all").returncode == 0
    (after,) = sweep.load(work.results / "grid").to_pylist()
    assert (science([after]), after["attempt"]) == (science([before]), 5)
    assert (work.paths().run(before["run_id"]).attempts / "0005.superseded.result.parquet").exists()
