"""Texts as a task finds them, before they are tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sweep.core.errors import UsageError

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
                digest.update((" ".join(map(str, (split, *row))) + "\n").encode())
        return cls(digest.hexdigest(), verified=True, rows=lambda: rows)


def checked(corpus: Corpus[RowT], task: str) -> Corpus[RowT]:
    """What `corpus()` of a task gave, which is None where a `return` was forgotten.

    Raises:
        UsageError: it is not a Corpus.
    """
    if not isinstance(corpus, Corpus):
        raise UsageError(f"task {task!r}: corpus() returned {type(corpus).__name__}; return a Corpus")
    return corpus
