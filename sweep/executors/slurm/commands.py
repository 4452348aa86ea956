"""Asking Slurm."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sweep.core.errors import ExitCode, SweepError

# Slurm's own patience is MessageTimeout (10 s, or what the site has set) a try
_SECONDS = 60


class NoAnswer(SweepError):
    """Slurm did not answer, or not what was asked. Says nothing about any job."""

    exit_code = ExitCode.INCOMPLETE


def ask(*command: str) -> str:
    """Standard output of a Slurm command. Raises NoAnswer, in one line, if it fails or takes longer than a minute."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            env=plain_environment(),
        )
    except FileNotFoundError:
        raise NoAnswer(
            f"{command[0]}: no such command here; use a machine of the cluster, or --local"
        ) from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]} gave no answer within {_SECONDS} s; try again later") from None
    if done.returncode:
        lines = done.stderr.split("\n") if done.stderr.strip() else [f"exit status {done.returncode}"]
        raise NoAnswer(f"{command[0]}: {' '.join(filter(None, map(str.strip, lines)))[:300]}")
    return done.stdout


def plain_environment() -> dict[str, str]:
    """The environment without what would bend commands: a user's output formats, and the job that this may be inside of.

    `SLURM_CONF` stays, without which a cluster may not be found.
    """
    bent = ("SQUEUE_", "SACCT_", "SBATCH_", "SLURM_", "SRUN_")
    kept = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
    return {name: value for name, value in os.environ.items() if name in kept or not name.startswith(bent)}


@contextmanager
def in_plain_environment() -> Iterator[None]:
    """`plain_environment` as this process's, for libraries that start commands themselves."""
    before = dict(os.environ)
    removed = before.keys() - plain_environment().keys()
    for name in removed:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update({name: before[name] for name in removed})


@dataclass(frozen=True)
class Limits:
    """Slurm's defaults, where it was not asked."""

    array_size: int = 1000
    jobs: int = 10_000

    @classmethod
    def ask(cls) -> "Limits":
        """What `scontrol show config` says. Raises NoAnswer."""
        told = ask("scontrol", "show", "config")
        return cls(_number(told, "MaxArraySize") - 1, _number(told, "MaxJobCount"))

    def room(self, count: int) -> int:
        """How many of `count` tasks fit beside the jobs that there are; beyond, `sbatch` would hang for minutes and fail."""
        used = ask("squeue", "-h", "-r", "-a", "-t", "all", "-o", "%i").count("\n")
        return min(count, max(0, self.jobs - 1 - used))  # the last place stays empty


def _number(told: str, name: str) -> int:
    found = re.search(rf"^{name}\s*=\s*(\d+)", told, re.MULTILINE)
    if found is None:
        raise NoAnswer(f"scontrol show config says nothing of {name}")
    return int(found[1])
