"""Waiting for something that other processes do, as long as it takes on a busy machine."""

import time
from collections.abc import Callable

SECONDS = 180.0


def wait_for(what: str, condition: Callable[[], object], seconds: float = SECONDS, pause: float = 0.05):
    """Poll until `condition` gives something true, which is returned."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} has not come about in {seconds:.0f} s"
        time.sleep(pause)
    return found
