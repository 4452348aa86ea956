"""Commands as a user types them, in a results directory of the test's own."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from support.command import ENTRIES, ROOT, SharedForkServer, parent_of_runs, plugins_forgotten, run_here

from sweep.store.layout import SweepPaths
from sweep.store.submissions import read_runs

# Columns that may differ between two executions of one specification: time, place, and how often it was begun.
CIRCUMSTANCES = {
    "seconds_data", "seconds_prune", "seconds_train", "seconds_evaluate", "seconds_total", "seconds", "peak_memory_bytes",
    "peak_gpu_memory_bytes",
    "attempt", "resumed", "retries", "retry_history", "started_at", "finished_at", "sweep", "git_sha", "git_dirty",
}  # fmt: skip


@dataclass
class Workplace:
    """A results directory and an environment; calls commands in this process or in one of their own."""

    results: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments, module="sweep.launch"):
        """`python -m MODULE ARGUMENTS`, in this process; its runs are processes all the same."""
        with plugins_forgotten():
            return run_here(ENTRIES[module], *arguments, environment=self._all(), directory=ROOT)

    def sweep(self, *arguments):
        """`sweep ARGUMENTS`, in this process."""
        return self(*arguments, module="sweep.cli")

    def start(self, *arguments, module="sweep.launch", nohup=False, **options):
        """Start `python -m MODULE ARGUMENTS` as a process, in a terminal's foreground or with `nohup`, however the tests run."""

        def signals():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)

        command = [sys.executable, "-m", module, *map(str, arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            command, text=True, env=self._all(), preexec_fn=signals, **({"cwd": ROOT} | streams | options)
        )

    def process(self, *arguments, module="sweep.launch", timeout=120, **options):
        """`python -m MODULE ARGUMENTS` as a process, until its end."""
        process = self.start(*arguments, module=module, **options)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def begin_run(self, run_id, name="grid", **environment):
        """Start one run by hand, as executors do; its process."""
        paths = self.paths(name)
        log = paths.run(run_id).log
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = [run_id, "--sweep", str(paths.directory)]
        with parent_of_runs():
            return SharedForkServer(1).start(arguments, log, self._all() | environment)

    def _all(self):
        return os.environ | {"SWEEP_RESULTS": str(self.results)} | self.environment

    def paths(self, name="grid"):
        return SweepPaths(self.results / name)

    def states(self, name="grid"):
        lines = self.sweep("status", name, "--json").stdout.splitlines()
        return {line["run_id"]: line["state"] for line in map(json.loads, lines)}

    def run_ids(self, name="grid"):
        return list(read_runs(self.paths(name)))


def science(rows):
    """Rows without circumstances, for comparison to the last bit."""
    return [{key: value for key, value in row.items() if key not in CIRCUMSTANCES} for row in rows]
