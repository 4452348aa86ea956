"""Independent random streams for the parts of a run, all derived from its seed."""

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose.

    The pruner is never part of the purpose of initial weights and batch order, so that for one task and seed every pruner
    starts from the same weights and sees the same batches.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
