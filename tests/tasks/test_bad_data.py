"""Data that is missing or broken is named with its file and row before anything is written."""

import pytest
from support.command import refused, write_grid


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (None, r"ag_news train rows: no train.csv or train_partial.csv in .*data; .*--data-dir"),
        (b"", r"train.csv is empty; replace it"),
        (b"1,title,text\n2,title\n", r"train.csv, row 2: 2 columns instead of class, title and description; fix"),
        (b"1,title,text\n7,title,text\n", r"train.csv, row 2: class '7' is none of 1, 2, 3, 4; fix"),
        (b'1,title,text\n2,title,"text\n', r"train.csv, row 2: unexpected end of data; fix"),
        (b"1,title,text\n1,title,\xff\n", r"train.csv, row 2: byte 0xff is not UTF-8; fix"),
    ],
)  # fmt: skip
def test_missing_and_broken_data(command, tmp_path, train, message):
    """`tests/tasks/test_ag_news.py` has more of these; here that nothing has begun."""
    write_grid(tmp_path, tasks=["ag_news"])
    data = tmp_path / "data"
    if train is not None:
        data.mkdir()
        (data / "train.csv").write_bytes(train)
        (data / "test.csv").write_bytes(b"1,title,text\n")
    launch = ("launch", "--local", "--grid", "grid.yaml", "--data-dir", data)
    refused(command(*launch, "--allow-unverified-data"), message)
    if train is not None:
        refused(
            command(*launch), r"train.csv has MD5 \w+, the published train.csv has b1a00f\w+; replace it, or"
        )
    assert not (tmp_path / "results").exists()
