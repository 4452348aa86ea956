"""Surroundings that nobody wishes for: odd names, poor locales, no home, read-only code, wrong clocks, closed streams."""

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from support.mounts import mounted, remount
from support.workplace import ROOT

import sweep
from sweep.config.grid import Grid, expand
from sweep.store.attempts import Attempt, latest
from sweep.store.layout import RunPaths, SweepPaths
from sweep.store.status import survey
from sweep.store.submissions import read_runs

pytestmark = pytest.mark.process

SWEEP = Path(sys.executable).with_name("sweep")
"""The console script."""

GRID = {"tasks": {"toy": {"epochs": 0}}, "pruners": ["random"], "compressions": [1], "seeds": [0]}


def write_grid(directory, name="grid.yaml", **changes):
    path = directory / name
    path.write_text(yaml.safe_dump(GRID | changes, sort_keys=False))
    return path


@pytest.fixture
def environment(token_cache):
    return os.environ | {"SWEEP_CACHE": str(token_cache)}


def call(*command, cwd, timeout=120, **options):
    """Run a command in `cwd`; what it wrote is text, `?` standing for what is none."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    command = [argument if isinstance(argument, bytes) else str(argument) for argument in command]
    return subprocess.run(command, cwd=cwd, timeout=timeout, encoding="utf-8", errors="replace", **options)


def complete(results, name="grid"):
    """Assert that every run of a sweep is done after one attempt; its rows."""
    paths = SweepPaths(results / name)
    assert {status.state for status in survey(paths)} == {"done"}
    assert all(sorted(os.listdir(paths.run(run_id).attempts)) == ["0001.json"] for run_id in read_runs(paths))
    return sweep.load(results / name).to_pylist()


ODD = "a  'b' \"c\" ünï日 $HOME;&*?[x] %s {y} #z\\n"


def test_odd_names_everywhere(tmp_path):
    """Of every directory and file that a user names, the cache included; and the output is plain where there is no terminal."""
    here = tmp_path / ODD
    here.mkdir()
    grid = write_grid(here, "gr id [bold] é.yaml", pruners=["mine [red]"])
    (here / "pl ug é'.py").write_text(
        "from prune.methods import method\n\n@method('mine [red]')\ndef mine(scoring):\n    return scoring.weights\n"
    )
    name = "my 'sweep' [bold] ü *"
    environment = os.environ | {"SWEEP_CACHE": str(here / "cache"), "SWEEP_RESULTS": str(here / "results")}
    done = call(
        SWEEP, "launch", "--local", "--grid", grid.name, "--plugin", "pl ug é'.py", "--name", name,
        cwd=here, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = complete(here / "results", name)
    assert (row["pruner"], row["sweep"]) == ("mine [red]", name)
    directory = here / "results" / name
    assert f"report: {directory}/report/report.md and report.html" in done.stdout.splitlines()
    assert f"{name}: 1 runs in " in done.stdout
    assert re.search(r"^\d\d:\d\d:\d\d  start  toy-mine \[red\]-c1-s0-\w{8}$", done.stdout, re.M)
    assert "\x1b" not in done.stdout

    shown = call(SWEEP, "status", name, cwd=here, env=environment)
    assert shown.stdout.splitlines()[0] == f"{name}  ({directory})"
    assert shown.stdout.splitlines()[2].split() == ["toy", "mine", "[red]", "1"]
    logs = call(SWEEP, "logs", row["run_id"], cwd=here, env=environment)
    assert logs.stdout.startswith(f"==> {directory}/runs/{row['run_id']}/log.txt\n")
    again = call(SWEEP, "run", row["run_id"], "--name", name, cwd=here, env=environment)
    assert again.stdout == f"{row['run_id']} is complete\n"


def test_poor_locales_and_a_path_that_is_no_text(tmp_path, environment):
    """Numbers come out whatever the terminal can show, and files are the same."""
    results = tmp_path / os.fsdecode(b"r\xe9sultats")  # Latin-1
    grid = write_grid(tmp_path, seeds=[0, 1])
    ascii_only = environment | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ascii_only.pop("PYTHONIOENCODING", None)
    command = (SWEEP, "launch", "--local", "--grid", grid, "--results", results)
    done = call(*command, cwd=tmp_path, env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert re.search(r"\d\.\d\d \? \d+\.\d\d ", done.stdout)
    assert len(complete(results)) == 2
    report = results / "grid/report/report.md"
    assert re.search(r"\d\.\d\d ± \d+\.\d\d \(n=2\)", report.read_text(encoding="utf-8"))
    status = call(SWEEP, "status", "grid", "--json", "--results", results, cwd=tmp_path, env=ascii_only)
    assert [json.loads(line)["state"] for line in status.stdout.splitlines()] == ["done", "done"]


def test_modules_of_the_users_in_the_current_directory(tmp_path, environment):
    """Names that the project or a library has, too.

    `python -m sweep.launch` looks there for the package `sweep` itself and for what Python loads first, which is Python's doing.
    """
    grid = write_grid(tmp_path)
    for package in ("prune", "models", "sweep"):
        (tmp_path / package).mkdir()
    for package in ("prune", "models"):
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('the wrong one')")
    module = (sys.executable, "-m", "sweep.launch", "--dry-run", "--grid", grid)
    planned = call(*module, cwd=tmp_path, env=environment)
    assert (planned.returncode, planned.stderr) == (0, "")
    (tmp_path / "sweep/__init__.py").write_text("raise SystemExit('the wrong one')")
    for name in ("random", "yaml", "json", "token", "torch", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    done = call(SWEEP, "launch", "--local", "--grid", grid, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    complete(tmp_path / "results")


@pytest.fixture(scope="module")
def bare(tmp_path_factory, token_cache):
    """A sweep launched without HOME, PATH or locale: the directory it was launched from, the finished process."""
    here = tmp_path_factory.mktemp("bare")
    command = (SWEEP, "launch", "--local", "--grid", write_grid(here, seeds=[0, 1]))
    code = {
        name: value for name, value in os.environ.items() if name == "PYTHONPATH"
    }  # may be where it is found
    return here, call(*command, cwd=here, env=code | {"SWEEP_CACHE": str(token_cache)})


def test_an_empty_environment(bare):
    """`tests/launch/test_bad_options.py` has the user who has no home directory at all."""
    here, done = bare
    assert (done.returncode, done.stderr) == (0, "")
    assert len(complete(here / "results")) == 2
    # without a locale Python speaks UTF-8
    assert re.search(r"\d\.\d\d ± \d+\.\d\d ", done.stdout)


def test_a_read_only_source_tree(tmp_path, environment):
    tree = tmp_path / "tree"
    for package in ("sweep", "prune", "models"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    grid = write_grid(tmp_path)
    environment = environment | {"PYTHONPATH": str(tree)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with mounted(tree, "--bind", str(tree)):
        remount(tree, "bind,ro")
        with pytest.raises(OSError, match="Read-only"):
            (tree / "x").touch()
        module = (sys.executable, "-m", "sweep.launch")
        done = call(
            *module, "--local", "--grid", grid, "--results", tmp_path / "r", cwd=tmp_path, env=environment
        )
        assert (done.returncode, done.stderr) == (0, "")
    (row,) = complete(tmp_path / "r")
    assert row["git_sha"] is None, "the code of the copy, which is no checkout"
    assert not list(tree.rglob("__pycache__"))


def test_clocks_that_went_back(tmp_path, work):
    """The files of an attempt that died are from the future; the run is taken over at once, and durations are durations.

    Durations come from a monotonic clock, and a process is known by its start since boot. (A clock that goes back while a run
    trains is not tried here: that needs a library that lies to the process about the time.)
    """
    path = write_grid(tmp_path)
    (planned,) = expand(Grid.load(str(path)))
    run = work.paths().run(planned.id)
    Attempt.claim(run).end("interrupted")
    claim = latest(run).content
    ahead = datetime(2099, 1, 1, tzinfo=UTC)
    changes = {"started_at": ahead.isoformat(), "pid_start": claim["pid_start"] - 1, "outcome": None}
    run.attempt(1).write_text(json.dumps(claim | changes))
    run.heartbeat(1).write_text('{"phase": "train", "epoch": 3, "epochs": 5}')
    for directory in (run.directory, run.attempts, run.attempt(1), run.heartbeat(1)):
        os.utime(directory, (ahead.timestamp(), ahead.timestamp()))

    done = work("--grid", path, "--local")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = sweep.load(work.results / "grid").to_pylist()
    assert row["attempt"] == 2
    assert row["started_at"] <= row["finished_at"] <= datetime.now(UTC)
    durations = {name: value for name, value in row.items() if name.startswith("seconds_")}
    assert len(durations) == 5
    assert all(0 <= value < 60 for value in durations.values()), durations
    assert work.states() == {planned.id: "done"}


def test_closed_streams(tmp_path, environment):
    """Neither a reader that has gone (`| head`) nor streams that were never open stop a launch."""
    write_grid(tmp_path)
    read, written = os.pipe()
    os.close(read)
    closed = ("sh", "-c", 'exec "$@" <&- 2>&-', "-")
    launch = (SWEEP, "launch", "--local", "--grid", "grid.yaml")
    done = call(*closed, *launch, cwd=tmp_path, env=environment, stdout=written)
    os.close(written)
    assert (done.returncode, done.stderr) == (0, "")
    complete(tmp_path / "results")


def test_no_stream_at_all(bare):
    here, _ = bare
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "-")
    done = call(*closed, SWEEP, "status", "grid", cwd=here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "arguments", ["status grid", "status grid --json", "logs toy-random-c1-s0", "--help"]
)
def test_a_reader_that_wants_no_more(bare, arguments):
    here, _ = bare
    read, written = os.pipe()
    os.close(read)
    shown = call(SWEEP, *arguments.split(), cwd=here, stdout=written)
    os.close(written)
    assert (shown.returncode, shown.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_output_that_cannot_be_stored_is_no_success(bare):
    here, _ = bare
    with open("/dev/full", "w") as full:
        shown = call(SWEEP, "status", "grid", cwd=here, stdout=full)
    assert shown.returncode == 2
    assert shown.stderr == "error: standard output: No space left on device; what was shown is not whole\n"


@pytest.mark.parametrize("columns", [40, 5])
def test_narrow_output_that_is_no_terminal(bare, columns):
    here, _ = bare
    shown = call(SWEEP, "status", "grid", cwd=here, env=os.environ | {"COLUMNS": str(columns)})
    assert (shown.returncode, shown.stderr) == (0, "")
    title, *table = shown.stdout.splitlines()
    assert title == f"grid  ({here}/results/grid)", "what may be copied is not broken"
    assert max(map(len, table)) <= columns


def test_a_terminal_of_forty_columns(tmp_path, environment):
    """Live progress on a real (pseudo) terminal, redrawn in place."""
    grid = write_grid(tmp_path, tasks={"toy": {"epochs": 1}})
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    environment = {
        name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
    }
    process = subprocess.Popen(
        [SWEEP, "launch", "--local", "--grid", grid],
        cwd=tmp_path, env=environment | {"TERM": "xterm"}, stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    finally:
        os.close(leader)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "\x1b[" in text, "no terminal was seen"
    assert "Traceback" not in text
    assert "1 runs: 1 done" in text
    complete(tmp_path / "results")


@pytest.mark.parametrize("seeds", ["0-11", pytest.param("0-49", marks=pytest.mark.long)])
def test_many_runs_in_more_slots_than_cores(tmp_path, work, seeds):
    grid = write_grid(tmp_path, seeds=seeds, pruners=["random", "magnitude"])
    done = work("--grid", grid, "--local", "--slots", 8)
    assert (done.returncode, done.stderr) == (0, "")
    rows = complete(work.results)
    assert len(rows) == 2 * (int(seeds.partition("-")[2]) + 1)
    assert all(row["mask_effective"] and row["kept"] == 25 for row in rows)
    # how many were held at the moment that each began
    ends = [latest(RunPaths(work.paths().run(row["run_id"]).directory)).content for row in rows]
    together = [
        sum(other["started_at"] <= own["started_at"] < other["ended_at"] for other in ends) for own in ends
    ]
    assert 1 < max(together) <= 8
