"""Sweeps of pruning-at-initialisation experiments on NLP models.

>>> import sweep
>>> sweep.load("results/demo")  # a pyarrow.Table with a row for each finished run
>>> sweep.expand(sweep.Grid.load("paper"))  # the runs of a grid

What is listed in `__all__` here and in `sweep.tasks` is the public interface; every other module is private.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.config.grid import Grid, expand
    from sweep.config.run_spec import RunSpec
    from sweep.report.stats import cells, holm, paired_differences, sign_flip_p, smallest_p
    from sweep.store.load import load
    from sweep.tasks import task

__all__ = [
    "Grid",
    "RunSpec",
    "cells",
    "expand",
    "holm",
    "load",
    "paired_differences",
    "sign_flip_p",
    "smallest_p",
    "task",
]

_HOMES = {
    "Grid": "sweep.config.grid",
    "RunSpec": "sweep.config.run_spec",
    "cells": "sweep.report.stats",
    "expand": "sweep.config.grid",
    "holm": "sweep.report.stats",
    "load": "sweep.store.load",
    "paired_differences": "sweep.report.stats",
    "sign_flip_p": "sweep.report.stats",
    "smallest_p": "sweep.report.stats",
    "task": "sweep.tasks",
}


def __getattr__(name: str) -> Any:
    # on demand: the processes of runs and `sweep status` do not pay for what they do not use
    if name == "Run":
        warnings.warn("sweep.Run is now sweep.RunSpec", DeprecationWarning, stacklevel=2)
        name = "RunSpec"
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sweep' has no attribute {name!r}")
