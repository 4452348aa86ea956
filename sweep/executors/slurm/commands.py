"""Slurm's commands: running one, and the limits of the cluster."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sweep.core.errors import ExitCode, SweepError

# Slurm itself waits for MessageTimeout (10 s, or what the site has set) per try
_SECONDS = 60

_JOB = re.compile(r"\d+(_(\d+|\[[^|]*\]))?(\.\w+)?")
"""A job, a task of an array, several tasks, or a step of one."""


class SlurmUnavailable(SweepError):
    """Slurm did not answer, or not what was asked. Says nothing about any job."""

    exit_code = ExitCode.INCOMPLETE


def ask(*command: str) -> str:
    """Standard output of a Slurm command. Raises SlurmUnavailable, in one line, if it fails or takes longer than a minute."""
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
        raise SlurmUnavailable(
            f"{command[0]}: no such command here; use a machine of the cluster, or --local"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmUnavailable(f"{command[0]} did not answer within {_SECONDS} s; try again later") from None
    if done.returncode:
        lines = done.stderr.split("\n") if done.stderr.strip() else [f"exit status {done.returncode}"]
        raise SlurmUnavailable(f"{command[0]}: {' '.join(filter(None, map(str.strip, lines)))[:300]}")
    return done.stdout


def ask_table(header: str, *command: str) -> list[list[str]]:
    """The rows of a table that a Slurm command prints, as lists of cells.

    A site's wrapper or login script may print lines of its own. The header shows that the command itself has answered, and a row
    starts with the id of a job.

    Args:
        header: the table's first line, cells separated by `|`; a row's last cell may contain the separator.
        command: prints it.

    Raises:
        SlurmUnavailable: as `ask`, or there is no such table in the answer.
    """
    lines = ask(*command).splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip().casefold() == header.casefold()), None)
    if start is None:
        found = f"{lines[0][:200]!r}" if lines else "nothing"
        raise SlurmUnavailable(f"{command[0]} did not answer with a table, but {found}; try again later")
    rows = (line.split("|", header.count("|")) for line in lines[start + 1 :])
    return [row for row in rows if len(row) == header.count("|") + 1 and _JOB.fullmatch(row[0])]


def plain_environment() -> dict[str, str]:
    """The environment without what would change the commands: a user's output formats, and the job that this may run in.

    `SLURM_CONF` stays, without which a cluster may not be found.
    """
    removed = ("SQUEUE_", "SACCT_", "SBATCH_", "SLURM_", "SRUN_")
    kept = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
    return {name: value for name, value in os.environ.items() if name in kept or not name.startswith(removed)}


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
        """What `scontrol show config` says. Raises SlurmUnavailable."""
        config = ask("scontrol", "show", "config")
        return cls(_integer(config, "MaxArraySize") - 1, _integer(config, "MaxJobCount"))

    def room(self, count: int) -> int:
        """How many of `count` tasks fit next to the existing jobs; beyond, `sbatch` would hang for minutes and fail."""
        used = len(ask_table("JOBID", "squeue", "-r", "-a", "-t", "all", "-o", "%i"))
        return min(count, max(0, self.jobs - 1 - used))  # the last place stays empty


def _integer(config: str, name: str) -> int:
    found = re.search(rf"^{name}\s*=\s*(\d+)", config, re.MULTILINE)
    if found is None:
        raise SlurmUnavailable(f"scontrol show config does not give {name}")
    return int(found[1])
