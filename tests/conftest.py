"""What all tests share."""

import os
import shutil
import sys
from collections.abc import Iterator

import pytest
import torch
import yaml
from support.command import SharedForkServer, plugins_forgotten, run_here, write_grid
from support.workplace import Workplace

from sweep.cli.app import main
from sweep.terminal.console import console

# as in a pipe: whoever runs the tests may have COLUMNS set, and pytest-xdist sets it
os.environ.pop("COLUMNS", None)
console.width = 160

# Each of these starts a process (what multiprocessing spawns raises none of them).
STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
MAY_START = ("process", "slurm", "browser", "long")
alone = [False]
"""Whether the test of the moment has none of these marks."""


def _forbid_processes(event: str, arguments: tuple) -> None:
    if alone[0] and event in STARTS:
        pytest.fail(f"starts a process ({event}) and is not marked `process`: {arguments[:2]}")


sys.addaudithook(_forbid_processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """`make check` runs the tests without those marks; one that starts a process, slow as that is, must not be among them."""
    alone[0] = not any(map(item.get_closest_marker, MAY_START))
    try:
        return (yield)
    finally:
        alone[0] = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Whichever test is a session's last also ends what other tests share, such as the Slurm cluster."""
    alone[0] = False


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a fixture of their module, or the Slurm cluster, go to one of pytest-xdist's workers."""
    for item in items:
        scopes = {name: found[-1].scope for name, found in item._fixtureinfo.name2fixturedefs.items()}  # type: ignore[attr-defined]
        if item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.xdist_group("slurm"))
        elif "module" in scopes.values():
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each device there is, in turn; new tensors come to lie there."""
    if request.param == "cpu":
        yield request.param
    else:
        with torch.device(request.param):
            yield request.param


@pytest.fixture(params=DEVICES)
def target(request: pytest.FixtureRequest) -> str:
    """Each device there is, in turn; new tensors lie on the CPU all the same."""
    return request.param


@pytest.fixture(scope="session")
def token_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def work(tmp_path, token_cache):
    return Workplace(tmp_path / "results", {"SWEEP_CACHE": str(token_cache)})


@pytest.fixture
def grid(tmp_path):
    """Write a grid of toy runs, `grid.yaml`, and return its path."""

    def write(**changes):
        fields = {
            "tasks": {"toy": {"epochs": 1}},
            "pruners": ["random", "grasp"],
            "compressions": [1],
            "seeds": [0],
        }
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump(fields | changes, sort_keys=False))
        return path

    return write


@pytest.fixture
def command(tmp_path, token_cache, monkeypatch):
    """Calls `sweep ...` in this process, in an empty directory: (exit code, stdout, stderr)."""
    monkeypatch.setenv("SWEEP_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SWEEP_CACHE", str(token_cache))
    monkeypatch.delenv("SWEEP_DATA", raising=False)

    def call(*arguments, entry=main):
        done = run_here(entry, *arguments, environment=dict(os.environ), directory=tmp_path)
        return done.returncode, done.stdout, done.stderr

    with plugins_forgotten():  # not after each call: a test may load one twice
        yield call


@pytest.fixture(scope="session", autouse=True)
def fork_servers():
    """End the processes that runs of launches in this process were forked from."""
    yield
    SharedForkServer.close_all()


@pytest.fixture(scope="session")
def finished(tmp_path_factory, token_cache):
    """A complete sweep of two runs, to be copied."""
    directory = tmp_path_factory.mktemp("finished")
    work = Workplace(directory / "results", {"SWEEP_CACHE": str(token_cache)})
    assert work("--grid", write_grid(directory, seeds=[0, 1]), "--local").returncode == 0
    return work


@pytest.fixture
def copied(finished, tmp_path, work):
    """A copy of `finished` in the test's results directory: its `SweepPaths`, the ids of its runs."""
    write_grid(tmp_path, seeds=[0, 1])
    shutil.copytree(finished.results, work.results)
    return work.paths(), finished.run_ids()
