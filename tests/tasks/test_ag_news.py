import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from sweep.core.errors import DataError
from sweep.tasks import Task, ag_news, get_task
from sweep.tasks.ag_news import parse_rows
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.data.download import PublishedFile
from sweep.tasks.data.token_bags import BagSplit
from sweep.tasks.text_classification import Row

TRAIN = [
    ("3", "Stocks up", 'Oil "surges", again; stocks follow.'),
    ("1", "", "Talks fail"),
    ("2", "Goal!", ""),
    ("4", "Über-fast chip", "Chip speeds up"),
]
TEST = [("4", "New chip", "up up"), ("1", "Talks", "on")]


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> str:
    """Write `rows` in the form of the real files; return the MD5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def task() -> Task:
    kind = get_task("ag_news")
    return kind(kind.Options())


def source(tmp_path: Path, allow_unverified: bool = True) -> DataSource:
    return DataSource(tmp_path / "data", allow_unverified, tmp_path / "cache")


@pytest.fixture
def _files(tmp_path: Path) -> None:
    write_csv(tmp_path / "data" / "train.csv", TRAIN)
    write_csv(tmp_path / "data" / "test.csv", TEST)


@pytest.fixture
def _published(_files: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small files pass for the published ones."""
    for split in ("train", "test"):
        path = tmp_path / "data" / f"{split}.csv"
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(ag_news.FILES, split, PublishedFile(path.as_uri(), md5))


def test_addresses_and_hashes_are_torchtexts() -> None:
    from sweep.tasks.data.torchtext_compat import import_torchtext

    import_torchtext()
    from torchtext.datasets.ag_news import MD5, URL

    assert {split: (file.url, file.digest) for split, file in ag_news.FILES.items()} == {
        split: (URL[split], MD5[split]) for split in ("train", "test")
    }


@pytest.mark.usefixtures("_files")
class TestPrepare:
    def test_rows_become_batches(self, task: Task, tmp_path: Path) -> None:
        data = task.prepare(source(tmp_path))
        # twice, in lexical order: chip stocks up; once: the rest
        names = [
            "<unk>",
            "chip",
            "stocks",
            "up",
            "!",
            ",",
            ".",
            "again",
            "fail",
            "follow",
            "goal",
            "oil",
            "speeds",
        ]
        names += ["surges", "talks", "über-fast"]
        assert data.info["vocab_size"] == len(names)
        (tokens, offsets), target = data.train.batches(64)[0]
        assert " ".join(names[token] for token in tokens) == (
            "stocks up oil surges , again stocks follow . talks fail goal ! über-fast chip chip speeds up"
        )
        assert offsets.tolist() == [0, 9, 11, 13]
        assert target.tolist() == [2, 0, 1, 3]
        (tokens, offsets), target = data.test.batches(64)[0]
        assert " ".join(names[token] for token in tokens) == "<unk> chip up up talks <unk>"
        assert target.tolist() == [3, 0]
        assert (data.train_rows, data.test_rows, data.data_verified) == (4, 2, False)

    def test_a_hash_that_is_not_the_published_one_is_refused(self, task: Task, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            task.prepare(source(tmp_path, allow_unverified=False))
        md5 = hashlib.md5((tmp_path / "data" / "train.csv").read_bytes()).hexdigest()
        for part in ("train.csv", md5, "b1a00f826fdfbd249f79597b59e1dc12", "--allow-unverified-data"):
            assert part in str(caught.value)

    @pytest.mark.usefixtures("_published")
    def test_the_published_files_are_verified(self, task: Task, tmp_path: Path) -> None:
        assert task.prepare(source(tmp_path, allow_unverified=False)).data_verified
        assert task.prepare(source(tmp_path, allow_unverified=True)).data_verified

    @pytest.mark.usefixtures("_published")
    def test_a_cut_copy_is_taken_and_named_unverified(self, task: Task, tmp_path: Path) -> None:
        whole = task.prepare(source(tmp_path))
        (tmp_path / "data" / "train.csv").unlink()
        write_csv(tmp_path / "data" / "train_partial.csv", TRAIN[:2])
        with pytest.raises(DataError, match=r"train_partial\.csv has MD5"):
            task.prepare(source(tmp_path, allow_unverified=False))
        cut = task.prepare(source(tmp_path))
        assert (cut.train_rows, cut.data_verified) == (2, False)
        assert cut.data_hash != whole.data_hash

    def test_the_data_sets_own_directory_is_searched(self, task: Task, tmp_path: Path) -> None:
        (tmp_path / "data").rename(tmp_path / "ag_news_csv")
        (tmp_path / "data").mkdir()
        (tmp_path / "ag_news_csv").rename(tmp_path / "data" / "ag_news_csv")
        assert task.prepare(source(tmp_path)).train_rows == 4

    def test_a_changed_file_does_not_go_unnoticed(self, task: Task, tmp_path: Path) -> None:
        """Not even with the size and the time of the old one."""
        path = tmp_path / "data" / "test.csv"
        first = task.prepare(source(tmp_path))
        stat = path.stat()
        write_csv(path, [("3", *TEST[0][1:]), TEST[1]])
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
        second = task.prepare(source(tmp_path))
        assert second.data_hash != first.data_hash
        assert second.test.batches(2)[0][1].tolist() == [2, 0]

    def test_broken_rows_stop_it(self, task: Task, tmp_path: Path) -> None:
        write_csv(tmp_path / "data" / "test.csv", [*TEST, ("5", "a", "b")])
        with pytest.raises(DataError, match=r"test\.csv, row 3: class '5'"):
            task.prepare(source(tmp_path))
        assert list((tmp_path / "cache").rglob("*.arrow")) == []


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_file_is_named(task: Task, tmp_path: Path, missing: str) -> None:
    other = {"train": "test", "test": "train"}[missing]
    write_csv(tmp_path / "data" / f"{other}.csv", TEST)
    with pytest.raises(
        DataError,
        match=rf"ag_news {missing} rows: no {missing}\.csv or {missing}_partial\.csv in .*--data-dir",
    ):
        task.prepare(source(tmp_path))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", r"is empty"),
        (b'"1","a","b"\n"2","a"\n', r"row 2: 2 columns"),
        (b'"1","a","b","c"\n', r"row 1: 4 columns"),
        (b'"1","a","b"\n\n"2","a","b"\n', r"row 2: 0 columns"),
        (b'"1","a","b"\n"0","a","b"\n', r"row 2: class '0' is none of 1, 2, 3, 4"),
        (b'"one","a","b"\n', r"row 1: class 'one'"),
        (b'"1","a","b"\n"1","a","b\n', r"row 2: unexpected end of data"),
        (b'"1","a","b"\n"1","a "x" y","b"\n', r"row 2: ',' expected after '\"'"),
        (b'"1","a","b"\n"1","caf\xe9","b"\n', r"row 2: byte 0xe9 is not UTF-8"),
    ],
)
def test_broken_files_are_named_with_row_and_fault(content: bytes, what: str) -> None:
    with pytest.raises(DataError, match=rf"news\.csv.*{what}") as caught:
        parse_rows(Path("news.csv"), content)
    assert "\n" not in str(caught.value)


def test_rows_with_line_breaks_quotes_and_other_line_ends() -> None:
    content = b'"1","a ""b""","c\nd"\r\n"4","","e,f"\r\n'
    assert parse_rows(Path("x"), content) == [Row(0, 'a "b" c\nd'), Row(3, " e,f")]


@pytest.mark.skipif("SWEEP_DATA" not in os.environ, reason="SWEEP_DATA not set")
def test_real_rows(task: Task, tmp_path: Path) -> None:
    """Known sizes: 95,811 tokens from the published 120,000 rows, 74,155 from the first 69,712 of them."""
    local = DataSource.from_env(allow_unverified=True, cache=tmp_path)
    data = task.prepare(local)
    assert data.test_rows == 7600
    assert (data.train_rows, data.info["vocab_size"], data.data_verified) in [
        (120000, 95811, True),
        (69712, 74155, False),
    ]
    assert isinstance(data.train, BagSplit)
    assert isinstance(data.test, BagSplit)
    assert data.test.labels.bincount().tolist() == [1900] * 4
    # every token of the training rows is in the vocabulary
    assert data.train.ids.min() == 1
    assert data.train.ids.max() == data.info["vocab_size"] - 1
    (tokens, _), target = data.test.batches(1)[0]
    (vocabulary,) = tmp_path.rglob("vocabulary.arrow")
    names = pa.ipc.open_file(str(vocabulary)).get_batch(0).column("token")
    assert target.item() == 2
    assert " ".join(names[token].as_py() for token in tokens.tolist()) == (
        "fears for t n pension after talks unions representing workers at turner newall say they are ' disappointed ' after "
        "talks with stricken parent firm federal mogul ."
    )
    # the commoner a token, the smaller its id
    counts = torch.bincount(data.train.ids)
    assert (counts[1:-1] >= counts[2:]).all()
