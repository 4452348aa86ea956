"""Sweeps of pruning-at-initialisation experiments on NLP models.

>>> import sweep
>>> sweep.load("results/demo")  # a pyarrow.Table with a row for each finished run
>>> sweep.expand(sweep.Grid.load("paper"))  # the runs of a grid
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.grid import Grid, expand
    from sweep.loading import load
    from sweep.spec import Run
    from sweep.tasks import task

__all__ = ["Grid", "Run", "expand", "load", "task"]

_HOMES = {
    "Grid": "sweep.grid",
    "expand": "sweep.grid",
    "Run": "sweep.spec",
    "load": "sweep.loading",
    "task": "sweep.tasks",
}


def __getattr__(name: str) -> Any:
    # On demand: the processes of runs and `sweep status` should not pay for what they do not use.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sweep' has no attribute {name!r}")
