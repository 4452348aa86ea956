"""What the environment says of how runs are executed, not of what they compute."""

import math
import os

from sweep.errors import UsageError


def checkpoint_seconds() -> float:
    """Least time between two checkpoints of a run: `SWEEP_CHECKPOINT_SECONDS`, else a minute.

    Raises:
        UsageError: it is no number of seconds.
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
