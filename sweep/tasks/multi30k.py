"""Multi30k: 31,014 captions of pictures, German to English (Elliott et al. 2016), or another language pair from custom files."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from sweep.core.errors import DataError, summarise_exception
from sweep.tasks.corpus import Corpus
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.data.download import (
    FileContent,
    PublishedFile,
    combined_hash,
    download,
    find_local,
    read_own,
    read_verified,
)
from sweep.tasks.registry import task
from sweep.tasks.translation import SPLITS, Pair, Translation

_ADDRESS = "https://raw.githubusercontent.com/neychev/small_DL_repo/master/datasets/Multi30k"

# the addresses and hashes that torchtext 0.18 uses
FILES: dict[str, PublishedFile] = {
    "train": PublishedFile(
        f"{_ADDRESS}/training.tar.gz",
        "20140d013d05dd9a72dfde46478663ba05737ce983f478f960c1123c6671be5e",
        "sha256",
    ),
    "validation": PublishedFile(
        f"{_ADDRESS}/validation.tar.gz",
        "a7aa20e9ebd5ba5adce7909498b94410996040857154dab029851af3a866da8c",
        "sha256",
    ),
    "test": PublishedFile(
        f"{_ADDRESS}/mmt16_task1_test.tar.gz",
        "6d1ca1dba99e2c5dd54cae1226ff11c2551e6ce63527ebb072a1f70f72a5cd36",
        "sha256",
    ),
}
LANGUAGES = ("de", "en")
"""The languages of the published files."""


@task("multi30k")
class Multi30k(Translation):
    """Captions of pictures, tokenized by spaCy's rules."""

    summary: ClassVar[str] = (
        "Multi30k, captions from German to English: Transformer of 3 + 3 layers (11.1 million prunable weights)"
    )
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 10,
        "batch_size": 128,
        "eval_batch_size": 256,
        "lr": 1e-4,
        "betas": (0.9, 0.98),
        "eps": 1e-9,
        "score_samples": 640,
        "score_batch_size": 128,
    }

    class Options(Translation.Options, frozen=True, extra="forbid"):
        source: Annotated[str, Field(description="language to translate from, a code of spaCy")] = "de"
        target: Annotated[str, Field(description="language to translate to, a code of spaCy")] = "en"
        files: Annotated[
            tuple[str, str, str] | None,
            Field(
                description="custom files in the data directory: names without the language, for training, validation, test"
            ),
        ] = None

    options: Options

    def tokenizers(self) -> tuple[str, str]:
        spacy = version("spacy")
        return f"{self.options.source}, spaCy {spacy}", f"{self.options.target}, spaCy {spacy}"

    def tokenizer(self, name: str) -> Callable[[str], list[str]]:
        from sweep.tasks.data.tokenize import spacy_tokenizer

        return spacy_tokenizer(name.partition(",")[0])

    def corpus(self, source: DataSource) -> Corpus[Pair]:
        options = self.options
        files = {
            f"{split}.{language}": self._file(split, language, source)
            for split in SPLITS
            for language in (options.source, options.target)
        }

        def rows() -> dict[str, list[Pair]]:
            return {
                split: _pairs(
                    files[f"{split}.{options.source}"],
                    files[f"{split}.{options.target}"],
                    options.source,
                    options.target,
                )
                for split in SPLITS
            }

        return Corpus(combined_hash(files), all(file.verified for file in files.values()), rows)

    def _file(self, split: str, language: str, source: DataSource) -> FileContent:
        """The file with the sentences of `split` in `language`, among others if it is an archive."""
        if self.options.files is not None:
            if source.data_dir is None:
                raise DataError(
                    f"{self.name}: the option `files` names custom files; launch with the --data-dir (SWEEP_DATA) of those"
                )
            name = f"{self.options.files[SPLITS.index(split)]}.{language}"
            return read_own(
                find_local(
                    _directories(source.data_dir), [name, f"{name}.gz"], f"{self.name} {split} sentences"
                )
            )
        if language not in LANGUAGES:
            raise DataError(
                f"{self.name}: the published files have {' and '.join(LANGUAGES)}, but not {language!r}; name custom files "
                "with the option `files`, and launch with the --data-dir (SWEEP_DATA) that they are in"
            )
        published = FILES[split]
        if source.data_dir is None:
            path = download(published, source.downloads / self.name, self.name)
        else:
            path = find_local(
                _directories(source.data_dir), [published.name], f"{self.name} {split} sentences"
            )
        return read_verified(path, published, source.allow_unverified)


def _directories(data_dir: Path) -> list[Path]:
    return [data_dir / "multi30k", data_dir]


def _pairs(
    source: FileContent, target: FileContent, source_language: str, target_language: str
) -> list[Pair]:
    sources, targets = _lines(source, source_language), _lines(target, target_language)
    if len(sources) != len(targets):
        raise DataError(
            f"{source.path} has {len(sources)} sentences in {source_language!r} and {target.path} {len(targets)} in "
            f"{target_language!r}; line n of one must translate line n of the other"
        )
    pairs = [Pair(*pair) for pair in zip(sources, targets, strict=True)]
    for line_number, pair in enumerate(pairs, 1):
        if bool(pair.source) != bool(pair.target):
            file, language = (target, target_language) if pair.source else (source, source_language)
            raise DataError(
                f"{file.path}, line {line_number} of the {language!r} text: no translation; write one or take both lines out"
            )
    # the published files end with a pair of empty lines
    return [pair for pair in pairs if pair.source]


def _lines(file: FileContent, language: str) -> list[str]:
    """The lines of a text file, plain or compressed, or of the member `*.language` of an archive; without white space around.

    Raises:
        DataError: there is no such member, it cannot be unpacked, is not UTF-8, or is empty.
    """
    try:
        content = _unpacked(file, language)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(
            f"{file.path} cannot be unpacked ({summarise_exception(error)}); replace it"
        ) from None
    lines = content.removesuffix(b"\n").split(b"\n")
    try:
        texts = [line.decode("utf-8").strip() for line in lines]
    except UnicodeDecodeError as error:
        line_number = lines.index(error.object) + 1
        raise DataError(
            f"{file.path}, line {line_number} of the {language!r} text: byte 0x{error.object[error.start]:02x} is not UTF-8; "
            "fix the line or replace the file"
        ) from None
    if texts == [""]:
        raise DataError(f"{file.path} has no sentence in {language!r}; replace it")
    return texts


def _unpacked(file: FileContent, language: str) -> bytes:
    if file.path.name.endswith(".tar.gz"):
        with tarfile.open(fileobj=io.BytesIO(file.content)) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                # "._*" is what macOS adds for a file
                if name.endswith(f".{language}") and not name.startswith("._"):
                    extracted = archive.extractfile(member)
                    if extracted is not None:
                        return extracted.read()
        raise DataError(f"{file.path} has no file *.{language}; replace it")
    return gzip.decompress(file.content) if file.path.suffix == ".gz" else file.content
