"""A Slurm cluster for the tests, on this machine."""

import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "slurm/dev/cluster.sh"
DEADLINE = 180.0


@dataclass
class Cluster:
    directory: Path
    port: int

    @property
    def conf(self) -> Path:
        return self.directory / "slurm.conf"

    def script(self, action: str, *arguments: str) -> None:
        environment = os.environ | {"PORT": str(self.port)}
        # daemons keep what they inherit open: a pipe would never end
        with (self.directory / "script.log").open("a") as log:
            done = subprocess.run(
                [SCRIPT, action, self.directory, *arguments],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=DEADLINE,
            )  # fmt: skip
        assert done.returncode == 0, (self.directory / "script.log").read_text()

    def ask(self, *command: str) -> str:
        environment = os.environ | {"SLURM_CONF": str(self.conf)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def ask_quietly(self, *command: str) -> None:
        """A command that may fail, as when a job has just ended."""
        environment = os.environ | {"SLURM_CONF": str(self.conf)}
        subprocess.run(command, env=environment, capture_output=True, timeout=DEADLINE)

    def controller(self, signal_number: signal.Signals) -> None:
        os.kill(int((self.directory / "run/slurmctld.pid").read_text()), signal_number)

    def jobs(self, token: str = "", states: str = "PD,R,CF,CG,S") -> list[tuple[str, str]]:
        """(job id, state) of every existing task, of one array or of all."""
        only = ["-n", token] if token else []
        lines = self.ask("squeue", "-h", "-r", "-t", states, *only, "-o", "%i %T").splitlines()
        return [tuple(line.split()) for line in lines]


def install(*commands_and_packages: tuple[str, str]) -> None:
    """Install what is missing (Debian, root)."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [package for command, package in commands_and_packages if not shutil.which(command, path=path)]
    if not missing:
        return
    policy = Path("/usr/sbin/policy-rc.d")  # keeps packages from starting services
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=False, env=environment, timeout=600)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, timeout=900)
    finally:
        if ours:
            policy.unlink()


def free_ports() -> int:
    """The first of 200 ports that look free."""
    for base in range(20000 + os.getpid() % 20 * 400, 32000, 400):
        try:
            for port in (base, base + 1, base + 2, base + 3, base + 101, base + 102, base + 103):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
    raise AssertionError("no free ports")
