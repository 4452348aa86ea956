"""Waiting for a sweep's lock: who has it is said, and nobody waits for ever."""

import fcntl
import json
import os
import subprocess
import sys
import time

import pytest
from support.command import LAUNCH, write_grid

from sweep.core.errors import ExitCode
from sweep.store import lock as locks
from sweep.store.lock import Locked, locked

HOLD = """
import sys, time
from pathlib import Path
from sweep.store.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held(tmp_path):
    """The directory of a sweep whose lock another process holds, and that process."""
    directory = tmp_path / "results" / "grid"
    process = subprocess.Popen([sys.executable, "-c", HOLD, directory], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield directory, process
    process.kill()
    process.communicate()


@pytest.mark.process
def test_who_holds_it_is_said_and_waiting_ends(held, monkeypatch):
    directory, process = held
    monkeypatch.setattr(locks, "_QUIET", 0.2)
    said = []
    begin = time.monotonic()
    with (
        pytest.raises(
            Locked,
            match=rf"process {process.pid} on \S+ \(-c .*, since 20\S+\) holds .*/.lock after 1 s; end it",
        ),
        locked(directory, 1.0, said.append),
    ):
        raise AssertionError("two hold it")
    assert 1 <= time.monotonic() - begin < 30
    assert [line[:20] for line in said] == ["waiting for process "]
    assert str(process.pid) in said[0]
    with pytest.raises(Locked, match=r"holds .*/.lock; end it"), locked(directory, 0):
        pass
    assert len(said) == 1


@pytest.mark.process
def test_a_launch_that_does_not_wait(held, command, tmp_path):
    write_grid(tmp_path)
    code, _, err = command(*LAUNCH, "--no-wait-lock")
    assert code == ExitCode.INCOMPLETE
    assert err.startswith("error: process ")
    assert err.count("\n") == 1


@pytest.mark.process
def test_it_is_had_as_soon_as_its_holder_dies(held):
    directory, process = held
    process.kill()
    process.wait()
    with locked(directory, 30.0):
        assert json.loads((directory / ".lock").read_text())["pid"] == os.getpid()


def test_nobody_else_may_open_it(tmp_path):
    (tmp_path / ".lock").touch(mode=0o644)
    with locked(tmp_path):
        assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "null", "{}", "\x00", '{"pid": 1, "host": null}'])
def test_a_holder_that_did_not_sign(tmp_path, content):
    path = tmp_path / ".lock"
    path.write_text(content)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Locked, match=r"^another process holds"), locked(tmp_path, 0):
            pass
