"""A run that a job is to execute again, and whose earlier result is still there, when the job is warned and requeued."""

import json
from unittest import mock

import pytest
from support.command import SharedForkServer, parent_of_runs, state_of_process_kept

import sweep
from sweep.core.errors import ExitCode
from sweep.executors.local import executor
from sweep.executors.slurm.manifest import Manifest
from sweep.executors.slurm.on_node import worker
from sweep.store.attempts import latest

pytestmark = pytest.mark.process

HERE = {
    "host": "h",
    "boot_id": "b",
    "pid_namespace": "n",
    "pid": 1,
    "pid_start": 1,
    "slurm_job": "7",
    "slurm_restart": 0,
}


@pytest.fixture
def manifest(copied, monkeypatch):
    """Of job 7, which was stopped while it executed the first of two complete runs again, and has not begun the other."""
    paths, (first, second) = copied
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    end = {"outcome": "interrupted", "error": "stopped by SIGTERM", "cause": "stop_signal", "exit_status": 3}
    paths.run(first).attempt(2).write_text(json.dumps(HERE | end))
    array = paths.array(1, 1)
    Manifest("token", 1, [[first, second]], code="/code", again=True).save(array)
    return array.manifest


def test_it_is_requeued_although_a_result_is_there(manifest):
    with (
        mock.patch.object(worker, "_execute_until_warned", return_value="SIGTERM"),
        mock.patch.object(worker, "requeue", return_value="requeued") as requeue,
        pytest.raises(SystemExit) as ended,
    ):
        worker.run_task(str(manifest), 0)
    assert ended.value.code == ExitCode.INCOMPLETE
    requeue.assert_called_once()


def test_it_is_finished_by_the_requeued_job(manifest, copied):
    paths, (first, second) = copied
    for _ in range(2):  # what is finished is left alone when the job starts once more
        with (
            mock.patch.object(executor, "ForkServer", SharedForkServer),
            parent_of_runs(),
            state_of_process_kept(),
        ):
            worker.run_task(str(manifest), 0)
        rows = {row["run_id"]: row["attempt"] for row in sweep.load(paths.directory).to_pylist()}
        assert rows == {first: 3, second: 2}
        assert latest(paths.run(first)).outcome == "done"
