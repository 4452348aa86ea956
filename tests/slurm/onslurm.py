"""Commands on a cluster, in a results folder of the test's own."""

import json
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from cluster import Cluster, wait_for
from workplace import Workplace, science

import sweep
from sweep.attempt import latest
from sweep.slurm.manifest import arrays


@dataclass
class OnSlurm:
    cluster: Cluster
    results: Path
    cache: Path
    checkpoint_seconds: float = 0.2
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.results.mkdir(parents=True, exist_ok=True)
        self.work = Workplace(
            self.results,
            {
                "SLURM_CONF": str(self.cluster.conf),
                "SWEEP_CACHE": str(self.cache),
                "SWEEP_CHECKPOINT_SECONDS": str(self.checkpoint_seconds),
            }
            | self.environment,
        )

    def file(self, name, content):
        path = self.results / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    def launch(self, name, grid, *options, code=0, profile=None, **more):
        """The launch command, which has to end with `code`; returns what it printed."""
        command = ["--grid", self.file(f"{name}.yaml", grid), "--name", name, *options]
        if profile is not None:
            command += ["--profile", self.file(f"{name}.profile.yaml", profile)]
        done = self.work(*command, timeout=600, **more)
        assert done.returncode == code, f"exit code {done.returncode}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def status(self, name):
        """The lines of `sweep status --json` by run."""
        done = self.work.sweep("status", name, "--json", timeout=300)
        return {line["run_id"]: line for line in map(json.loads, done.stdout.splitlines())}

    def states(self, name):
        return sorted(line["state"] for line in self.status(name).values())

    def tokens(self, name):
        return [manifest.token for _, manifest in arrays(self.work.paths(name))]

    def active(self, name):
        """Slurm's jobs of the sweep that wait or run."""
        tokens = self.tokens(name)
        return self.cluster.jobs(",".join(tokens)) if tokens else []

    def run(self, name):
        """Paths of the sweep's only run."""
        (run_id,) = self.work.run_ids(name)
        return self.work.paths(name).run(run_id)

    def wait_for_checkpoint(self, name):
        wait_for(f"a checkpoint of {name}", lambda: self.run(name).checkpoint.exists(), 600)

    def wait_until_gone(self, name):
        wait_for(f"the end of the jobs of {name}", lambda: not self.active(name), 900)

    def kill_run(self, name, number=signal.SIGKILL):
        """Send a signal to the process that executes the sweep's only run."""
        subprocess.run(["kill", f"-{int(number)}", str(latest(self.run(name)).content["pid"])], check=True)

    def rows(self, name):
        return sweep.load(self.results / name).to_pylist()

    def science(self, name):
        return science(self.rows(name))

    def log(self, name):
        """What the jobs of a sweep have printed, besides their runs."""
        return "".join(path.read_text() for path in sorted(self.work.paths(name).arrays.glob("*/*_log.out")))
