"""Pairs of sentences in batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweep.tasks.data.sentence_pairs import BOS, EOS, PAD, PairSplit, to_table


def encoded(lengths):
    """Sentences of `lengths` tokens, <bos> and <eos> counted; sentence i is made of the token 10 + i."""
    sentences = [[BOS, *[10 + i] * (n - 2), EOS] for i, n in enumerate(lengths)]
    ids = np.array([token for sentence in sentences for token in sentence], dtype=np.int32)
    return ids, np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def split(source, target):
    texts = {name: [f"{name} {i}" for i in range(len(source))] for name in ("source", "target", "reference")}
    return PairSplit.from_table(
        to_table(texts, encoded(source), encoded(target)), [str(i) for i in range(50)]
    )


def test_a_batch_is_padded_and_the_target_comes_whole_and_without_its_last_token():
    pairs = split([3, 5, 4], [4, 2, 3])
    (source, target_in), target = pairs.batches(2, torch.tensor([2, 0, 1]))[0]
    assert source.tolist() == [[2, 12, 12, 3], [2, 10, 3, PAD]]
    assert target.tolist() == [[2, 12, 3, PAD], [2, 10, 10, 3]]
    assert target_in.tolist() == [[2, 12, 3], [2, 10, 10]]
    assert (source.dtype, target.dtype) == (torch.int64, torch.int64)
    assert len(pairs) == 3
    assert pairs.texts("reference") == ["reference 0", "reference 1", "reference 2"]


def test_widths_that_the_model_sees_are_padded_to_multiples():
    pairs = split([3, 5, 4], [4, 2, 3])
    batches = pairs.batches(2, torch.tensor([2, 0, 1]), multiple=4)
    (source, target_in), target = batches[0]
    assert source.tolist() == [[2, 12, 12, 3], [2, 10, 3, PAD]]  # 4 is a multiple as it is
    assert target.tolist() == [
        [2, 12, 3, PAD, PAD],
        [2, 10, 10, 3, PAD],
    ]  # the model does not see the last token
    assert target_in.shape == (2, 4)
    (source, _), target = batches[1:][0]
    assert (source.shape, target.shape) == ((1, 8), (1, 5))
    # of 8 + 8 and 10 + 5 tokens
    assert batches.padding_waste == pytest.approx(1 - 21 / 31)


def test_batches_without_an_order_are_the_rows_as_they_come():
    pairs = split([3, 5, 4], [4, 2, 3])
    batches = pairs.batches(2)
    assert [len(target) for _, target in batches] == [2, 1]
    assert [target[0].tolist() for _, target in batches[1:]] == [[2, 12, 3]]


def test_padding_waste_by_hand():
    """Batches (3, 5 | 4, 2) and (4 | 3): sources hold 8 of 10 and 4 of 4 tokens, targets 6 of 8 and 3 of 3."""
    assert split([3, 5, 4], [4, 2, 3]).batches(2).padding_waste == pytest.approx(1 - 21 / 25)
    assert split([4, 4], [5, 5]).batches(2).padding_waste == 0


def test_buckets_by_hand():
    """Longest sides are 3 5 3 9 5: two pairs of 3 fit into 12 tokens, then two of 5 into 20, and 9 + 9 stands alone."""
    pairs = split([3, 5, 3, 9, 5], [3, 5, 3, 9, 5])
    batches = pairs.bucketed(20, torch.tensor([3, 1, 2, 0, 4]))
    # batches in the order of their first pair, pairs in the order given
    assert [rows.tolist() for rows in batches.rows] == [[3], [1, 4], [2, 0]]
    assert [len(rows) for rows in pairs.bucketed(1, torch.arange(5)).rows] == [1] * 5


lengths = st.lists(st.tuples(st.integers(2, 30), st.integers(2, 30)), min_size=1, max_size=60)


@given(lengths, st.integers(1, 300), st.randoms(use_true_random=False))
def test_buckets_hold_every_pair_once_and_keep_the_budget(pairs_lengths, budget, shuffler):
    pairs = split(*map(list, zip(*pairs_lengths, strict=True)))
    order = list(range(len(pairs)))
    shuffler.shuffle(order)
    batches = pairs.bucketed(budget, torch.tensor(order))
    assert sorted(row for rows in batches.rows for row in rows.tolist()) == sorted(order)
    for (source, _), target in batches:
        assert len(source) == 1 or source.numel() + target.numel() <= budget
    place = {row: position for position, row in enumerate(order)}
    firsts = [place[rows[0].item()] for rows in batches.rows]
    assert firsts == sorted(firsts)
    assert all(
        [place[r] for r in rows.tolist()] == sorted(place[r] for r in rows.tolist()) for rows in batches.rows
    )


def test_buckets_waste_less_than_random_batches():
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(2, 40, (1000,), generator=generator).tolist()
    pairs = split(source, source)
    order = torch.randperm(1000, generator=generator)
    assert pairs.bucketed(1000, order).padding_waste < 0.2 * pairs.batches(25, order).padding_waste
