"""Runs that fail say why, and leave the others alone."""

import json
import re
import textwrap

import pytest
from support.command import write_grid
from support.faults import PLUGIN, line_of
from support.workplace import Workplace

import sweep

pytestmark = pytest.mark.process


def launched_with_faults(directory, token_cache):
    """One launch of a good run among bad ones. Launch command, finished process."""
    (directory / "mine.py").write_text(textwrap.dedent(PLUGIN))
    grid = write_grid(
        directory,
        pruners={
            "random": {},
            "magnitude": {"lr": 1e30},
            "snip": {"lr": 1e30, "batch_size": 4000},
            "wrong_shape": {},
            "not_a_number": {},
            "crash": {},
            "leave": {},
        },
    )
    work = Workplace(directory / "results", {"SWEEP_CACHE": str(token_cache)})
    command = ("--grid", grid, "--local", "--plugin", directory / "mine.py")
    return work, command, work.process(*command)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, token_cache):
    return launched_with_faults(tmp_path_factory.mktemp("faulty"), token_cache)


FAULTS = {
    "magnitude": r"the loss is not finite in epoch 1 before step 50; lower lr \(now 1e\+30\)",
    # a single step: the loss before it is fine, and the network after it is not
    "snip": r"the test loss is (nan|inf) after epoch 1; lower lr \(now 1e\+30\)",
    "wrong_shape": r"pruning method 'wrong_shape' returned scores of shapes \[\(\)\]: return one per weight, \[\(4, 64\)\]",
    "not_a_number": r"pruning method 'not_a_number' gives NaN in layer 'fc': check weights, data and loss",
    "crash": rf"mine\.py, line {line_of('astray')}: RuntimeError: scores went astray",
    "leave": rf"mine\.py, line {line_of('nothing to')}: SystemExit: nothing to score",
}


def test_runs_that_fail_say_why_and_leave_the_others_alone(faulty):
    work, _, done = faulty
    assert (done.returncode, done.stderr) == (1, "")
    lines = map(json.loads, work.sweep("status", "grid", "--json").stdout.splitlines())
    statuses = {line["run_id"].split("-")[1]: line for line in lines}
    assert statuses.pop("random")["state"] == "done"
    for pruner, message in FAULTS.items():
        status = statuses[pruner]
        assert (status["state"], status["exit_status"]) == ("failed", 1)
        assert status["cause"] == ("not_finite" if pruner in ("magnitude", "snip") else None)
        assert re.fullmatch(message, status["detail"]), status["detail"]
        assert re.search(rf"^\S+ +failed toy-{pruner}-\S+  {message}  \[\d/7\]$", done.stdout, re.M)
    assert "7 runs: 1 done, 6 failed" in done.stdout
    assert [row["pruner"] for row in sweep.load(work.results / "grid").to_pylist()] == ["random"]


def test_the_logs_of_failed_runs_have_what_the_status_leaves_out(faulty):
    work, _, _ = faulty
    shown = work.sweep("logs", "grid", "--failed")
    assert shown.returncode == 0
    logs = {re.search(r"/runs/toy-(\w+)-", part)[1]: part for part in shown.stdout.split("==> ")[1:]}
    assert sorted(logs) == sorted(FAULTS)
    # what the user can fix is one line; what surprised the project has its traceback, down to the plug-in's line
    assert [name for name, text in logs.items() if "Traceback" in text] == ["crash", "leave"]
    assert f'mine.py", line {line_of("astray")}, in crash' in logs["crash"]
    assert re.search(rf"^error: {FAULTS['wrong_shape']}$", logs["wrong_shape"], re.M)


def test_a_retry_touches_nothing_but_the_failed(faulty):
    work, command, _ = faulty
    ids = {name.split("-")[1]: name for name in work.run_ids()}
    kept = work.paths().run(ids["random"]).result.stat()
    again = work(*command, "--retry", "failed", "--only", "pruner=magnitude")
    assert again.returncode == 1
    assert re.search(FAULTS["magnitude"], again.stdout)
    numbers = {
        name: len(list(work.paths().run(run_id).attempts.glob("*.json"))) for name, run_id in ids.items()
    }
    assert numbers == dict.fromkeys(ids, 1) | {"magnitude": 2}
    assert work.paths().run(ids["random"]).result.stat() == kept


def test_without_retry_failed_runs_stay_as_they_are(faulty, command):
    work, arguments, _ = faulty
    code, out, err = command("launch", "--results", work.results, *arguments)
    assert (code, err, "start" in out) == (1, "", False)
    assert "7 runs: 1 done, 6 failed" in out


ODD = """
    from types import SimpleNamespace

    import torch
    from torch import nn

    from sweep.tasks import task
    from sweep.tasks.toy_classification import Toy

    class Odd(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *inputs):
            logits = self.inner(*inputs)
            if logits.dtype != torch.float32:
                raise TypeError("float32 only")
            return SimpleNamespace(logits=logits)

    @task("odd")
    class OddTask(Toy):
        def model(self, data):
            return Odd(super().model(data))

        def loss(self, output, target):
            return nn.functional.cross_entropy(output.logits, target)

        def evaluate(self, model, split, batch_size):
            return {"accuracy": 50.0, "loss": 1.0}

        def samples(self, model, split):
            return [{"source": SimpleNamespace()}]

        def training_batches(self, split, batch_size, order):
            return Batches(split.batches(batch_size, order))

    class Batches(list):
        @property
        def padding_waste(self):
            raise OSError("no padding")
"""


def test_what_is_measured_next_to_a_result_does_not_end_the_run(work, tmp_path):
    """A model not to be measured in float64, whose output is no tensor, and samples that no file can hold: dense and pruned."""
    (tmp_path / "odd.py").write_text(textwrap.dedent(ODD))
    grid = write_grid(tmp_path, tasks=["odd"], compressions=[0, 1], pruners=["random"])
    done = work("--grid", grid, "--local", "--plugin", tmp_path / "odd.py")
    assert done.returncode == 0, done.stdout
    for row in sweep.load(work.results / "grid").to_pylist():
        assert (row["effective_density"], row["dead_units"], row["mask_effective"]) == (None, None, None)
        live, mask, samples, padding = re.split(r"; (?=whether|no samples|padding)", row["notes"])
        assert live == "live paths are not known: in float64 the model raises TypeError: float32 only"
        assert mask.startswith("whether the mask is effective is not known: RuntimeError: ")
        assert samples == "no samples: TypeError: Object of type SimpleNamespace is not JSON serializable"
        assert padding == "padding_waste is not known: OSError: no padding"
        assert row["padding_waste"] is None
        assert row["kept"] == row["prunable"] // (10 if row["compression"] else 1)
    assert "with a note: live paths are not known" in (work.results / "grid/report/report.md").read_text()
