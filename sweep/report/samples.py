"""Reading the sample translations that runs of translation tasks keep."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.core.errors import StorageError, summarise_exception
from sweep.store.archive import archived_samples
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
    problems: list[str] = []
    archived: dict[str, Any] = {}
    try:
        archived = archived_samples(sweep, rows[0]["task"])
    except StorageError as error:
        problems.append(str(error))
    first = min(row["seed"] for row in rows)
    for row in rows:
        if row["seed"] != first or row["bleu_paper"] is None:
            continue
        run_id, path = row["run_id"], sweep.run(row["run_id"]).samples
        try:
            found[run_id] = _checked(archived[run_id] if run_id in archived else _read(path))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems.append(f"{path}: cannot be read ({summarise_exception(error)})")
    return found, problems


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _checked(samples: Any) -> Samples:
    if not samples or not isinstance(samples, list) or not all(map(_is_sample, samples)):
        raise ValueError(f"not a list of {', '.join(_TEXTS)}")
    return samples


def _is_sample(sample: object) -> bool:
    return isinstance(sample, dict) and all(isinstance(sample.get(name), str) for name in _TEXTS)
