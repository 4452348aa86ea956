"""Asking Slurm."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from sweep.errors import SweepError
from sweep.exit_codes import ExitCode

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
