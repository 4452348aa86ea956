"""Independent random streams for the parts of a run, all derived from its seed; and the global generators."""

import hashlib
import random

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose.

    The pruner is never part of the purpose of initial weights and batch order, so that for one task and seed every pruner
    starts from the same weights and sees the same batches.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def seed_for_data(task: str) -> None:
    """Seed the global generators before the data of a task is prepared: with the same numbers in every run and every launch."""
    seed_globals(0, f"data of {task}")


def seed_globals(seed: int, purpose: str) -> None:
    """Seed the global generators of torch (all devices), NumPy and Python for a part of a run.

    The project itself draws from torch's alone; a plug-in may draw from any. A run is forked from a process that others are
    forked from, too, so without this all would draw the same.
    """
    torch.manual_seed(derive(seed, purpose))
    np.random.seed(derive(seed, purpose, "numpy") % 2**32)
    random.seed(derive(seed, purpose, "python"))
