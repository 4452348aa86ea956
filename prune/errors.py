"""The errors of `prune`, all of which a caller can fix."""

from collections.abc import Iterable
from difflib import get_close_matches


class PruneError(ValueError):
    """One line that names the thing, the value and the fix."""


class NoLinearForm(PruneError):
    """The network is not homogeneous and does not offer the linear form that synaptic flow needs."""


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise `PruneError` with the nearest known name unless `name` is one of `known`."""
    names = list(known)
    if name not in names:
        raise PruneError(f"unknown {kind} '{name}'{nearest(name, names)}: known are {', '.join(names)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the known name nearest to `name`, or an empty string."""
    # as `sweep.core.errors.nearest`, which this package, usable without `sweep`, cannot import
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""
