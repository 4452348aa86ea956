"""Runs on a GPU, as far as a machine without one can tell; the rest is in tests/cuda."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from sweep.config.run_spec import RunSpec
from sweep.core.errors import Cause, OutOfMemoryError, UsageError
from sweep.run import device
from sweep.store.submissions import Submission, register_runs
from sweep.tasks.data.dataset import Dataset
from sweep.tasks.data.token_bags import BagSplit

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")

# what is imported before runs are forked, with every way to CUDA closed
IMPORTS = """
import torch

def closed(*arguments, **options):
    raise SystemExit("CUDA was asked for while importing")

for name in ("is_available", "device_count", "current_device", "get_device_properties", "_lazy_init"):
    setattr(torch.cuda, name, closed)
import sweep.executors.local.forkserver_main
"""


@pytest.fixture
def bags():
    return BagSplit(torch.tensor([4, 5, 6], dtype=torch.int32), torch.tensor([0, 2, 3]), torch.tensor([0, 1]))


def test_a_torch_without_cuda_and_a_machine_without_a_gpu_are_told_apart(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(UsageError, match=r"device = 'cuda': torch \S+ is built without CUDA; install"):
        device.use("cuda")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(
        UsageError, match=r"no GPU here that torch \S+ can use \(CUDA_VISIBLE_DEVICES is '7'\); "
    ):
        device.use("cuda")
    assert not torch.are_deterministic_algorithms_enabled()
    assert device.use("cpu") == torch.device("cpu")


@without_gpu
def test_a_launch_is_refused_before_any_work(work, grid):
    done = work("--grid", grid(), "--local", "--set", "device=cuda")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: device = 'cuda': ")
    assert done.stderr.count("\n") == 1
    assert not work.results.exists()


@pytest.mark.process
@without_gpu
def test_a_run_elsewhere_fails_with_the_mend_before_any_work(work):
    run = RunSpec.make("toy", "random", 1, 0, {"device": "cuda"})
    register_runs(work.paths("grid"), "", [run.to_record()])
    Submission([run.id], {}).save(work.paths("grid"))
    done = work.process(run.id, "--sweep", work.paths("grid").directory, module="sweep.run")
    assert done.returncode == 1
    assert "error: device = 'cuda': " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert sorted(path.name for path in work.paths("grid").run(run.id).directory.iterdir()) == ["attempts"]


@pytest.mark.process
def test_nothing_that_is_imported_before_a_fork_asks_for_cuda():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_all_rows_move_and_the_cpu_moves_nothing(bags):
    data = Dataset(bags, bags, "hash", True)
    assert data.to(torch.device("cpu")) is data
    moved = data.to(torch.device("meta"))
    assert (moved.train.ids.is_meta, moved.test.labels.is_meta, moved.validation) == (True, True, None)  # type: ignore[attr-defined]
    assert Dataset(bags, bags, "hash", True, validation=bags).to(torch.device("meta")).validation.ids.is_meta


def test_rows_that_cannot_move_are_named(bags):
    class Rows:
        pass

    with pytest.raises(
        UsageError, match=r"rows that are a Rows cannot be on a GPU: give it a method to\(device\)"
    ):
        Dataset(bags, Rows(), "hash", True).to(torch.device("meta"))


def test_a_checkpoint_on_the_cpu_holds_no_state_of_a_gpu():
    torch.manual_seed(3)
    state = device.random_state("cpu")
    drawn = torch.rand(5)
    assert list(state) == ["rng", "numpy_rng", "python_rng"]
    device.set_random_state("cpu", state)
    assert torch.equal(torch.rand(5), drawn)


@pytest.mark.parametrize(
    ("allocate", "detail"),
    [
        (lambda: torch.empty(1 << 58), r" \(tried to allocate 1152921504606846976 bytes\)"),
        (lambda: bytearray(1 << 60), ""),
        (lambda: np.empty(1 << 57), ""),
    ],
)
def test_memory_that_the_process_may_not_have_is_named_as_such(allocate, detail):
    with (
        pytest.raises(
            OutOfMemoryError, match=rf"^out of memory{detail}: raise .* batch_size \(now 64\)$"
        ) as caught,
        device.explain_out_of_memory(64),
    ):
        allocate()
    assert caught.value.cause is Cause.OUT_OF_MEMORY


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), device.explain_out_of_memory(64):
        raise RuntimeError("shapes")
