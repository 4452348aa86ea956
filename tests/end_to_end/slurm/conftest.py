"""A real Slurm for the tests that are marked `slurm`, and sweeps on it."""

import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import pytest
import yaml
from support.cluster import Cluster, free_ports, install
from support.command import state_of_process_kept
from support.onslurm import SLOW_TOY, OnSlurm
from support.workplace import science

from sweep.config.grid import Grid, expand
from sweep.config.plugins import load_plugins
from sweep.run.worker import execute
from sweep.store.layout import SweepPaths
from sweep.store.load import load
from sweep.store.submissions import Submission, register_runs


def _started(*options: str) -> Cluster:
    if os.environ.get("SWEEP_TEST_SLURM") != "1":
        pytest.skip("needs a Slurm cluster; SWEEP_TEST_SLURM=1 (make test-slurm) starts one on this machine")
    other = os.environ.get("SLURM_CONF") or next(
        (path for path in ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf") if Path(path).exists()),
        None,
    )
    if other:
        pytest.fail(f"refuses to start a Slurm where another cluster is configured ({other})")
    if os.geteuid():
        pytest.fail("starting a Slurm for the tests needs root")
    needed = [
        ("munged", "munge"),
        ("slurmctld", "slurmctld"),
        ("slurmd", "slurmd"),
        ("sbatch", "slurm-client"),
    ]
    if "--accounting" in options:
        needed += [("slurmdbd", "slurmdbd"), ("mariadbd", "mariadb-server")]
    install(*needed)
    # mysql's user needs access, which pytest's own directories do not give; sockets need short paths
    directory = Path(tempfile.mkdtemp(prefix="sweep-slurm-", dir="/tmp"))
    directory.chmod(0o755)
    cluster = Cluster(directory, free_ports())
    try:
        cluster.script("start", *options)
    except BaseException:
        _stop(cluster)
        raise
    return cluster


def _stop(cluster: Cluster) -> None:
    cluster.script("stop")
    shutil.rmtree(cluster.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster():
    """Without accounting. At most two tasks in an array, so that sweeps have several."""
    found = _started("MaxArraySize=3", "MessageTimeout=5")
    yield found
    _stop(found)


@pytest.fixture
def own_cluster():
    """Start a cluster with custom options."""
    started = []

    def start(*options: str) -> Cluster:
        started.append(_started(*options))
        return started[-1]

    yield start
    for found in started:
        _stop(found)


@pytest.fixture(scope="session")
def slurm_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def sweeps(cluster, tmp_path, slurm_cache):
    """Sweeps on the cluster, in a directory of the test with a difficult name."""
    return OnSlurm(cluster, tmp_path / "it's a directory", slurm_cache)


@pytest.fixture
def sweeps_on(tmp_path, slurm_cache):
    return lambda cluster: OnSlurm(cluster, tmp_path / "results", slurm_cache)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, slurm_cache):
    """The rows of a grid's runs, executed in this process undisturbed."""
    known = {}

    def rows(grid):
        text = yaml.safe_dump(grid)
        if text not in known:
            known[text] = _executed(
                Grid.parse(text, "calm.yaml"), tmp_path_factory.mktemp("calm"), slurm_cache
            )
        return known[text]

    return rows


def _executed(grid, directory, cache):
    sweep = SweepPaths(directory / "calm")
    plugin = SLOW_TOY[1]
    load_plugins([plugin])
    specs = {run.id: run.to_record() for run in expand(grid)}
    register_runs(sweep, grid.dump(), specs.values())
    with state_of_process_kept(), mock.patch.dict(os.environ, {"SWEEP_CACHE": str(cache)}):
        for run_id in specs:
            plugins = [str(plugin)] if "slow_toy" in run_id else []
            assert execute(sweep, run_id, Submission([*specs], {}, plugins=plugins)) == 0
    return science(load(sweep.directory).to_pylist())
