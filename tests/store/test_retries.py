"""What a launch tries again by itself, worked by hand on attempts that ended in every way."""

import json
import os

import pytest
import torch

from sweep.config.run_spec import RunSpec
from sweep.core.errors import Cause, SweepError
from sweep.executors.slurm.commands import Limits
from sweep.executors.slurm.executor import JobPlan, SlurmExecutor
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.selection import choose
from sweep.run.device import explain_out_of_memory
from sweep.store.attempts import claims
from sweep.store.layout import SweepPaths
from sweep.store.retries import RetryHistory, summarise_retries
from sweep.store.status import RunStatus, examine

MEMORY = "out of memory; raise memory in the profile (job 7_1)"
NODE = "node failure (job 7_1)"
TIME = "time-out: its job reached the time limit (job 7_1)"
ERROR = "ValueError: no scores today"


@pytest.fixture
def sweep(tmp_path):
    return SweepPaths(tmp_path / "sweep")


def spec(seed=0):
    return RunSpec.make("toy", "random", 1, seed, {}).to_record()


def ended(sweep, run_id, *errors, node="n1"):
    """Attempts that ended so, the first with number 1; None is one that has no end and whose machine is gone."""
    run = sweep.run(run_id)
    run.attempts.mkdir(parents=True)
    for number, error in enumerate(errors, start=1):
        content = {
            "attempt": number,
            "host": "elsewhere",
            "slurm_node": node,
            "boot_id": "b",
            "pid_namespace": "p",
            "pid": 1,
            "pid_start": 1,
        }
        if error is not None:
            outcome = "failed" if error in (MEMORY, ERROR) else "interrupted"
            content |= {"outcome": outcome, "error": error, "ended_at": "2026-01-01T00:00:00+00:00"}
        run.attempt(number).write_text(json.dumps(content))


def test_out_of_gpu_memory_is_a_cause_of_its_own():
    with pytest.raises(SweepError) as caught, explain_out_of_memory(batch_size=64):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of"
        )
    assert str(caught.value) == (
        "out of GPU memory (tried to allocate 2.50 GiB): other runs may hold it; "
        "launch with fewer --slots, a smaller --pack or a smaller batch_size (now 64)"
    )
    assert caught.value.cause is Cause.OUT_OF_GPU_MEMORY
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory(batch_size=64):
        raise RuntimeError("shapes do not fit")


def test_three_retries_of_one_cause_and_then_no_more(sweep):
    for number, errors in enumerate([[TIME], [TIME] * 3, [TIME] * 4, [TIME] * 3 + [NODE], [TIME, ERROR], []]):
        ended(sweep, f"run{number}", *errors)
    histories = [RetryHistory.of(sweep.run(f"run{number}")) for number in range(6)]
    assert [each.should_retry(3) for each in histories] == [True, True, False, True, False, False]
    assert not histories[0].should_retry(0)


def test_memory_doubles_each_time_and_failed_nodes_are_left_out(sweep):
    ended(sweep, "a", MEMORY, NODE, MEMORY, node="n2")
    assert RetryHistory.of(sweep.run("a")).profile_changes(1000) == {"memory": 4000, "exclude": ["n2"]}
    assert RetryHistory.of(sweep.run("a")).profile_changes(None) == {"exclude": ["n2"]}
    ended(sweep, "b", TIME)
    assert RetryHistory.of(sweep.run("b")).profile_changes(1000) == {}


def test_what_is_told_in_the_row(sweep):
    ended(sweep, "a", MEMORY, "stopped by SIGTERM", NODE)
    retries, history = summarise_retries(claims(sweep.run("a")))
    assert retries == 2
    assert json.loads(history) == [
        {"attempt": 1, "outcome": "failed", "error": MEMORY},
        {"attempt": 2, "outcome": "interrupted", "error": "stopped by SIGTERM"},
        {"attempt": 3, "outcome": "interrupted", "error": NODE},
    ]


@pytest.mark.parametrize(
    ("errors", "retried", "memory", "chosen", "given_up"),
    [
        ([], {"pending"}, None, True, False),
        ([MEMORY], {"pending", "interrupted"}, 500, True, False),
        ([MEMORY], {"pending", "interrupted"}, None, False, False),  # nobody knows what more would be
        ([MEMORY] * 4, {"pending", "interrupted"}, 500, False, False),
        ([MEMORY] * 4, {"pending", "interrupted", "failed"}, 500, True, False),
        ([ERROR], {"pending", "interrupted"}, 500, False, False),
        ([ERROR], {"pending", "interrupted", "failed"}, 500, True, False),
        ([TIME], {"pending", "interrupted"}, None, True, False),
        ([TIME] * 4, {"pending", "interrupted"}, None, False, True),
        ([NODE], set(), None, True, False),  # while a launch waits
        (["cancelled (job 7_1)"], set(), None, False, False),
        (["cancelled (job 7_1)"], {"pending", "interrupted"}, None, True, False),
    ],
)
def test_the_choice(sweep, errors, retried, memory, chosen, given_up):
    one = spec()
    ended(sweep, one.id, *errors)
    status = examine(sweep.run(one.id), one, None)
    choice = choose(sweep, [status], retried, 3, lambda _: memory)
    assert [each.run_id for each in choice.todo] == [one.id] * chosen
    assert [each.run_id for each in choice.given_up] == [one.id] * given_up


def test_an_end_that_only_slurm_knows_is_written_down(sweep):
    one = spec()
    ended(sweep, one.id, None)
    # in the far past: silent for longer than any attempt that lives
    os.utime(sweep.run(one.id).attempt(1), (0, 0))
    status = RunStatus(one.id, one, "interrupted", NODE, attempts=1, cause=Cause.NODE_FAILURE)
    choice = choose(sweep, [status], {"interrupted"}, 3, lambda _: None)
    (claim,) = claims(sweep.run(one.id))
    assert (claim.outcome, claim.content["error"], claim.cause) == ("interrupted", NODE, Cause.NODE_FAILURE)
    assert choice.changes == {one.id: {"exclude": ["n1"]}}


def test_jobs_of_equal_needs_share_an_array(sweep):
    specs = [spec(seed) for seed in range(4)]
    needs = {
        specs[1].id: {"memory": 2000, "exclude": ["n2"]},
        specs[3].id: {"memory": 2000, "exclude": ["n2"]},
    }
    jobs = JobPlan(Profile(memory=1000, exclude=["n1"]), {}, needs)
    plain, more = SlurmExecutor(sweep, 1, jobs, sweep.code / "x").scripts(specs, Limits())
    assert "#SBATCH --mem=1000MB" in plain
    assert "#SBATCH --exclude=n1\n" in plain
    assert "#SBATCH --mem=2000MB" in more
    assert "#SBATCH --exclude=n1,n2\n" in more
    assert all("#SBATCH --array=0-1" in script for script in (plain, more))
