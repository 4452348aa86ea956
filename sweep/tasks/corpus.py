"""Texts as a task finds them, before they are tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sweep.core.errors import DataError, UsageError, nearest

SPLITS = ("train", "validation", "test")
CHECKS = 2
"""Version of what is checked before token ids are kept; those of another version are made again. 2: labels, splits, marks."""

RowT = TypeVar("RowT", bound=tuple[Any, ...])


@dataclass(frozen=True)
class Corpus(Generic[RowT]):
    """Rows of texts.

    Attributes:
        data_hash: identifies the content.
        verified: whether the content is the published one.
        rows: returns the rows of each split; called only when their token ids are not in the cache.
    """

    data_hash: str
    verified: bool
    rows: Callable[[], Mapping[str, Sequence[RowT]]]

    @classmethod
    def of(cls, rows: Mapping[str, Sequence[RowT]]) -> Corpus[RowT]:
        """A corpus that is at hand, such as one that is generated: it is its own publication, and its hash that of its rows."""
        digest = hashlib.sha256()
        for split in rows:
            for row in rows[split]:
                digest.update(_line(split, row).encode())
            if not rows[split]:
                digest.update(f"{json.dumps([split])}\n".encode())
        return cls(digest.hexdigest(), verified=True, rows=lambda: rows)


def _line(split: str, row: tuple[Any, ...]) -> str:
    """A row as a line that no other row has."""
    *before, last = row
    if all(type(value) is int for value in before) and "\n" not in str(last):
        return " ".join(map(str, (split, *row))) + "\n"  # what hashes have been of since the first version
    return json.dumps([split, *row], default=str) + "\n"


def require_splits(rows: Mapping[str, Sequence[RowT]], required: Collection[str], task: str) -> None:
    """Raise DataError unless `rows` has the `required` splits, and no other than `SPLITS`: its rows would be for nothing."""
    for name in rows:
        if name not in SPLITS:
            raise DataError(
                f"task {task!r}: unknown split {name!r}{nearest(name, SPLITS)}; there are {', '.join(SPLITS)}"
            )
    for name in required:
        if name not in rows:
            raise DataError(f"task {task!r} has no {name} rows; give its corpus the split {name!r}")


def checked(corpus: Corpus[RowT], task: str) -> Corpus[RowT]:
    """What `corpus()` of a task gave, which is None where a `return` was forgotten.

    Raises:
        UsageError: it is not a Corpus.
    """
    if not isinstance(corpus, Corpus):
        raise UsageError(f"task {task!r}: corpus() returned {type(corpus).__name__}; return a Corpus")
    return corpus
