"""Runs forked from the fork server are separate processes, and children of the process that requested them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import wait_for

from sweep.core.errors import SweepError
from sweep.executors.local.forkserver import ForkServer
from sweep.store.attempts import latest

pytestmark = pytest.mark.process

# the test process itself must not become a reaper of orphans
REQUESTS = """
import json, os, sys
from pathlib import Path
from sweep.executors.local.forkserver import ForkServer

server = ForkServer(threads=3)
seen = []
for request in range(2):
    process = server.start(["toy-1", "--sweep", sys.argv[1]], Path(sys.argv[2]), {"REQUEST": str(request)})
    stat = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    seen.append({"parent": int(stat[1]) == os.getpid(), "session": int(stat[3]) == process.pid, "exit": process.wait()})
os.kill(server._process.pid, 9)
server._process.wait()
seen.append({"exit": server.start(["--help"], Path(sys.argv[2])).wait()})
server.close()
print(json.dumps(seen))
"""


# as on a node whose file system hangs: the server process is stopped, and nobody continues it
STOPPED = """
import os, signal, sys, time
from pathlib import Path
from sweep.core.errors import SweepError
from sweep.executors.local import forkserver

def heed():
    raise KeyboardInterrupt

log = Path(sys.argv[1])
forkserver._ANSWER_SECONDS = 1.0
for heeded, wanted in ((heed, KeyboardInterrupt), (lambda: None, SweepError)):
    server = forkserver.ForkServer(threads=1)
    forkserver._ANSWER_SECONDS = 300.0
    assert server.start(["--help"], log).wait() == 0
    forkserver._ANSWER_SECONDS = 1.0
    pid = server._process.pid
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    try:
        server.start(["--help"], log, heed=heeded)
    except wanted as error:
        print(type(error).__name__, error)
    assert time.monotonic() - begin < 30
    assert not os.path.exists(f"/proc/{pid}"), "it would start the run later"
    server.close()
server = forkserver.ForkServer(threads=1)
forkserver._ANSWER_SECONDS = 300.0
server.start(["--help"], log).wait()
os.kill(server._process.pid, signal.SIGSTOP)
server.close()
print("closed")
"""


def test_a_server_process_that_does_not_answer(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(tmp_path / "log.txt")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    interrupted, given_up, closed = done.stdout.splitlines()
    assert (interrupted.strip(), closed) == ("KeyboardInterrupt", "closed")
    assert given_up.startswith(
        "SweepError the process that runs are forked from has not answered for 1 s; launch again"
    )


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")


def test_a_run_is_a_child_in_a_new_session_and_appends_to_its_log(tmp_path):
    log = tmp_path / "a log.txt"
    log.write_text("before\n")
    done = subprocess.run(
        [sys.executable, "-c", REQUESTS, str(tmp_path / "none"), str(log)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    # no such sweep is a mistake of usage: 2; and a killed server process is replaced
    assert json.loads(done.stdout) == [{"parent": True, "session": True, "exit": 2}] * 2 + [{"exit": 0}]
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert [line[:6] for line in lines[1:3]] == ["error:", "error:"]
    assert lines[3].startswith("usage: python -m sweep.run")


def test_an_environment_in_which_nothing_can_be_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "pooch.py").write_text("raise ImportError('pooch is broken here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SweepError, match=r"cannot start: ImportError: pooch is broken here$"):
        ForkServer(1).start(["--help"], tmp_path / "log")


def test_runs_outlive_the_process_they_were_forked_from(work, grid):
    launcher = work.start("--grid", grid(tasks={"toy": {"epochs": 100_000}}), "--local", "--slots", 1)
    killed = []

    def running():
        run_ids = work.run_ids() if work.paths().directory.exists() else []
        claims = filter(None, (latest(work.paths().run(run_id)) for run_id in run_ids))
        return [claim.content["pid"] for claim in claims if claim.content["pid"] not in killed]

    try:
        for _ in range(2):
            (run,) = wait_for("a run", running)
            others = {pid: command_line(pid) for pid in children(launcher.pid) if pid != run}
            (server,) = [
                pid for pid, words in others.items() if "sweep.executors.local.forkserver_main" in words
            ]
            os.kill(server, signal.SIGKILL)
            os.kill(run, signal.SIGKILL)
            killed.append(run)
        out, _ = launcher.communicate(timeout=180)
    finally:
        launcher.terminate()
    assert launcher.returncode == 3, out
    assert set(work.states().values()) == {"interrupted"}
    assert "killed by SIGKILL" in work.sweep("status", "grid").stdout
