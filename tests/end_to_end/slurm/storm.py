"""A sweep on a real Slurm under fault injection, and whether its results are complete and correct afterwards.

    PYTHONPATH=.:tests python tests/end_to_end/slurm/storm.py [--seed 1] [--runs 300] [--faults 60] [--each 5] [--log FILE]

Needs root and Debian's Slurm, and starts a cluster. The faults are chosen by the seed, those that have been rare
so far before the others; a launch is repeated all the while, as a user would. In the end every run has to be complete exactly
once, with the numbers of a sweep on this machine that nothing disturbed. Exit code 0 if so.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from support.cluster import Cluster, free_ports, install
from support.onslurm import OnSlurm
from support.waiting import wait_for

from sweep.store.attempts import claims

NAME = "storm"
PACK = 5


class Storm:
    """The sweep, its cluster, and the faults. A fault returns what it did, or None if it was not possible."""

    def __init__(self, directory: Path, seed: int, runs: int) -> None:
        self.chance = random.Random(seed)
        self.cluster = Cluster(directory / "cluster", free_ports())
        self.cluster.directory.mkdir()
        self.disk = directory / "disk"
        self.disk.mkdir()
        self.sweeps: OnSlurm
        self.grid = {
            "tasks": {"toy": {"epochs": 6}},
            "pruners": ["random", "grasp", "snip"],
            "compressions": [1],
            "seeds": f"0-{runs // 3 - 1}",
        }
        self.launcher: subprocess.Popen[str] | None = None
        self.faults: dict[str, Callable[[], str | None]] = {
            "kill a run": self.kill_a_run,
            "kill a job": self.kill_a_job,
            "kill slurmd": self.kill_slurmd,
            "kill slurmctld": self.kill_slurmctld,
            "kill the launcher": self.kill_the_launcher,
            "requeue": self.requeue,
            "preempt": self.preempt,
            "drain a node": self.drain,
            "stop slurmctld": self.stop_slurmctld,
            "fill the disk": self.fill_the_disk,
            "spoil a file": self.spoil_a_file,
        }

    def start(self) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500m", "tmpfs", self.disk], check=True)
        self.sweeps = OnSlurm(self.cluster, self.disk / "results", self.disk / "cache")
        self.cluster.script("start")

    def stop(self) -> None:
        if self.launcher:
            self.launcher.kill()
        self.cluster.script("stop")
        subprocess.run(["umount", "-l", self.disk], check=False)

    def launch(self) -> None:
        """Repeat the launch command, unless the last one is still running."""
        if self.launcher is None or self.launcher.poll() is not None:
            path = self.sweeps.file(f"{NAME}.yaml", self.grid)
            command = ["--grid", path, "--name", NAME, "--pack", PACK, "--no-smoke", "--retry", "failed"]
            command += ["--profile", self.sweeps.file("low.yaml", {"partition": "main,low", "time": 5})]
            self.launcher = self.sweeps.work.start(
                *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

    def live_runs(self) -> list[int]:
        paths = self.sweeps.work.paths(NAME)
        found = []
        for run_id in os.listdir(paths.directory / "runs") if (paths.directory / "runs").is_dir() else []:
            last = claims(paths.run(run_id))[-1:]
            if last and not last[0].outcome and Path(f"/proc/{last[0].content['pid']}").exists():
                found.append(last[0].content["pid"])
        return sorted(found)

    def running_jobs(self) -> list[str]:
        return [job for job, _ in self.cluster.jobs(states="R")]

    def kill_a_run(self) -> str | None:
        runs = self.live_runs()
        if not runs:
            return None
        pid = self.chance.choice(runs)
        return _kill(pid)

    def kill_a_job(self) -> str | None:
        found = subprocess.run(
            ["pgrep", "-f", "sweep.executors.slurm.on_node.entrypoint"], capture_output=True, text=True
        ).stdout
        pids = [pid for pid in map(int, found.split()) if str(self.disk) in _command(pid)]
        return _kill(self.chance.choice(pids)) if pids else None

    def kill_slurmd(self) -> str:
        node = f"node{self.chance.randint(1, 3)}"
        self.cluster.script("node-kill", node)
        time.sleep(self.chance.uniform(0, 4))
        self.cluster.script("node-start", node)
        return node

    def kill_slurmctld(self) -> str:
        self.cluster.script("controller-kill")
        time.sleep(self.chance.uniform(0, 4))
        self.cluster.script("controller-start")
        return "and started it again"

    def kill_the_launcher(self) -> str:
        self.launch()
        assert self.launcher
        time.sleep(self.chance.uniform(0.5, 8))
        self.launcher.kill()
        self.launcher.wait()
        return f"pid {self.launcher.pid}"

    def requeue(self) -> str | None:
        jobs = self.running_jobs()
        if not jobs:
            return None
        job = self.chance.choice(jobs)
        self.cluster.ask_quietly("scontrol", "requeue", job)
        return job

    def preempt(self) -> str | None:
        if not self.cluster.jobs(states="R"):
            return None
        self.cluster.ask_quietly(
            "srun", "-p", "high", "--exclusive", "-N1", "-w", "node3", "-t1", "sleep", "2"
        )
        return "node3"

    def drain(self) -> str:
        node = f"node{self.chance.randint(1, 3)}"
        self.cluster.ask_quietly("scontrol", "update", f"nodename={node}", "state=drain", "reason=storm")
        time.sleep(self.chance.uniform(1, 4))
        self.cluster.ask_quietly("scontrol", "update", f"nodename={node}", "state=resume")
        return node

    def resume_nodes(self) -> None:
        """What an operator does after a storm: resume nodes that Slurm has drained, or has not resumed."""
        for node in ("node1", "node2", "node3"):
            self.cluster.ask_quietly("scontrol", "update", f"nodename={node}", "state=resume")

    def stop_slurmctld(self) -> str:
        self.cluster.controller(signal.SIGSTOP)
        seconds = self.chance.uniform(3, 14)
        time.sleep(seconds)
        self.cluster.controller(signal.SIGCONT)
        return f"for {seconds:.0f} s"

    def fill_the_disk(self) -> str:
        filler = self.disk / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
            except OSError:
                pass
        time.sleep(self.chance.uniform(1, 4))
        filler.unlink()
        return "and freed it"

    def spoil_a_file(self) -> str | None:
        """Cut a checkpoint or a half-written file short, as a power failure can."""
        runs = self.sweeps.work.paths(NAME).directory / "runs"
        files = sorted([*runs.glob("*/checkpoint.pt"), *runs.glob("*/.*tmp*")])
        if not files:
            return None
        file = self.chance.choice(files)
        try:
            os.truncate(file, file.stat().st_size // 2)
        except FileNotFoundError:
            return None
        return f"{file.parent.name}/{file.name}"


def _kill(pid: int) -> str | None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return f"pid {pid}"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=300, help="a multiple of 3")
    parser.add_argument("--faults", type=int, default=60, help="at least so many")
    parser.add_argument("--each", type=int, default=5, help="of each kind at least so many")
    parser.add_argument("--log", type=Path)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that `kill` leaves no cluster behind
    lines: list[str] = []
    began = time.monotonic()

    def say(line: str) -> None:
        lines.append(f"{time.monotonic() - began:6.0f} s  {line}")
        print(lines[-1], flush=True)
        if arguments.log:
            arguments.log.write_text("\n".join(lines) + "\n")

    install(("munged", "munge"), ("slurmctld", "slurmctld"), ("slurmd", "slurmd"), ("sbatch", "slurm-client"))
    directory = Path(tempfile.mkdtemp(prefix="sweep-storm-", dir="/tmp"))
    directory.chmod(0o755)
    storm = Storm(directory, arguments.seed, arguments.runs)
    try:
        storm.start()
        return rage(storm, arguments, say)
    finally:
        storm.stop()
        shutil.rmtree(directory, ignore_errors=True)


def rage(storm: Storm, arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """The faults, the rest of the sweep without faults, and the comparison."""
    say(f"seed {arguments.seed}: {arguments.runs} runs, {PACK} to a job")
    struck: Counter[str] = Counter()
    storm.launch()
    wait_for("the first run", storm.live_runs, 600)
    while sum(struck.values()) < arguments.faults or any(
        struck[kind] < arguments.each for kind in storm.faults
    ):
        fewest = min(struck[kind] for kind in storm.faults)
        kind = storm.chance.choice([kind for kind in storm.faults if struck[kind] <= fewest + 1])
        outcome = storm.faults[kind]()
        if outcome is not None:
            struck[kind] += 1
            say(f"{kind}: {outcome}")
        storm.launch()
        time.sleep(storm.chance.uniform(0.5, 3))
    say(
        f"{sum(struck.values())} faults; now calm: "
        + ", ".join(f"{kind} {n}" for kind, n in sorted(struck.items()))
    )
    while storm.sweeps.states(NAME) != ["done"] * arguments.runs:
        storm.resume_nodes()
        storm.launch()
        assert storm.launcher
        storm.launcher.wait()
        say(", ".join(f"{n} {state}" for state, n in sorted(Counter(storm.sweeps.states(NAME)).items())))
        time.sleep(15)
    rows = storm.sweeps.rows(NAME)
    say(f"complete: {len(rows)} rows, {len({row['run_id'] for row in rows})} runs")
    say(
        f"attempts: {sum(row['attempt'] for row in rows)}, resumed {sum(row['resumed'] for row in rows)} times"
    )
    storm.sweeps.launch("calm", storm.grid, "--local")
    same = storm.sweeps.science(NAME) == storm.sweeps.science("calm")
    say("the numbers of the calm sweep, bit for bit" if same else "OTHER NUMBERS than the calm sweep")
    return 0 if same and len(rows) == arguments.runs else 1


if __name__ == "__main__":
    sys.exit(main())
