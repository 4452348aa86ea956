"""The device that a run computes on: whether it is there, and what makes its numbers repeatable."""

import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.utils.deterministic

from sweep.core.env import gpu_share
from sweep.core.errors import OutOfGpuMemoryError, OutOfMemoryError, UsageError

_NO_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)
"""PyTorch's allocator, the driver while it makes a context, and cuBLAS do not say it alike."""
_NO_HOST_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "std::bad_alloc", "Cannot allocate memory")
_CONTEXT = 0.01
"""Of a GPU's memory, what the CUDA context of a process takes in addition to its tensors."""


def require(name: str) -> None:
    """Raise UsageError unless this torch can compute on `name`, `cpu` or `cuda`.

    The check initialises the driver, after which no process forked from this one can use it: the fork server must not call this.
    """
    if name == "cpu":
        return
    if not torch.backends.cuda.is_built():
        raise UsageError(
            f"device = {name!r}: torch {torch.__version__} is built without CUDA; install a build with it, or set device to cpu"
        )
    if not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        limit = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        raise UsageError(
            f"device = {name!r}: no GPU here that torch {torch.__version__} can use{limit}; "
            "on Slurm give the profile gpus: 1, or set device to cpu"
        )


def use(name: str) -> torch.device:
    """Prepare this process, which has not used a GPU yet, to compute on `name`; the same numbers come again, bit for bit.

    On a GPU an operation of PyTorch's without a deterministic algorithm raises, and float32 products are in float32, not in TF32.

    Raises:
        UsageError: as `require`.
    """
    require(name)
    if name == "cuda":
        # read at the first product; without it cuBLAS may choose another order of summation the next time
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
        # a guard against programs that read memory they have not written, at the price of a kernel for each new tensor
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        torch.set_float32_matmul_precision("highest")
        if (share := gpu_share()) < 1:  # the tensors of a greedy run must not end its neighbours
            torch.cuda.set_per_process_memory_fraction(max(share - _CONTEXT, _CONTEXT))
    return torch.device(name)


def random_state(device: str) -> dict[str, Any]:
    """The state of the global generators, torch's, NumPy's and Python's, for a checkpoint."""
    of_numpy = np.random.get_state(legacy=False)
    assert isinstance(of_numpy, dict)
    words = torch.from_numpy(of_numpy["state"]["key"].astype("int64"))
    state = {
        "rng": torch.get_rng_state(),
        "numpy_rng": of_numpy | {"state": {"key": words, "pos": of_numpy["state"]["pos"]}},
        "python_rng": random.getstate(),
    }
    return state | {"cuda_rng": torch.cuda.get_rng_state()} if device == "cuda" else state


def set_random_state(device: str, state: dict[str, Any]) -> None:
    """Put back what `random_state` gave."""
    torch.set_rng_state(state["rng"])
    of_numpy = state["numpy_rng"]
    words = of_numpy["state"]["key"].numpy().astype("uint32")
    np.random.set_state(of_numpy | {"state": of_numpy["state"] | {"key": words}})
    random.setstate(state["python_rng"])
    if device == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"])


def gpu_columns(device: str) -> dict[str, Any]:
    """What a row says of the GPU: its name, and the most that tensors took of it in this process; None on the CPU."""
    on_gpu = device == "cuda"
    return {
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
    }


@contextmanager
def explain_out_of_memory(batch_size: int) -> Iterator[None]:
    """Raise OutOfGpuMemoryError or OutOfMemoryError, one line with the fix, where a GPU or this process runs out of memory.

    Under a limit such as `ulimit -v` an allocation fails; under a cgroup's the process is killed, which its parent notices.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        asked = re.search(r"[Tt]ried to allocate [\d.]+ \w+", str(error))
        detail = f" (t{asked[0][1:]})" if asked else ""
        if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_HOST_MEMORY):
            raise OutOfMemoryError(
                f"out of memory{detail}: raise the limit of the process (`ulimit -v`), launch with fewer --slots, or lower "
                f"batch_size (now {batch_size})"
            ) from error
        if not any(words in str(error) for words in _NO_MEMORY):
            raise
        raise OutOfGpuMemoryError(
            f"out of GPU memory{detail}: other runs may hold it; launch with fewer --slots, a smaller --pack "
            f"or a smaller batch_size (now {batch_size})"
        ) from error
