"""Commands on a cluster, in a results directory of the test."""

import json
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from support.cluster import Cluster
from support.waiting import wait_for
from support.workplace import Workplace, science

import sweep
from sweep.executors.slurm.manifest import arrays
from sweep.store.attempts import latest

SLOW = {"tasks": {"slow_toy": {"epochs": 8}}, "pruners": ["grasp"], "compressions": [1], "seeds": [0]}
"""One run to be stopped in the middle; it makes hardly any progress until `OnSlurm.go`."""
SLOW_TOY = ("--plugin", Path(__file__).with_name("slow_toy.py"))


@dataclass
class OnSlurm:
    """The cluster, where results go, and the token cache."""

    cluster: Cluster
    results: Path
    cache: Path

    def __post_init__(self):
        self.results.mkdir(parents=True, exist_ok=True)
        # commands in separate processes, where a test needs one to kill
        self.work = Workplace(
            self.results,
            {
                "SLURM_CONF": str(self.cluster.conf),
                "SWEEP_CACHE": str(self.cache),
                "SWEEP_RESULTS": str(self.results),
                "SWEEP_CHECKPOINT_SECONDS": "0.2",
                "SWEEP_TEST_GO": str(self.results / "go"),
            },
        )

    def command(self, *arguments):
        """A `sweep` command in this process; its exit code and what it printed."""
        done = self.work.sweep(*arguments)
        return done.returncode, done.stdout + done.stderr

    def file(self, name, content):
        path = self.results / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    def arguments(self, name, grid, *options, profile=None):
        """Those of the launch command."""
        found = ["--grid", self.file(f"{name}.yaml", grid), "--name", name, *options]
        if profile is not None:
            found += ["--profile", self.file(f"{name}.profile.yaml", profile)]
        return found

    def launch(self, name, grid, *options, code=0, profile=None):
        """The launch command, which has to end with `code`; returns what it printed."""
        ended, printed = self.command("launch", *self.arguments(name, grid, *options, profile=profile))
        assert ended == code, f"exit code {ended}: {printed}"
        return printed

    def status(self, name):
        """The lines of `sweep status --json` by run."""
        lines = [
            line for line in self.command("status", name, "--json")[1].splitlines() if line.startswith("{")
        ]
        return {line["run_id"]: line for line in map(json.loads, lines)}

    def detail(self, name):
        """Of the sweep's only run."""
        (line,) = self.status(name).values()
        return line["detail"]

    def states(self, name):
        return sorted(line["state"] for line in self.status(name).values())

    def tokens(self, name):
        return [manifest.token for _, manifest in arrays(self.work.paths(name).arrays)]

    def follow_ups(self, name):
        """The names of the directories of the sweep's follow-up jobs."""
        return sorted(path.name for path in self.work.paths(name).follows.glob("*"))

    def active(self, name):
        """Slurm's jobs of the sweep that wait or run."""
        tokens = self.tokens(name)
        return self.cluster.jobs(",".join(tokens)) if tokens else []

    @contextmanager
    def partitions_down(self):
        """What is launched inside starts afterwards, all at once."""
        self._partitions("DOWN")
        try:
            yield
        finally:
            self._partitions("UP")

    def _partitions(self, state):
        for partition in ("main", "low"):
            self.cluster.ask("scontrol", "update", f"PartitionName={partition}", f"State={state}")

    def run(self, name):
        """Paths of the sweep's only run."""
        (run_id,) = self.work.run_ids(name)
        return self.work.paths(name).run(run_id)

    def go(self):
        """Let slow runs finish."""
        (self.results / "go").touch()

    def wait_for_checkpoint(self, name):
        wait_for(f"a checkpoint of {name}", lambda: self.run(name).checkpoint.exists(), 600)

    def wait_until_gone(self, name):
        wait_for(f"the end of the jobs of {name}", lambda: not self.active(name), 900)

    def wait_until_ended(self, name, state):
        """Until the sweep's only run is in `state` and Slurm has nothing left of its jobs.

        A job may be gone before a status says what became of its run, and before the next one is there.
        """
        wait_for(
            f"{state} {name}", lambda: self.states(name) == [state] and not self.active(name), 900, pause=1.0
        )

    def kill_run(self, name, signal_number=signal.SIGKILL):
        """Send a signal to the process that executes the sweep's only run."""
        subprocess.run(
            ["kill", f"-{int(signal_number)}", str(latest(self.run(name)).content["pid"])], check=True
        )

    def kill_task(self, name, with_run=False):
        """SIGKILL the process in the job that has started the sweep's only run; `with_run`: and the run before it notices."""
        pid = str(latest(self.run(name)).content["pid"])
        status = Path(f"/proc/{pid}/status").read_text()
        (parent,) = [line.split()[1] for line in status.splitlines() if line.startswith("PPid:")]
        subprocess.run(["kill", "-KILL", parent, *([pid] if with_run else [])], check=True)

    def rows(self, name):
        return sweep.load(self.results / name).to_pylist()

    def science(self, name):
        return science(self.rows(name))

    def log(self, name):
        """What the jobs of a sweep have printed, without the output of their runs."""
        return "".join(path.read_text() for path in sorted(self.work.paths(name).arrays.glob("*/*_log.out")))
