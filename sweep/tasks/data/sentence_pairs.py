"""Pairs of sentences as token ids, and batches of them, padded."""

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

PAD, BOS, EOS = 1, 2, 3
"""Ids in both vocabularies; 0 is the unknown token."""


@dataclass(frozen=True)
class Sentences:
    """Sentences as token ids, <bos> first and <eos> last.

    Attributes:
        ids: of all sentences end to end, int32 `[total]`, on any device.
        offsets: int64 `[n + 1]`, on the CPU; sentence i is `ids[offsets[i]:offsets[i + 1]]`.
    """

    ids: Tensor
    offsets: Tensor

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of each sentence, int64 `[n]`, on the CPU: how wide a batch is must not be asked of a GPU."""
        return self.offsets.diff()

    @cached_property
    def _starts_and_lengths(self) -> tuple[Tensor, Tensor]:
        return self.offsets[:-1].to(self.ids.device), self.lengths.to(self.ids.device)

    def to(self, device: torch.device) -> Sentences:
        """These sentences on `device`."""
        return Sentences(self.ids.to(device), self.offsets)

    def padded(self, rows: Tensor, width: int) -> Tensor:
        """The sentences `rows`, indices on the device of `ids`, int64 `[len(rows), width]`, with `PAD` after their end."""
        starts, lengths = (of_all[rows] for of_all in self._starts_and_lengths)
        columns = torch.arange(width, device=rows.device)
        inside = columns < lengths[:, None]
        positions = (starts[:, None] + columns).where(inside, 0)
        return self.ids.index_select(0, positions.flatten()).view_as(positions).long().where(inside, PAD)

    def lists(self) -> list[Tensor]:
        """Each sentence, int64."""
        return list(self.ids.long().split(self.lengths.tolist()))


@dataclass(frozen=True)
class PairSplit:
    """Sentences and their translations: a `Split` whose batches are `((src, tgt[:, :-1]), tgt)`, int64 `[B, S]` and `[B, T]`.

    Attributes:
        source, target: token ids.
        table: columns `source` and `target`, the texts, and `reference`, the target's tokens with a space between each two.
        vocabulary: the target's token for each id.
    """

    source: Sentences
    target: Sentences
    table: pa.RecordBatch
    vocabulary: Sequence[str]

    @classmethod
    def from_table(cls, table: pa.RecordBatch, vocabulary: Sequence[str]) -> PairSplit:
        """The pairs of a `to_table` table, sharing its memory. Read-only memory must not be written through the tensors."""
        source, target = (
            Sentences(*(torch.from_dlpack(array) for array in (ids.values, ids.offsets)))
            for ids in (table.column("source_ids"), table.column("target_ids"))
        )
        return cls(source, target, table, vocabulary)

    def __len__(self) -> int:
        return len(self.source.offsets) - 1

    def to(self, device: torch.device) -> PairSplit:
        """See `sweep.tasks.data.dataset.Split.to`."""
        return replace(self, source=self.source.to(device), target=self.target.to(device))

    def texts(self, column: str) -> list[str]:
        """A column of `table`."""
        return self.table.column(column).to_pylist()

    def batches(self, batch_size: int, order: Tensor | None = None, multiple: int = 1) -> PairBatches:
        """See `sweep.tasks.data.dataset.Split.batches`; `multiple` as in `PairBatches`."""
        order = torch.arange(len(self)) if order is None else order
        return PairBatches(self, order.split(batch_size) if len(order) else (), multiple)

    def bucketed(self, tokens: int, order: Tensor) -> PairBatches:
        """The rows `order` in batches of pairs of like length, as many as fit into `tokens` padded tokens, source plus target.

        A longer pair is a batch by itself. Pairs of equal length and the batches themselves come in the order in which `order`
        has them (a batch where its first pair is), so a random order gives random batches.
        """
        source, target = self.source.lengths[order], self.target.lengths[order]
        # by the longer side, then the other: both sides of a batch are padded
        by_length = np.lexsort((torch.minimum(source, target).numpy(), torch.maximum(source, target).numpy()))
        lengths = torch.stack((source, target), 1)[by_length].tolist()
        starts, widest = [0], (0, 0)
        for index, (s, t) in enumerate(lengths):
            widest = max(widest[0], s), max(widest[1], t)
            if index > starts[-1] and (index + 1 - starts[-1]) * sum(widest) > tokens:
                starts.append(index)
                widest = s, t
        batches = [
            np.sort(by_length[start:end])
            for start, end in zip(starts, [*starts[1:], len(order)], strict=True)
        ]
        batches.sort(key=lambda positions: positions[0])
        return PairBatches(self, tuple(order[positions] for positions in batches))


@dataclass(frozen=True)
class PairBatches(Sequence["Batch"]):
    """Batches of `split`, each built when it is indexed. A slice is a sequence of the same kind.

    Attributes:
        rows: of each batch, int64, on the CPU.
        multiple: S and T - 1, what the model sees, are padded up to multiples of it.
    """

    split: PairSplit
    rows: tuple[Tensor, ...]
    multiple: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> PairBatches: ...
    def __getitem__(self, index: int | slice) -> Batch | PairBatches:
        if isinstance(index, slice):
            return PairBatches(self.split, self.rows[index], self.multiple)
        there = self._rows_on_device[index]
        source, target = (
            side.padded(there, width)
            for side, width in zip(self._sides, self._widths(self.rows[index]), strict=True)
        )
        return (source, target[:, :-1]), target

    @property
    def _sides(self) -> tuple[Sentences, Sentences]:
        return self.split.source, self.split.target

    def _widths(self, rows: Tensor) -> tuple[int, int]:
        """S and T of the batch of `rows`."""
        source, target = (int(side.lengths[rows].max()) for side in self._sides)
        return self._rounded(source), self._rounded(target - 1) + 1

    def _rounded(self, width: int) -> int:
        return -(-width // self.multiple) * self.multiple

    @cached_property
    def _rows_on_device(self) -> tuple[Tensor, ...]:
        """`rows` where the sentences are, taken there all at once."""
        there = torch.cat(self.rows).to(self.split.source.ids.device)
        return there.split([len(rows) for rows in self.rows])

    @property
    def padding_waste(self) -> float:
        """The fraction of the batches' tokens, source and target, that are padding."""
        tokens = padded = 0
        for rows in self.rows:
            tokens += sum(int(side.lengths[rows].sum()) for side in self._sides)
            padded += len(rows) * sum(self._widths(rows))
        return 1 - tokens / padded if padded else 0.0


def to_table(
    texts: dict[str, list[str]],
    source: tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]],
    target: tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]],
) -> pa.RecordBatch:
    """A table with a row for each pair: `texts` (see `PairSplit.table`), and `source_ids` and `target_ids`, large_list<int32>."""
    ids = {
        name: pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
        for name, (values, offsets) in (("source_ids", source), ("target_ids", target))
    }
    return pa.record_batch({**{name: pa.array(column, pa.string()) for name, column in texts.items()}, **ids})
