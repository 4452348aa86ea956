"""Labelled texts as bags of token ids, and batches of them without a Python loop over texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

if TYPE_CHECKING:
    from sweep.tasks.data.dataset import Batch


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

    def to(self, device: torch.device) -> BagSplit:
        """See `sweep.tasks.data.dataset.Split.to`."""
        return BagSplit(*(tensor.to(device) for tensor in (self.ids, self.offsets, self.labels)))

    def batches(self, batch_size: int, order: Tensor | None = None) -> BagBatches:
        """See `sweep.tasks.data.dataset.Split.batches`. Tokens, offsets and target are int64 `[total]`, `[B]`, `[B]`."""
        order = torch.arange(len(self)) if order is None else order
        return BagBatches(self, batch_size, order, range(-(-len(order) // batch_size)))

    def rows(self, order: Tensor) -> BagSplit:
        """The texts `order`, int64 `[n]`, in that order."""
        order = order.to(self.labels.device)
        starts = self.offsets[order]
        lengths = self.offsets[order + 1] - starts
        offsets = lengths.new_zeros(len(order) + 1)
        torch.cumsum(lengths, 0, out=offsets[1:])
        total = int(offsets[-1])
        # position in `ids` of each token: position among those chosen, shifted by a constant for each text
        positions = torch.repeat_interleave(starts - offsets[:-1], lengths, output_size=total)
        positions += torch.arange(total, device=positions.device)
        return BagSplit(self.ids.index_select(0, positions), offsets, self.labels[order])


@dataclass(frozen=True)
class BagBatches(Sequence["Batch"]):
    """Batches of `split`, each built when it is indexed. A slice is a sequence of the same kind.

    On a GPU all rows are put in order at the first batch, and batches are slices of that: their bounds are then known on the
    host, and a batch takes one kernel instead of a dozen, and no synchronisation.

    Attributes:
        order: row indices, int64 `[n]`.
        indices: which of the batches of `order` these are.
    """

    split: BagSplit
    batch_size: int
    order: Tensor
    indices: range

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> BagBatches: ...
    def __getitem__(self, index: int | slice) -> Batch | BagBatches:
        if isinstance(index, slice):
            return BagBatches(self.split, self.batch_size, self.order, self.indices[index])
        batch_index = self.indices[index]
        return self.cut(batch_index) if self.split.ids.is_cuda else self.gathered(batch_index)

    def gathered(self, batch_index: int) -> Batch:
        """The batch gathered from its rows alone."""
        start = batch_index * self.batch_size
        rows = self.split.rows(self.order[start : start + self.batch_size])
        return (rows.ids.long(), rows.offsets[:-1]), rows.labels

    def cut(self, batch_index: int) -> Batch:
        """The batch cut out of all rows in their order: equal to `gathered`."""
        whole, bounds = self._whole
        first, last = bounds[batch_index : batch_index + 2]
        rows = slice(batch_index * self.batch_size, (batch_index + 1) * self.batch_size)
        return (whole.ids[first:last], whole.offsets[:-1][rows] - first), whole.labels[rows]

    @cached_property
    def _whole(self) -> tuple[BagSplit, list[int]]:
        """All rows in their order, and where the tokens of each batch start."""
        rows = self.split.rows(self.order)
        whole = replace(rows, ids=rows.ids.long())
        return whole, [*whole.offsets[:: self.batch_size].tolist(), len(whole.ids)]
