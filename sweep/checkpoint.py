"""Saving a run in the middle, so that going on from there equals never having stopped."""

import os
import time
from pathlib import Path
from typing import Any

import torch

from sweep.files import replacing

FORMAT = 1


class Checkpoint:
    """The checkpoint file of one run: saved atomically, at most once a minute, and only believed by the same run.

    Args:
        path: the file.
        identity: what has to be equal for the saved numbers to be the ones this process would have computed (run, data, torch).
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self.identity = {"format": FORMAT, **identity}
        self.interval = float(os.environ.get("SWEEP_CHECKPOINT_SECONDS", "60"))
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None if nothing was, or if it belongs to another identity.

        A file that cannot be read raises: it was written whole or not at all, so the disk is at fault, not a crash.
        """
        if not self.path.exists():
            return None
        saved = torch.load(self.path, weights_only=True, map_location="cpu")
        return saved["state"] if saved["identity"] == self.identity else None

    def due(self) -> bool:
        """Whether a minute (`SWEEP_CHECKPOINT_SECONDS`) has passed since the last save."""
        return time.monotonic() - self._last >= self.interval

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file with `state`: tensors, numbers, text, and lists and dicts of them."""
        with replacing(self.path) as temporary:
            torch.save({"identity": self.identity, "state": state}, temporary)
        self._last = time.monotonic()

    def delete(self) -> None:
        """Remove the file, once the result is durable."""
        self.path.unlink(missing_ok=True)
