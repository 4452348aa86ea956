"""Independent random streams for the parts of a run, all derived from its seed."""

import hashlib
import random
from typing import Any

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose.

    The pruner is never part of the purpose of initial weights and batch order, so that for one task and seed every pruner
    starts from the same weights and sees the same batches.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Seed all generators of this process for one purpose: `seed_python`, and torch's."""
    torch.manual_seed(derive(seed, *purpose))
    seed_python(seed, *purpose)


def seed_python(seed: int, *purpose: str | int) -> None:
    """Seed `random` and NumPy's global generator for one purpose.

    Nothing in this project draws from them; custom tasks and pruners may. A forked process inherits their states, and a new one
    takes them from the system.
    """
    random.seed(derive(seed, *purpose, "random"))
    np.random.seed(derive(seed, *purpose, "numpy") % 2**32)


def seed_for_data(task: str) -> None:
    """Seed all generators before the data of a task is prepared: with the same numbers in every run and every launch."""
    seed_everything(0, "data", task)


def random_state(device: str) -> dict[str, Any]:
    """The states of the generators that training may draw from, for a checkpoint: tensors, numbers, text, and tuples of them."""
    state: dict[str, Any] = {"rng": torch.get_rng_state(), "python_rng": random.getstate()}
    name, keys, *rest = np.random.get_state()
    state["numpy_rng"] = (name, torch.from_numpy(np.asarray(keys, np.int64)), *rest)
    return state | {"cuda_rng": torch.cuda.get_rng_state()} if device == "cuda" else state


def set_random_state(device: str, state: dict[str, Any]) -> None:
    """Put back what `random_state` gave. Checkpoints of older versions have torch's states alone."""
    torch.set_rng_state(state["rng"])
    if device == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"])
    if "python_rng" in state:
        random.setstate(state["python_rng"])
        name, keys, *rest = state["numpy_rng"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
