"""`KEY=VALUE` on the command line: what `--set` sets, and the runs that `--only` leaves."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sweep.config.yaml_values import InvalidYaml, load_yaml
from sweep.core.errors import UsageError, cut, nearest
from sweep.store.run_record import RunRecord

_COMMA = re.compile(r",(?![^\[]*\])")
_SHOWN = 8
"""Values that a message lists."""


def split_pair(option: str, text: str) -> tuple[str, str]:
    """Key and value of `text`, which was given to `option`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{option} {text}: write {option} KEY=VALUE")
    return key.strip(), value


def parse_value(text: str) -> Any:
    """A value of the command line, read as in a grid: `3`, `0.5`, `[0.9, 0.99]`, `true`, `null`, text."""
    try:
        return load_yaml(text)
    except InvalidYaml as error:
        raise UsageError(f"value {cut(text)!r} is not valid YAML ({error}); quote it if it is text") from None


def parse_only(texts: Iterable[str]) -> dict[str, list[str]]:
    """The values for each key of `--only`, which may be given several times: `["task=toy,seed=0", "seed=1"]`.

    A comma in brackets is part of a value: `betas=[0.9,0.99]`.
    """
    wanted: dict[str, list[str]] = {}
    for pair in (pair for text in texts for pair in _COMMA.split(text)):
        key, value = split_pair("--only", pair)
        wanted.setdefault(key, []).append(value)
    return wanted


def select_runs(runs: Iterable[RunRecord], only: Mapping[str, Sequence[str]], where: str) -> set[str]:
    """Ids of the runs whose field or option has one of the values that `only` has for it; at least one.

    An option that one task has is known, and the runs of other tasks have null there.

    Args:
        runs: as in a sweep's list.
        only: as `parse_only` gives it. Values are compared as text: `1.0` is `1`, and `1e-2` is `0.01`.
        where: what the runs are of, for messages.

    Raises:
        UsageError: a key or a value that no run has, a value that is not YAML, or no run with all of them.
    """
    fields = {run.id: dict(run.options) | run.to_json() for run in runs}
    known = {key for run in fields.values() for key in run}
    for key in only:
        if key not in known:
            raise UsageError(f"--only: unknown field {key!r}{nearest(key, known)}")
    wanted = {key: {_as_text(parse_value(value)): value for value in values} for key, values in only.items()}
    for key, values in wanted.items():
        there = {_as_text(run.get(key)): None for run in fields.values()}
        for text, value in values.items():
            if text not in there:
                several = ", ".join(list(there)[:_SHOWN]) + (", .." if len(there) > _SHOWN else "")
                raise UsageError(
                    f"--only {key}={value}: no run of {where} has that{nearest(text, there)}; there is {several}"
                )
    chosen = {
        run_id
        for run_id, run in fields.items()
        if all(_as_text(run.get(key)) in values for key, values in wanted.items())
    }
    if not chosen:
        together = ",".join(f"{key}={value}" for key, values in only.items() for value in values)
        raise UsageError(f"--only {together}: no run of {where} has all of these; leave one out")
    return chosen


def _as_text(value: Any) -> str:
    """One text for each value, as in a grid: numbers in full, a whole one without a point."""
    if isinstance(value, str):
        with suppress(ValueError):  # to YAML 1.1 a number without a point, 1e-2, is text
            value = float(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)
