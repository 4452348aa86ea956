"""How much Slurm takes at a time."""

import re
from dataclasses import dataclass

from sweep.slurm.commands import NoAnswer, ask


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
