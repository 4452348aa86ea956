"""Reading the sample translations that runs of translation tasks keep."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.core.errors import in_one_line
from sweep.store.layout import SweepPaths

Samples = Sequence[Mapping[str, str]]

_TEXTS = ("source", "reference", "output")


def read_samples(
    sweep: SweepPaths, rows: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Samples], list[str]]:
    """Read the samples of the translation runs among `rows` of one task, those of the first seed.

    Returns:
        The samples by run id, and a line for each file that is damaged.
    """
    found: dict[str, Samples] = {}
    problems = []
    first = min(row["seed"] for row in rows)
    for row in rows:
        if row["seed"] != first or row["bleu_paper"] is None:
            continue
        path = sweep.run(row["run_id"]).samples
        try:
            found[row["run_id"]] = _read(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems.append(f"{path}: cannot be read ({in_one_line(error)})")
    return found, problems


def _read(path: Path) -> Samples:
    samples = json.loads(path.read_text(encoding="utf-8"))
    if not samples or not isinstance(samples, list) or not all(map(_is_sample, samples)):
        raise ValueError(f"not a list of {', '.join(_TEXTS)}")
    return samples


def _is_sample(sample: object) -> bool:
    return isinstance(sample, dict) and all(isinstance(sample.get(name), str) for name in _TEXTS)
