"""Random numbers that leave no trace."""

from contextlib import AbstractContextManager

import torch
from torch.random import fork_rng


def random_state_kept() -> AbstractContextManager[None]:
    """A context after which the global random state of the CPU and of every CUDA device in use is as before."""
    return fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_initialized() else [])
