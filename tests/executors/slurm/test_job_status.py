"""What is said of a run whose job Slurm knows, has forgotten, or keeps silent about."""

import json

import pytest
from support.rows import run_record

from sweep.core.errors import Cause
from sweep.executors.slurm.job_status import Place, places, reason, refine
from sweep.executors.slurm.manifest import Manifest, read_answer, write_answer
from sweep.executors.slurm.queue import Job, Queue
from sweep.store.layout import SweepPaths
from sweep.store.status import RunStatus

TOKEN = "s-0123"


@pytest.fixture
def place(tmp_path):
    array = SweepPaths(tmp_path).array(1, 1)
    manifest = Manifest(TOKEN, 1, [["a"], ["b"]], code="/code")
    manifest.save(array)
    write_answer(array, "7")
    return Place(array, manifest, 1, read_answer(array))


def refined(place, tmp_path, base, job=None, claim=None, problem=""):
    found = refine_run(place, tmp_path, base, job, claim, problem=problem)
    return found.state, found.detail, found.job


def refine_run(place, tmp_path, base, job=None, claim=None, cause=None, problem=""):
    run = SweepPaths(tmp_path).run("b")
    if claim is not None:
        run.attempts.mkdir(parents=True)
        place_of_it = {"host": "h", "boot_id": "b", "pid_namespace": "n", "pid": 1, "pid_start": 1}
        run.attempt(1).write_text(json.dumps({"slurm_job": "7_1"} | place_of_it | claim))
    status = RunStatus("b", run_record("b"), base, attempts=int(claim is not None), cause=cause)
    jobs = {(TOKEN, 1): job} if job else {}
    return refine(status, run, place, Queue(jobs, problem))


def job(state, reason=""):
    return Job("7_1", state, reason)


@pytest.mark.parametrize(
    ("base", "found", "claim", "expected"),
    [
        ("pending", job("PENDING", "Priority"), None, ("pending", "waits in Slurm's queue: Priority", "7_1")),
        ("interrupted", job("PENDING", "BeginTime"), {}, ("pending", "waits in Slurm's queue: BeginTime", "7_1")),
        ("pending", job("RUNNING"), None, ("running", "job 7_1", "7_1")),
        ("interrupted", job("COMPLETING"), {"outcome": "interrupted"}, ("running", "job 7_1", "7_1")),
        ("failed", job("COMPLETING"), {"outcome": "failed"}, ("failed", "", "")),
        ("pending", job("CANCELLED"), None, ("interrupted", "cancelled (job 7_1)", "")),
        ("unknown", job("NODE_FAIL"), {}, ("interrupted", "node failure (job 7_1)", "")),
        ("interrupted", job("TIMEOUT"), {}, ("interrupted", "time-out: its job reached the time limit (job 7_1)", "")),
        ("interrupted", job("OUT_OF_MEMORY"), {}, ("failed", "out of memory; raise memory in the profile (job 7_1)", "")),
        ("unknown", None, {}, ("interrupted", "lost: Slurm no longer knows its job 7_1", "")),
        # what a run says of its own end stands
        ("failed", job("FAILED"), {"outcome": "failed"}, ("failed", "", "")),
        # a heartbeat is better evidence than an answer: a node that has lost touch
        ("running", None, {}, ("running", "", "")),
        # executed elsewhere since
        ("interrupted", None, {"slurm_job": None}, ("interrupted", "", "")),
        # to be executed again
        ("done", job("PENDING", "Priority"), {"slurm_job": "3"}, ("pending", "waits in Slurm's queue: Priority", "7_1")),
        ("done", job("CANCELLED"), {"slurm_job": "3"}, ("done", "", "")),
        # of a state that this version does not know only that it is no end
        ("pending", job("POWER_UP_NODE"), None, ("running", "job 7_1", "7_1")),
    ],
)  # fmt: skip
def test_files_first_then_slurm(place, tmp_path, base, found, claim, expected):
    assert refined(place, tmp_path, base, found, claim) == expected


def test_what_was_cancelled_before_it_started(place, tmp_path):
    """Slurm keeps the rest of an array as one record, under the array's id, and forgets it after some minutes."""
    rest = Queue({(TOKEN, None): Job("7", "CANCELLED")})
    pending = RunStatus("b", run_record("b"), "pending")
    found = refine(pending, SweepPaths(tmp_path).run("b"), place, rest)
    assert (found.state, found.detail) == ("interrupted", "cancelled (job 7_1)")
    place.array.cancelled(1).write_text("")
    assert refined(place, tmp_path, "pending") == ("interrupted", "cancelled (job 7_1)", "")


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("BOOT_FAIL", Cause.NODE_FAILURE),
        ("NODE_FAIL", Cause.NODE_FAILURE),
        ("DEADLINE", Cause.TIME_LIMIT),
        ("TIMEOUT", Cause.TIME_LIMIT),
        ("OUT_OF_MEMORY", Cause.OUT_OF_MEMORY),
        ("CANCELLED", None),
        ("COMPLETED", None),
        ("FAILED", None),
        ("PREEMPTED", None),
        ("REVOKED", None),  # which this version has no words for
    ],
)
def test_the_cause_of_a_job_that_has_ended(place, tmp_path, state, cause):
    assert refine_run(place, tmp_path, "interrupted", job(state), {}).cause is cause


def test_a_run_that_waits_again_has_no_cause(place, tmp_path):
    ended = {"outcome": "interrupted", "error": "stopped by SIGUSR2", "cause": "stop_signal"}
    found = refine_run(place, tmp_path, "interrupted", job("PENDING", "BeginTime"), ended, Cause.STOP_SIGNAL)
    assert (found.state, found.cause) == ("pending", None)
    found = refine_run(place, tmp_path / "2", "interrupted", job("RUNNING"), ended, Cause.STOP_SIGNAL)
    assert (found.state, found.cause) == ("running", None)


def test_silence_is_evidence_of_nothing(place, tmp_path):
    assert refined(place, tmp_path, "pending", problem="down") == ("unknown", "Slurm does not answer", "")
    assert refined(place, tmp_path, "running", problem="down", claim={})[0] == "running"


def test_the_log_of_the_job_shows_what_slurm_does_not(place, tmp_path):
    log = place.array.log("7_1")
    log.write_text("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0.\n")
    found = refine_run(place, tmp_path, "interrupted", job("FAILED"), {})
    assert (found.state, found.cause) == ("failed", Cause.OUT_OF_MEMORY)
    log.write_text("module: command not found\n\n")
    state, detail, _ = refined(place, tmp_path / "other", "pending", job("FAILED"))
    assert (state, detail) == ("failed", "job 7_1 failed before the run started: module: command not found")


@pytest.mark.parametrize(
    ("before", "after"), [((2, 1), (10, 1)), ((9999, 1), (10000, 1)), ((1, 999), (1, 1000))]
)
def test_of_two_arrays_with_a_run_the_later_one_has_it(tmp_path, before, after):
    sweep = SweepPaths(tmp_path)
    for submission, array in (after, before):
        Manifest(TOKEN, submission, [["a"]], code="/code").save(sweep.array(submission, array))
    assert places(sweep)["a"].array == sweep.array(*after)


def test_of_several_smoke_tests_the_one_that_its_array_waited_for_counts(tmp_path):
    sweep = SweepPaths(tmp_path)
    logs = [sweep.smoke(1, group).log(str(5 + group)) for group in (1, 2)]
    for log, words in zip(logs, ("loss 0.7", "error: no GPU here"), strict=True):
        log.parent.mkdir(parents=True)
        log.write_text(f"{words}\nsubmitit's last words\n")
    details = []
    for group, log in enumerate(logs, 1):
        array = sweep.array(1, group)
        manifest = Manifest(
            TOKEN, 1, [["a"], ["b"]], code="/code", after=str(log.relative_to(sweep.directory))
        )
        manifest.save(array)
        write_answer(array, "7")
        place = Place(array, manifest, 1, read_answer(array))
        details.append(refined(place, tmp_path, "pending", job("CANCELLED"))[1])
    assert details == ["cancelled (job 7_1)", "not started, the smoke test failed: no GPU here"]


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ("PartitionTimeLimit", "can never start: PartitionTimeLimit"),
        ("QOSMaxWallDurationPerJobLimit", "can never start: QOSMax"),
        ("DependencyNeverSatisfied", "can never start"),
        ("JobHeldUser", "held: JobHeldUser (job 7_1); `scontrol release 7_1`"),
        (
            "launch failed requeued held",
            "held by Slurm, which could not start it (job 7_1); the next launch releases it",
        ),
        ("Resources", "waits in Slurm's queue: Resources"),
    ],
)
def test_what_can_never_start_is_called_so(why, expected):
    detail, cause = reason(job("PENDING", why))
    assert detail.startswith(expected)
    assert cause == (Cause.FAILED_START if why.startswith("launch failed") else None)
