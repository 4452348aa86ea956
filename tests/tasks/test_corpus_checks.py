"""What a corpus must have so that its numbers mean something: splits, labels, tokens, a hash of its own."""

import itertools
import logging
from typing import ClassVar

import numpy as np
import pytest
from support.rows import write_sweep

import sweep
from sweep.core.errors import DataError, UsageError
from sweep.store.layout import existing_sweep, sweep_paths
from sweep.tasks.corpus import Corpus
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.text_classification import Row, TextClassification
from sweep.tasks.toy_classification import Toy
from sweep.tasks.toy_translation import ToyTranslation
from sweep.tasks.translation import Pair


class Texts(TextClassification):
    name = "texts"
    num_classes = 3
    defaults = Toy.defaults
    rows: ClassVar = {}

    def corpus(self, source):
        return Corpus.of(self.rows)


class Sentences(ToyTranslation):
    name = "sentences"
    rows: ClassVar = {}

    def corpus(self, source):
        return Corpus.of(self.rows)


def prepared(kind, tmp_path, **rows):
    task = type("Mine", (kind,), {"rows": rows})(kind.Options())
    return task.prepare(DataSource(None, False, tmp_path))


ROWS = [Row(0, "red"), Row(2, "blue")]
PAIRS = [Pair("ein Haus", "a house")]


@pytest.mark.parametrize("label", [3, -1, -100, 0.7, 1.0, True, "1", None, float("nan"), np.float64(1)])
def test_a_wrong_label_is_named_with_its_row(tmp_path, label):
    with pytest.raises(DataError, match=r"^task 'texts', test row 2: label \S+ is none of 0 to 2; "):
        prepared(Texts, tmp_path, train=ROWS, test=[ROWS[0], Row(label, "?")])


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        (Texts, {"train": [Row(0, None)], "test": ROWS}, "task 'texts', train row 1: None is not a text; give a string"),
        (Sentences, {key: [Pair("a", 3)] for key in ("train", "validation", "test")}, "train pair 1 is not two texts"),
    ],
)  # fmt: skip
def test_what_is_not_a_text(tmp_path, kind, rows, message):
    with pytest.raises(DataError, match=message):
        prepared(kind, tmp_path, **rows)


def test_checks_are_not_passed_by_with_what_a_cache_has(tmp_path):
    rows = {"train": ROWS, "test": ROWS}
    assert len(prepared(Texts, tmp_path, **rows).test) == 2
    fewer = type("Fewer", (Texts,), {"num_classes": 2})
    with pytest.raises(DataError, match="label 2 is none of 0 to 1"):
        prepared(fewer, tmp_path, **rows)


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8])
def test_labels_may_be_of_any_kind_of_integer(tmp_path, kind):
    data = prepared(Texts, tmp_path, train=[Row(kind(2), "red")], test=ROWS)
    assert data.train.batches(1)[0][1].tolist() == [2]


def test_classes_that_are_counted_from_one(tmp_path):
    with pytest.raises(
        DataError, match=r"train row 3: label 3 .* number the 3 classes from 0, or set num_classes"
    ):
        prepared(Texts, tmp_path, train=[Row(label, "x") for label in (1, 2, 3)], test=ROWS)


def test_validation_rows_are_used(tmp_path):
    data = prepared(Texts, tmp_path, train=ROWS, test=ROWS, validation=[Row(1, "blue")])
    assert (len(data.validation), data.validation.batches(1)[0][1].tolist()) == (1, [1])
    assert len(data.test) == 2
    assert prepared(Texts, tmp_path, train=ROWS, test=ROWS).validation is None


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        (Texts, {"train": ROWS, "test": ROWS, "valid": ROWS}, r"unknown split 'valid' \(did you mean 'validation'\?\)"),
        (Texts, {"train": ROWS, "validation": ROWS}, r"task 'texts' has no test rows"),
        (Sentences, {"train": PAIRS, "test": PAIRS}, r"task 'sentences' has no validation rows"),
        (Sentences, dict.fromkeys(("train", "validation", "test", "dev"), PAIRS), r"unknown split 'dev'"),
    ],
)  # fmt: skip
def test_splits_that_are_missing_or_would_be_ignored(tmp_path, kind, rows, message):
    with pytest.raises(DataError, match=message):
        prepared(kind, tmp_path, **rows)


@pytest.mark.parametrize("mark", ["<eos>", "<bos>", "<pad>"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_token_that_marks_the_end_of_a_sentence(tmp_path, mark, side):
    bad = PAIRS[0]._replace(**{side: f"one {mark} two"})
    rows = {"train": PAIRS, "validation": PAIRS, "test": [*PAIRS, bad]}
    message = (
        rf"^task 'sentences': the test {side} of pair 2 has the token '{mark}', which marks .*; remove it"
    )
    with pytest.raises(DataError, match=message):
        prepared(Sentences, tmp_path, **rows)
    assert len(prepared(Sentences, tmp_path, **rows | {"test": [Pair("<unk> one", "two")]}).test) == 1


def test_different_corpora_have_different_hashes():
    """Where a word, a line or a split ends is part of the content."""
    corpora = [
        {"train": [Pair("a b", "c")]},
        {"train": [Pair("a", "b c")]},
        {"train": [Pair("a b c", "")]},
        {"train": [Pair("", "a b c")]},
        {"train": [Pair("a", "b"), Pair("c", "")]},
        {"train": [Pair("a", "b\ntrain c ")]},
        {"train": [Pair("a", "b")], "test": [Pair("c", "")]},
        {"train": [Row(1, "a\ntrain 2 b")]},
        {"train": [Row(1, "a"), Row(2, "b")]},
        {"train": [Row("1", "a"), Row(2, "b")]},
        {"train": [Row(1, "a"), Row(2, "b")], "test": []},
    ]
    hashes = [Corpus.of(rows).data_hash for rows in corpora]
    for first, second in itertools.combinations(range(len(hashes)), 2):
        assert hashes[first] != hashes[second], (corpora[first], corpora[second])


def test_the_hash_of_generated_texts_stays_what_it_was():
    """Results of earlier versions stay current."""
    corpus = Toy(Toy.Options()).corpus(DataSource(None, False, None))
    assert corpus.data_hash == "9c0af8ab3d553f3a2d8c0160b62483024ba4780829622c5712c6128b94a25ca8"


@pytest.mark.parametrize("name", ["runs", "collected", "report", "grid.yaml", "arrays", "submissions"])
def test_a_sweep_that_is_called_like_a_file_of_sweeps(name, tmp_path):
    with pytest.raises(
        UsageError, match=rf"sweep name '{name}' is that of a file in every sweep's directory"
    ):
        sweep_paths(name, tmp_path)


def test_one_from_before_hides_no_other(tmp_path, caplog):
    write_sweep(tmp_path / "runs")
    write_sweep(tmp_path / "other", task="toy2")
    assert len(sweep.load(tmp_path)) == 30
    assert existing_sweep("runs", tmp_path).name == "runs"
    (tmp_path / "empty" / "runs").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert len(sweep.load(tmp_path / "empty")) == 0
    assert f"no results in {tmp_path}/empty" in caplog.text
