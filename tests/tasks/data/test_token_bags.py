import numpy as np
import pytest
import torch

from sweep.tasks.data.token_bags import BagSplit, to_table

TEXTS = [[5, 6, 7], [], [8], [9, 9], [1, 2, 3, 4], [7]]
LABELS = [0, 1, 2, 3, 0, 1]


@pytest.fixture(params=["memory", "table"])
def split(request: pytest.FixtureRequest) -> BagSplit:
    ids = np.array([token for text in TEXTS for token in text], dtype=np.int32)
    offsets = np.cumsum([0, *map(len, TEXTS)])
    labels = np.array(LABELS)
    if request.param == "table":
        return BagSplit.from_table(to_table(ids, offsets, labels))
    return BagSplit(torch.from_numpy(ids), torch.from_numpy(offsets), torch.from_numpy(labels))


def by_hand(rows: list[int]) -> tuple[list[int], list[int], list[int]]:
    """A batch put together one text at a time."""
    tokens: list[int] = []
    offsets = []
    for row in rows:
        offsets.append(len(tokens))
        tokens += TEXTS[row]
    return tokens, offsets, [LABELS[row] for row in rows]


def plain(batches: object) -> list[tuple[list[int], list[int], list[int]]]:
    return [(tokens.tolist(), offsets.tolist(), target.tolist()) for (tokens, offsets), target in batches]  # type: ignore[attr-defined]


@pytest.mark.parametrize("batch_size", [1, 2, 4, 6, 100])
@pytest.mark.parametrize("order", [None, [3, 1, 0, 5, 4, 2], [4, 4, 1], [1], []])
def test_batches_are_those_of_a_plain_loop(split: BagSplit, batch_size: int, order: list[int] | None) -> None:
    rows = list(range(6)) if order is None else order
    batches = split.batches(batch_size, None if order is None else torch.tensor(order, dtype=torch.int64))
    expected = [by_hand(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size)]
    assert len(batches) == len(expected)
    assert plain(batches) == expected


@pytest.mark.parametrize("batch_size", [1, 2, 5, 6, 100])
def test_batches_cut_from_all_rows_are_the_same(split: BagSplit, batch_size: int) -> None:
    """As a GPU makes them."""
    batches = split.batches(batch_size, torch.tensor([3, 1, 0, 5, 4]))
    whole = plain([batches.cut(index) for index in batches.indices])
    assert whole == plain(batches)
    assert plain([batches[1:].cut(index) for index in batches[1:].indices]) == whole[1:]
    types = [tensor.dtype for tensor in (*batches.cut(0)[0], batches.cut(0)[1])]
    assert types == [torch.int64] * 3


def test_types(split: BagSplit) -> None:
    (tokens, offsets), target = split.batches(4)[0]
    assert (tokens.dtype, offsets.dtype, target.dtype) == (torch.int64,) * 3


def test_an_epoch_goes_on_in_the_middle(split: BagSplit) -> None:
    batches = split.batches(2, torch.tensor([3, 1, 0, 5, 4]))
    whole = plain(batches)
    for k in range(4):
        assert plain(batches[k:]) == whole[k:]
    assert plain(batches[1:][1:]) == whole[2:]
    assert plain([batches[-1]]) == whole[-1:]
    assert len(batches[1:]) == 2


def test_index_out_of_range(split: BagSplit) -> None:
    with pytest.raises(IndexError):
        split.batches(4)[2]
    with pytest.raises(IndexError):
        split.batches(4, torch.tensor([6]))[0]


def test_random_texts() -> None:
    generator = np.random.default_rng(0)
    texts = [generator.integers(0, 1000, n) for n in generator.integers(0, 80, 500)]
    ids = np.concatenate(texts).astype(np.int32)
    offsets = np.cumsum([0, *map(len, texts)])
    split = BagSplit.from_table(to_table(ids, offsets, np.arange(500)))
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    seen = 0
    for (tokens, bags), target in split.batches(64, order):
        bounds = [*bags.tolist(), len(tokens)]
        for i, row in enumerate(target.tolist()):
            assert tokens[bounds[i] : bounds[i + 1]].tolist() == texts[row].tolist()
            seen += 1
    assert seen == 500
