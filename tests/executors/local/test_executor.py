"""How the launcher records the end of a run whose process could not."""

import signal
from types import SimpleNamespace

import pytest

from sweep.core.errors import Cause
from sweep.executors.local import oom
from sweep.executors.local.executor import LocalExecutor, _Slot
from sweep.store.attempts import Attempt, latest
from sweep.store.layout import SweepPaths
from sweep.terminal.progress import PlainDisplay


@pytest.mark.parametrize(
    ("status", "kills", "outcome", "error", "cause"),
    [
        (-signal.SIGKILL, 1, "failed", "out of memory: the system killed it", Cause.OUT_OF_MEMORY),
        (-signal.SIGKILL, 0, "interrupted", "killed by SIGKILL (out of memory?)", None),
        (-signal.SIGTERM, 0, "interrupted", "killed by SIGTERM", Cause.STOP_SIGNAL),
        (-signal.SIGUSR2, 0, "interrupted", "killed by SIGUSR2", Cause.STOP_SIGNAL),
        (-signal.SIGSEGV, 1, "failed", "killed by SIGSEGV", None),
        (9, 1, "failed", "exit status 9, see ", None),
    ],
)
def test_the_cause_of_a_death(tmp_path, monkeypatch, status, kills, outcome, error, cause):
    """`kills`: how many processes of the cgroup the system has killed since the launcher started."""
    monkeypatch.setattr(oom, "_oom_kills", lambda: 3)
    executor = LocalExecutor(SweepPaths(tmp_path), 1, {}, 1, PlainDisplay(1))
    run = executor.sweep.run("a")
    claimed = Attempt.claim(run)
    monkeypatch.setattr(oom, "_oom_kills", lambda: 3 + kills)
    process = SimpleNamespace(pid=latest(run).content["pid"])
    executor._record_silent_death(_Slot(process, "a"), status)
    claim = latest(run)
    assert (claim.outcome, claim.cause, claim.content["exit_status"]) == (outcome, cause, status)
    assert claim.content["error"].startswith(error)
    claimed.end("done")
