"""Deprecated: the old place of what `sweep.tasks` has now; gone in version 0.3."""

import warnings

from sweep.tasks.metrics.classification import *  # noqa: F403

warnings.warn("sweep.classification has moved; import from sweep.tasks", DeprecationWarning, stacklevel=2)
