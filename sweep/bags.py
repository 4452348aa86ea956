"""Labelled texts as bags of token ids, and batches of them without a Python loop over texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

if TYPE_CHECKING:
    from sweep.data import Batch


def to_table(
    ids: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> pa.RecordBatch:
    """A table with a row for each text: `tokens`, large_list<int32>, and `label`, int64."""
    tokens = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(ids))
    return pa.record_batch({"tokens": tokens, "label": pa.array(labels)})


@dataclass(frozen=True)
class BagSplit:
    """Labelled texts: a `Split` whose batches are `((tokens, offsets), target)`, the input of an embedding bag.

    Attributes:
        ids: token ids of all texts end to end, int32 `[total]`.
        offsets: int64 `[n + 1]`; text i is `ids[offsets[i]:offsets[i + 1]]`.
        labels: int64 `[n]`.
    """

    ids: Tensor
    offsets: Tensor
    labels: Tensor

    @classmethod
    def from_table(cls, table: pa.RecordBatch) -> BagSplit:
        """The texts of a `to_table` table, sharing its memory. Read-only memory must not be written through the tensors."""
        tokens = table.column("tokens")
        return cls(
            *(torch.from_dlpack(array) for array in (tokens.values, tokens.offsets, table.column("label")))
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int, order: Tensor | None = None) -> BagBatches:
        """See `sweep.data.Split.batches`. Tokens, offsets and target are int64 `[total]`, `[B]`, `[B]`."""
        order = torch.arange(len(self)) if order is None else order
        return BagBatches(self, batch_size, order, range(-(-len(order) // batch_size)))

    def gather(self, rows: Tensor) -> Batch:
        """The texts `rows`, in that order, as one batch."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        ends = lengths.cumsum(0)
        bags = ends - lengths
        total = int(ends[-1])
        # position in `ids` of each token of the batch: position in the batch, shifted by a constant for each text
        positions = torch.repeat_interleave(starts - bags, lengths, output_size=total)
        positions += torch.arange(total)
        return (self.ids.index_select(0, positions).long(), bags), self.labels[rows]


@dataclass(frozen=True)
class BagBatches(Sequence["Batch"]):
    """Batches of `split`, made one by one as they are asked for. A slice is again such a sequence."""

    split: BagSplit
    batch_size: int
    order: Tensor
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> BagBatches: ...
    def __getitem__(self, index: int | slice) -> Batch | BagBatches:
        if isinstance(index, slice):
            return BagBatches(self.split, self.batch_size, self.order, self.numbers[index])
        start = self.numbers[index] * self.batch_size
        return self.split.gather(self.order[start : start + self.batch_size])
