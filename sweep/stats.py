"""Deprecated: the old place of what `sweep` has now; gone in version 0.3."""

import warnings

from sweep.report.stats import *  # noqa: F403

warnings.warn("sweep.stats has moved; import from sweep", DeprecationWarning, stacklevel=2)
