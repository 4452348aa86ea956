"""`sweep status` tells the states of runs apart, and no run is executed twice."""

import hashlib
import json
import os
import re
import signal
import textwrap
import time
from dataclasses import replace

import pytest
import yaml
from support.waiting import wait_for
from support.workplace import Workplace

import sweep
from sweep.executors.local.executor import LocalExecutor
from sweep.store.attempts import latest, process_start
from sweep.store.status import survey
from sweep.store.submissions import current_data, read_runs
from sweep.terminal.progress import PlainDisplay

pytestmark = pytest.mark.process

LONG = {"epochs": 10**6}  # far more than the tests let happen

PLUGIN = """
    import csv
    import hashlib

    from prune.methods import method
    from sweep.tasks import task
    from sweep.tasks.corpus import Corpus
    from sweep.tasks.text_classification import Row
    from sweep.tasks.toy_classification import Toy

    @task("shelf")
    class Shelf(Toy):
        def corpus(self, source):
            content = (source.data_dir / "rows.csv").read_bytes()
            rows = [Row(int(label), text) for label, text in csv.reader(content.decode().splitlines())]
            return Corpus(hashlib.sha256(content).hexdigest(), True, lambda: {"train": rows, "test": rows})

    @method("broken")
    def broken(scoring):
        raise RuntimeError("no scores")
"""

WHY = f"mine.py, line {PLUGIN[: PLUGIN.index('raise')].count(chr(10)) + 1}: RuntimeError: no scores"


def write_rows(directory, *, last):
    """A CSV of 64 texts in four classes, the last one as given; the hash that the task `shelf` gives it."""
    lines = [f"{number % 4},text {number} of {number % 4}\n" for number in range(63)]
    content = "".join([*lines, f"3,{last}\n"]).encode()
    (directory / "rows.csv").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def begin(work, run_id, name="grid"):
    """Start one run by hand, as executors do, and wait until it trains."""
    process = work.begin_run(run_id, name)
    live = work.paths(name).run(run_id).heartbeat(1)
    wait_for("a first epoch", lambda: live.exists() and '"epoch"' in live.read_text())
    return process


@pytest.fixture(scope="module")
def motley(tmp_path_factory, token_cache):
    """A sweep with a run in every state: the workplace, ids by (pruner, compression), hashes of the data before and now."""
    directory = tmp_path_factory.mktemp("motley")
    work = Workplace(directory / "results", {"SWEEP_CACHE": str(token_cache)})
    (directory / "mine.py").write_text(textwrap.dedent(PLUGIN))
    pruners = {"random": {}, "broken": {}, "magnitude": LONG, "snip": LONG, "grasp": LONG, "synflow": {}}
    fields = {"tasks": ["shelf"], "pruners": pruners, "compressions": [1, 1.5], "seeds": [0]}
    grid = directory / "grid.yaml"
    grid.write_text(yaml.safe_dump(fields, sort_keys=False))
    command = (
        "--grid",
        grid,
        "--local",
        "--slots",
        1,
        "--plugin",
        directory / "mine.py",
        "--data-dir",
        directory,
    )
    before = write_rows(directory, last="one thing")

    # in one slot: random ends, broken fails, magnitude is stopped; the others never begin
    launch = work.start(*command)
    wait_for(
        "the third run", lambda: list(work.results.glob("grid/runs/shelf-magnitude-c1-*/attempts/0001.live"))
    )
    launch.send_signal(signal.SIGINT)
    launch.communicate(timeout=60)
    assert launch.returncode == 130
    keys = [tuple(run_id.split("-")[1:3]) for run_id in work.run_ids()]
    ids = dict(zip(keys, work.run_ids(), strict=True))

    killed = begin(work, ids["snip", "c1"])
    killed.kill()
    killed.wait()
    live = begin(work, ids["grasp", "c1"])
    live.send_signal(signal.SIGSTOP)  # alive, and leaves the machine to the tests
    try:
        elsewhere = work.paths().run(ids["synflow", "c1"])
        elsewhere.attempts.mkdir(parents=True)
        claim = {"host": "elsewhere", "boot_id": "b", "pid_namespace": "n", "pid": 1, "pid_start": 1}
        elsewhere.attempt(1).write_text(
            json.dumps(claim | {"attempt": 1, "started_at": "2026-01-01T00:00:00+00:00"})
        )
        silent = time.time() - 120
        os.utime(elsewhere.attempt(1), (silent, silent))

        # the data changes: what was done before is stale, what is done now is not
        now = write_rows(directory, last="another")
        done = work(*command, "--only", "pruner=random,compression=1.5")
        assert done.returncode == 0, done.stderr
        yield work, ids, before, now
    finally:
        live.kill()
        live.wait()


STATES = {
    ("random", "c1"): "stale",
    ("broken", "c1"): "failed",
    ("magnitude", "c1"): "interrupted",
    ("snip", "c1"): "interrupted",
    ("grasp", "c1"): "running",
    ("synflow", "c1"): "unknown",
    ("random", "c1.5"): "done",
} | {(pruner, "c1.5"): "pending" for pruner in ("broken", "magnitude", "snip", "grasp", "synflow")}


def test_every_state_as_json(motley):
    work, ids, before, now = motley
    shown = work.sweep("status", "grid", "--json")
    assert (shown.returncode, shown.stderr) == (1, "")
    lines = {line["run_id"]: line for line in map(json.loads, shown.stdout.splitlines())}
    found = {key: lines[run_id] for key, run_id in ids.items()}
    assert {key: line["state"] for key, line in found.items()} == STATES
    details = {key: line["detail"] for key, line in found.items() if line["detail"]}
    assert details == {
        ("random", "c1"): f"data {before[:12]}, now {now[:12]}",
        ("broken", "c1"): WHY,
        ("magnitude", "c1"): "stopped by SIGTERM",
        ("snip", "c1"): "killed; no error was recorded",
        ("synflow", "c1"): "no heartbeat from elsewhere for over a minute",
    }
    causes = {key: line["cause"] for key, line in found.items() if line["cause"]}
    assert causes == {("magnitude", "c1"): "stop_signal"}
    progress = found["grasp", "c1"]["progress"]
    assert (progress["phase"], progress["epochs"]) == ("train", LONG["epochs"])
    assert progress["epoch"] >= 1
    assert {key: line["attempts"] for key, line in found.items()} == {
        key: 0 if state == "pending" else 1 for key, state in STATES.items()
    }
    assert (found["broken", "c1"]["exit_status"], found["magnitude", "c1"]["exit_status"]) == (1, 3)


def test_every_state_as_a_table(motley):
    work, ids, before, now = motley
    wide = replace(work, environment=work.environment | {"COLUMNS": "100"})
    shown = wide.sweep("status", "grid").stdout
    table, *parts = shown.split("\n\n")
    header, *rows = table.splitlines()[1:]
    assert header.split() == [
        "task", "pruner", "done", "running", "pending", "interrupted", "failed", "stale", "unknown",
    ]  # fmt: skip
    assert rows[0].split() == ["shelf", "random", "1", "1"]
    assert rows[-1].split() == ["all", "1", "1", "5", "2", "1", "1", "1"]
    explained = {part.partition(":")[0]: part.splitlines() for part in parts}
    assert list(explained) == ["running", "failed", "interrupted", "stale", "unknown", "left"]
    assert re.fullmatch(
        rf"  {ids['grasp', 'c1']}  epoch \d+/1000000, loss \d\.\d{{4}}, metric .*(s|min|h) left",
        explained["running"][1].rstrip(),
    )
    assert explained["failed"][0].endswith("--retry failed runs it again")
    assert explained["failed"][1:] == [f"  {ids['broken', 'c1']}  {WHY}"]
    assert explained["interrupted"][1:] == [
        f"  {ids['magnitude', 'c1']}  stopped by SIGTERM",
        f"  {ids['snip', 'c1']}  killed; no error was recorded",
    ]
    assert explained["stale"][1:] == [f"  {ids['random', 'c1']}  data {before[:12]}, now {now[:12]}"]
    assert explained["unknown"][1:] == [
        f"  {ids['synflow', 'c1']}  no heartbeat from elsewhere for over a minute"
    ]


def test_the_log_of_the_failed_run_and_of_no_other(motley):
    work, ids, _, _ = motley
    shown = work.sweep("logs", "grid", "--failed")
    heads = [line for line in shown.stdout.splitlines() if line.startswith("==>")]
    assert heads == [f"==> {work.paths().run(ids['broken', 'c1']).log}"]
    assert shown.stdout.endswith("RuntimeError: no scores\n")
    last = work.sweep("logs", ids["broken", "c1"], "--lines", 1)
    assert last.stdout.splitlines()[1:] == ["RuntimeError: no scores"]
    none = work.sweep("logs", ids["grasp", "c1.5"])
    assert (none.returncode, none.stderr) == (
        2,
        f"error: {ids['grasp', 'c1.5']} has no log yet; it has not started\n",
    )


def test_a_stale_result_is_in_no_report(motley):
    work, _, _, _ = motley
    assert work.sweep("report", "grid").returncode == 0
    report = (work.results / "grid/report/report.md").read_text()
    assert "1 of 12 runs are complete." in report
    assert "- 1 stale: its result is of other data, code or scoring than the current, or damaged" in report
    assert re.search(r"^\| 1\.5 \|", report, re.M)
    assert not re.search(r"^\| 1 \|", report, re.M)


def test_another_pipeline_version_makes_stale_too(motley):
    work, ids, _, _ = motley
    stamps = current_data(work.paths())
    stamps["shelf"] = replace(stamps["shelf"], pipeline_version=2)
    states = {status.run_id: status for status in survey(work.paths(), stamps)}
    done = states[ids["random", "c1.5"]]
    assert (done.state, done.detail) == ("stale", "pipeline version 1, now 2")


def test_a_run_that_is_running_or_may_be_is_not_begun_again(motley):
    work, ids, _, _ = motley
    for key, reason in (
        (("grasp", "c1"), r"\(pid \d+ on .*\) is live"),
        (("synflow", "c1"), "on elsewhere.* is unknown"),
    ):
        tried = work.sweep("run", ids[key])
        assert tried.returncode == 3
        assert re.search(reason, tried.stdout)
        assert latest(work.paths().run(ids[key])).number == 1


def write_grid(directory, pruners, **settings):
    path = directory / "grid.yaml"
    fields = {"tasks": {"toy": settings}, "pruners": pruners, "compressions": [1], "seeds": [0]}
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def deaths(tmp_path_factory, token_cache):
    """A launch of two runs that are killed, watched by `sweep status --watch`: the workplace, both processes and their output."""
    directory = tmp_path_factory.mktemp("deaths")
    work = Workplace(directory / "results", {"SWEEP_CACHE": str(token_cache)})
    grid = write_grid(directory, ["random", "magnitude"], **LONG)
    launch = work.start("--grid", grid, "--local", "--slots", 2)
    wait_for("two runs", lambda: len(list(work.results.glob("grid/runs/*/attempts/0001.live"))) == 2)
    watch = work.start("status", "grid", "--watch", module="sweep.cli")
    assert watch.stdout.readline().startswith("grid ")
    for run_id, number in zip(work.run_ids(), (signal.SIGKILL, signal.SIGSEGV), strict=True):
        os.kill(latest(work.paths().run(run_id)).content["pid"], number)
    return work, (launch, *launch.communicate(timeout=60)), (watch, *watch.communicate(timeout=60))


def test_runs_that_die_are_reported_with_the_signal(deaths):
    """Killed, as when memory runs out: to be gone on with. A fault of the program: failed."""
    work, (launch, out, err), _ = deaths
    random, magnitude = work.run_ids()
    assert (launch.returncode, err) == (1, "")
    assert f"interrupted {random}  killed by SIGKILL (out of memory?)" in out
    assert f"failed {magnitude}  killed by SIGSEGV" in out
    found = [(status.run_id, status.state, status.exit_status) for status in survey(work.paths())]
    assert found == [(random, "interrupted", -9), (magnitude, "failed", -11)]


def test_watching_ends_when_nothing_runs(deaths):
    _, _, (watch, out, err) = deaths
    assert (watch.returncode, err) == (1, "")
    last = out.rpartition("grid  (")[2]
    assert "killed by SIGKILL" in last
    assert "running" not in last


class BrokenDisplay(PlainDisplay):
    """Raises as soon as a run trains."""

    def tick(self, running, _waiting):
        if any(status.progress.get("epoch") for status in running):
            raise RuntimeError("the launcher broke")


def test_a_launcher_that_breaks_leaves_no_run_behind(deaths, monkeypatch):
    work, _, _ = deaths
    run_id = work.run_ids()[0]
    monkeypatch.setenv("SWEEP_CACHE", work.environment["SWEEP_CACHE"])
    executor = LocalExecutor(work.paths(), 1, current_data(work.paths()), 1, BrokenDisplay(1))
    with pytest.raises(RuntimeError, match="the launcher broke"):
        executor.execute([read_runs(work.paths())[run_id]])
    attempt = latest(work.paths().run(run_id))
    assert (attempt.number, attempt.outcome, attempt.content["error"]) == (
        2,
        "interrupted",
        "stopped by SIGTERM",
    )
    assert process_start(attempt.content["pid"]) is None
    assert work.paths().run(run_id).checkpoint.is_file()


def test_two_launches_at_once_execute_every_run_once(tmp_path, work):
    path = write_grid(tmp_path, ["random", "grasp"], epochs=1)
    launches = [work.start("--grid", path, "--local", "--slots", 2) for _ in range(2)]
    ends = [(launch.communicate(timeout=120), launch.returncode) for launch in launches]
    for (out, err), code in ends:
        assert (code, "2 runs: 2 done" in out) == (0, True), err
    assert len(sweep.load(work.results / "grid")) == 2
    for run_id in work.run_ids():
        assert sorted(os.listdir(work.paths().run(run_id).attempts)) == ["0001.json"]
