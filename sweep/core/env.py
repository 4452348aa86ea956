"""What the environment says of how runs are executed, not of what they compute."""

import math
import os
from pathlib import Path
from typing import Any

from sweep.core.errors import UsageError


def source_root() -> Path:
    """The directory that holds the packages `sweep`, `prune` and `models`: a checkout, a copy of one, or site-packages."""
    return Path(__file__).resolve().parents[2]


def checkpoint_seconds() -> float:
    """Least time between two checkpoints of a run: `SWEEP_CHECKPOINT_SECONDS`, else a minute.

    Raises:
        UsageError: it is not a number of seconds.
    """
    text = os.environ.get("SWEEP_CHECKPOINT_SECONDS", "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise UsageError(
            f"SWEEP_CHECKPOINT_SECONDS is {text!r}; set it to a number of seconds, or not at all"
        )
    return seconds


def gpu_share() -> float:
    """The part of a GPU's memory that this process may take: its launcher's `SWEEP_GPU_SHARE`, else all."""
    return float(os.environ.get("SWEEP_GPU_SHARE", "1"))


def slurm_job() -> dict[str, Any] | None:
    """The Slurm job this process is in, or None.

    `slurm_job`, such as `123_4`; `slurm_restart`, how often it was requeued; `slurm_node`, the node's name.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{index}" if array and index else job
    restart, node = int(os.environ.get("SLURM_RESTART_COUNT") or 0), os.environ.get("SLURMD_NODENAME", "")
    return {"slurm_job": name, "slurm_restart": restart, "slurm_node": node}
