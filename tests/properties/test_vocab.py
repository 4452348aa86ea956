"""The compiled vocabulary against a plain Python list, and torchtext's factory on top of it against `Counter`."""

import copy
import pickle
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prune._C import Vocab
from sweep.tasks.data.tokenize import build_vocabulary

pytestmark = pytest.mark.slow

tokens = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
token_lists = st.lists(tokens, unique=True, max_size=30)


@example([], ["\0"], None)
@given(token_lists, st.lists(tokens, max_size=30), st.none() | st.integers(-5, 50))
def test_lookup_is_that_of_a_list(known: list[str], asked: list[str], default: int | None) -> None:
    vocab = Vocab(known, default)
    assert len(vocab) == len(known)
    assert vocab.get_itos() == known
    assert vocab.get_stoi() == {token: index for index, token in enumerate(known)}
    assert vocab.lookup_tokens(list(range(len(known)))) == known
    assert [token in vocab for token in asked] == [token in known for token in asked]
    if default is None and set(asked) - set(known):
        with pytest.raises(RuntimeError, match="no default index"):
            vocab.lookup_indices(asked)
    else:
        expected = [known.index(token) if token in known else default for token in asked]
        assert vocab.lookup_indices(asked) == expected
        assert [vocab[token] for token in asked] == expected


@given(token_lists, st.lists(st.tuples(tokens, st.none() | st.integers(-1, 40)), max_size=15))
def test_insert_and_append_are_those_of_a_list(
    start: list[str], changes: list[tuple[str, int | None]]
) -> None:
    vocab, model = Vocab(start, None), list(start)
    for token, index in changes:
        place = len(model) if index is None else index
        if token in model or not 0 <= place <= len(model):
            with pytest.raises(RuntimeError):
                vocab.append_token(token) if index is None else vocab.insert_token(token, index)
        else:
            vocab.append_token(token) if index is None else vocab.insert_token(token, index)
            model.insert(place, token)
        assert vocab.get_itos() == model
        assert vocab.lookup_indices(model) == list(range(len(model)))


@given(token_lists, st.none() | st.integers(-5, 50))
def test_copies_are_equal_and_independent(known: list[str], default: int | None) -> None:
    vocab = Vocab(known, default)
    for other in (pickle.loads(pickle.dumps(vocab)), copy.deepcopy(vocab)):
        assert other.get_itos() == known
        assert other.get_default_index() == default
        other.append_token("a token longer than any of the generated ones")
        assert len(vocab) == len(known)


@given(st.lists(st.lists(st.sampled_from("abcdefg<") | tokens, max_size=8), max_size=20))
def test_built_vocabulary_is_ordered_by_frequency_then_token(texts: list[list[str]]) -> None:
    counts = Counter(token for text in texts for token in text if token != "<unk>")
    expected = ["<unk>", *sorted(counts, key=lambda token: (-counts[token], token))]
    vocabulary = build_vocabulary(texts)
    assert vocabulary.get_itos() == expected
    assert vocabulary(["no such token at all", "<unk>"]) == [0, 0]
