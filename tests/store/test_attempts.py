"""Attempts: exactly one holder, death is noticed, ends are recorded."""

import json
import os
import subprocess
import sys
import time

import pytest

from sweep.core.errors import Cause
from sweep.store import attempts
from sweep.store.attempts import (
    Attempt,
    Busy,
    Claim,
    claims,
    latest,
    liveness,
    process_start,
    read_progress,
    record_end,
)
from sweep.store.layout import RunPaths

# A process that claims the run in argv[1], says so, and then sleeps: to be killed.
HOLDER = """
import sys, time
from pathlib import Path
from sweep.store.attempts import Attempt, Busy
from sweep.store.layout import RunPaths
try:
    held = Attempt.claim(RunPaths(Path(sys.argv[1])))
except Busy:
    print("busy", flush=True)
else:
    print("held", flush=True)
    time.sleep(600)
"""


def holder(directory):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def rewrite(run, **changes):
    claim = latest(run)
    run.attempt(claim.number).write_text(json.dumps(claim.content | changes))
    return latest(run)


def age_heartbeat(run, number, seconds):
    past = time.time() - seconds
    for path in (run.heartbeat(number), run.attempt(number)):
        if path.exists():
            os.utime(path, (past, past))


@pytest.fixture
def run(tmp_path):
    return RunPaths(tmp_path / "a run")


def test_a_held_run_is_busy_until_it_ends(run):
    held = Attempt.claim(run)
    with pytest.raises(Busy, match=r"attempt 1 \(pid \d+ on .*\) is live"):
        Attempt.claim(run)
    held.end("failed", "no luck")
    assert latest(run).outcome == "failed"
    assert latest(run).content["error"] == "no luck"
    assert liveness(run, latest(run)) == "ended"
    second = Attempt.claim(run)
    assert second.number == 2
    second.end("done")


def test_the_heartbeat_carries_the_progress_and_goes_with_the_end(run, monkeypatch):
    monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0.01)
    held = Attempt.claim(run)
    held.report({"epoch": 3})
    deadline = time.monotonic() + 5
    while read_progress(run, latest(run)) != {"epoch": 3} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read_progress(run, latest(run)) == {"epoch": 3}
    held.end("done")
    assert sorted(os.listdir(run.attempts)) == ["0001.json"]


@pytest.mark.process
def test_of_many_claiming_at_once_one_holds(run):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(run.directory)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    try:
        said = [process.stdout.readline().strip() for process in processes]
        assert sorted(said) == ["busy"] * 5 + ["held"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.process
def test_a_killed_holder_is_dead_at_once_and_the_run_is_free(run):
    process, said = holder(run.directory)
    assert said == "held"
    assert liveness(run, latest(run)) == "live"
    process.kill()
    process.wait()
    assert liveness(run, latest(run)) == "dead"
    Attempt.claim(run).end("done")
    assert latest(run).number == 2


def test_a_later_process_with_the_same_number_is_not_the_holder(run):
    held = Attempt.claim(run)
    assert process_start(os.getpid()) == latest(run).content["pid_start"]
    claim = rewrite(run, pid_start=latest(run).content["pid_start"] - 1)
    assert liveness(run, claim) == "dead"
    held.end("done")


@pytest.mark.parametrize(
    ("silent", "expected"),
    [(0, "live"), (120, "unknown"), (700, "dead"), (-30, "live"), (-120, "unknown"), (-3600, "dead")],
)
def test_on_another_machine_the_heartbeat_decides(run, silent, expected):
    """Also by one from the future, after a clock went back: a little ahead is no harm, far ahead it is as good as silence."""
    Attempt.claim(run).end("done")
    claim = rewrite(run, host="elsewhere", boot_id="other", outcome=None)
    age_heartbeat(run, 1, silent)
    assert liveness(run, claim) == expected
    if expected == "unknown":
        with pytest.raises(Busy, match="on elsewhere"):
            Attempt.claim(run)


def test_after_a_restart_of_the_machine_silence_for_a_minute_is_death(run):
    Attempt.claim(run).end("done")
    claim = rewrite(run, boot_id="before the restart", outcome=None)
    age_heartbeat(run, 1, 30)
    assert liveness(run, claim) == "live"
    for silent in (90, -90):
        age_heartbeat(run, 1, silent)
        assert liveness(run, claim) == "dead"


DAMAGED = [b'{"attempt"', b"", b"\xff\x00\xfe", b"null", b"[]", b"5", b'"x"', b"{}"]


@pytest.mark.parametrize("content", [*DAMAGED, b'{"host": "h", "pid": []}'])
def test_a_damaged_claim_neither_hides_the_one_before_nor_blocks_the_next(run, content):
    Attempt.claim(run).end("interrupted", "stopped by SIGTERM")
    run.attempt(2).write_bytes(content)
    assert latest(run).number == 1
    assert [claim.number for claim in claims(run)] == [1]
    Attempt.claim(run).end("done")
    assert latest(run).number == 3


@pytest.mark.parametrize(
    "field",
    [{"pid": "1"}, {"pid_start": None}, {"host": 5}, {"outcome": []}, {"error": {"a": 1}}, {"cause": 5}],
)
def test_a_claim_with_a_field_of_another_kind_is_damaged(run, field):
    Attempt.claim(run).end("failed", "no luck")
    assert rewrite(run, **field) is None


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_heartbeat_is_no_progress(run, content):
    Attempt.claim(run).end("done")
    run.heartbeat(1).write_bytes(content)
    assert read_progress(run, latest(run)) == {}


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("out of memory; raise memory in the profile (job 7_1)", Cause.OUT_OF_MEMORY),
        ("out of memory: the system killed it at its memory limit; give it more", Cause.OUT_OF_MEMORY),
        ("out of GPU memory (tried to allocate 2.50 GiB): other runs may hold it", Cause.OUT_OF_GPU_MEMORY),
        ("node failure: it did not boot (job 7_1)", Cause.NODE_FAILURE),
        ("time-out: its job reached the time limit (job 7_1)", Cause.TIME_LIMIT),
        ("stopped by SIGUSR2", Cause.STOP_SIGNAL),
        ("killed by SIGTERM", Cause.STOP_SIGNAL),
        ("the loss is not finite in epoch 1 before step 50; lower lr (now 1)", Cause.NOT_FINITE),
        ("the test loss is nan after epoch 1; lower lr (now 1)", Cause.NOT_FINITE),
        (
            "the test BLEU is nan while the losses are numbers; fix evaluate() of multi30k",
            Cause.NOT_FINITE,
        ),
        ("stopped by SIGINT", None),
        ("killed by SIGKILL (out of memory?)", None),
        ("cancelled (job 7_1)", None),
        ("ValueError: no scores today", None),
        (None, None),
    ],
)
def test_an_attempt_of_an_older_version_has_the_cause_that_its_error_meant(run, error, cause):
    Attempt.claim(run).end("failed", error)
    claim = latest(run)
    content = {key: value for key, value in claim.content.items() if key != "cause"}
    run.attempt(1).write_text(json.dumps(content))
    assert latest(run).cause is cause


def test_the_cause_is_in_the_file_and_the_error_is_not_read(run):
    Attempt.claim(run).end("failed", "anything", cause=Cause.NOT_FINITE)
    assert json.loads(run.attempt(1).read_text())["cause"] == "not_finite"
    assert latest(run).cause is Cause.NOT_FINITE
    Attempt.claim(run).end("failed", "out of memory; says a plug-in")
    assert latest(run).cause is None
    assert rewrite(run, cause="of a later version").cause is None


def test_only_numbers_are_claims(run):
    Attempt.claim(run).end("done")
    for name in ("x.json", "².json", "-1.json", ".json"):
        (run.attempts / name).write_text("{}")
    assert latest(run).number == 1


@pytest.mark.process
def test_the_end_of_a_silent_death_is_recorded_by_the_parent(run):
    process, _ = holder(run.directory)
    process.kill()
    process.wait()
    record_end(run, latest(run), "interrupted", "killed by SIGKILL", -9)
    assert (latest(run).outcome, latest(run).content["exit_status"]) == ("interrupted", -9)
    assert isinstance(latest(run), Claim)
