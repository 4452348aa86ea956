"""Where data comes from, and the shape in which tasks hand it out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from sweep.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, device

    Batch = tuple[tuple[Tensor, ...], Tensor]
    """`(inputs, target)`, used as `loss(model(*inputs), target)`."""


@dataclass(frozen=True)
class DataSource:
    """Where a task may take its data from. Not part of a run's identity: it never changes a run's numbers.

    Attributes:
        data_dir: directory with local copies; None: download.
        allow_unverified: take local files whose hash is not the published one.
        cache: directory for downloads and token ids.
    """

    data_dir: Path | None
    allow_unverified: bool
    cache: Path

    @classmethod
    def from_env(
        cls,
        data_dir: Path | str | None = None,
        allow_unverified: bool = False,
        cache: Path | str | None = None,
    ) -> DataSource:
        """Fill in what is not given: `SWEEP_DATA`, `SWEEP_CACHE`, else the user's cache directory.

        Raises:
            UsageError: no cache directory is named and there is no home directory.
        """
        local = data_dir or os.environ.get("SWEEP_DATA") or None
        return cls(
            data_dir=Path(local).expanduser().absolute() if local else None,
            allow_unverified=allow_unverified,
            cache=Path(cache or os.environ.get("SWEEP_CACHE") or _user_cache()).expanduser().absolute(),
        )

    @property
    def downloads(self) -> Path:
        """Directory of downloaded files."""
        return self.cache / "downloads"

    @property
    def tokens(self) -> Path:
        """Directory of token caches."""
        return self.cache / "tokens"


def _user_cache() -> Path:
    import pooch

    try:
        return Path(pooch.os_cache("prunesweep")).expanduser()
    except RuntimeError as error:
        raise UsageError(
            "no home directory to keep downloads and token ids in; set SWEEP_CACHE to a directory"
        ) from error


class Split(Protocol):
    """Rows of examples."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def batches(self, batch_size: int, order: Tensor | None = None) -> Sequence[Batch]:
        """The rows as batches, each built when it is indexed.

        Args:
            batch_size: rows in a batch; the last one may have fewer.
            order: row indices, int64, on the CPU, a permutation or a subset; None: all rows as in the file.
        """
        ...

    def to(self, device: device) -> Self:
        """The same rows, whose batches are created on `device`. Called on a GPU only."""
        ...


@dataclass(frozen=True)
class Dataset:
    """What a task's `prepare` gives.

    Attributes:
        train, test: the examples.
        validation: what to evaluate on after each epoch; None: `test`.
        data_hash: identifies the content of all files that the examples come from.
        data_verified: whether that content is the published one.
        info: what the task's model needs to know of the data, e.g. `vocab_size`.
    """

    train: Split
    test: Split
    data_hash: str
    data_verified: bool
    validation: Split | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: device) -> Dataset:
        """This data with its rows on `device`.

        Raises:
            UsageError: they cannot be put there.
        """
        if device.type == "cpu":
            return self
        validation = None if self.validation is None else _moved(self.validation, device)
        return replace(
            self, train=_moved(self.train, device), test=_moved(self.test, device), validation=validation
        )

    @property
    def train_rows(self) -> int:
        return len(self.train)

    @property
    def test_rows(self) -> int:
        return len(self.test)


def _moved(split: Split, device: device) -> Split:
    if not hasattr(split, "to"):  # a custom task may never have needed it
        raise UsageError(
            f"rows that are a {type(split).__name__} cannot be on a GPU: give it a method to(device), or set device to cpu"
        )
    return split.to(device)
