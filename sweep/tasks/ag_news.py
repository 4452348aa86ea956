"""AG News: 120,000 news items in four classes (Zhang, Zhao and LeCun, 2015)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from sweep.core.errors import DataError
from sweep.tasks.corpus import Corpus
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.data.download import (
    FileContent,
    PublishedFile,
    combined_hash,
    download,
    find_local,
    read_verified,
)
from sweep.tasks.registry import task
from sweep.tasks.text_classification import Row, TextClassification

CLASSES = ("World", "Sports", "Business", "Sci/Tech")

_ADDRESS = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"

# the address and hashes that torchtext 0.18 uses
FILES: dict[str, PublishedFile] = {
    "train": PublishedFile(f"{_ADDRESS}/train.csv", "b1a00f826fdfbd249f79597b59e1dc12"),
    "test": PublishedFile(f"{_ADDRESS}/test.csv", "d52ea96a97a2d943681189a97654912d"),
}


@task("ag_news")
class AGNews(TextClassification):
    """News items by topic. The text is title and description; the tokenizer is `basic_english`."""

    summary: ClassVar[str] = (
        "AG News, topic of a news item: EmbeddingBag and one linear layer (256 prunable weights)"
    )
    num_classes: ClassVar[int] = len(CLASSES)
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 10,
        "batch_size": 64,
        "eval_batch_size": 256,
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "score_samples": 10 * len(CLASSES),
        "score_batch_size": 256,
    }

    def corpus(self, source: DataSource) -> Corpus[Row]:
        files = {split: self._file(split, source) for split in FILES}
        return Corpus(
            data_hash=combined_hash(files),
            verified=all(file.verified for file in files.values()),
            rows=lambda: {split: parse_rows(file.path, file.content) for split, file in files.items()},
        )

    def _file(self, split: str, source: DataSource) -> FileContent:
        published = FILES[split]
        if source.data_dir is None:
            path = download(published, source.downloads / self.name, self.name)
        else:
            names = [published.name, f"{split}_partial.csv"]
            path = find_local(
                [source.data_dir / "ag_news_csv", source.data_dir], names, f"{self.name} {split} rows"
            )
        return read_verified(path, published, source.allow_unverified)


def parse_rows(path: Path, content: bytes) -> list[Row]:
    """The rows of a CSV file with the columns class (1 to 4), title and description, without a header.

    Raises:
        DataError: a malformed row (the message has its number, from 1), or no row at all.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _broken(path, line, f"byte 0x{content[error.start]:02x} is not UTF-8") from None
    rows: list[Row] = []
    try:
        for fields in csv.reader(io.StringIO(text, newline=""), strict=True):
            if len(fields) != 3:
                raise _broken(
                    path, len(rows) + 1, f"{len(fields)} columns instead of class, title and description"
                )
            label, title, description = fields
            if label not in ("1", "2", "3", "4"):
                raise _broken(path, len(rows) + 1, f"class {label[:20]!r} is none of 1, 2, 3, 4")
            rows.append(Row(int(label) - 1, f"{title} {description}"))
    except csv.Error as error:
        raise _broken(path, len(rows) + 1, str(error)) from None
    if not rows:
        raise DataError(f"{path} is empty; replace it")
    return rows


def _broken(path: Path, row: int, what: str) -> DataError:
    return DataError(f"{path}, row {row}: {what}; fix the row or replace the file")
