"""Multi30k from tarballs like the published ones, from files of one's own, and from the real ones where they are."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from sweep.core.errors import DataError
from sweep.tasks import get_task, multi30k
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.data.download import PublishedFile
from sweep.tasks.data.sentence_pairs import BOS, EOS, PAD

SENTENCES = {
    "train": (["Ein Hund läuft.", "Zwei Männer, die laufen.", ""], ["A dog runs.", "Two men who run.", ""]),
    "validation": (["Ein Mann."], ["A man."]),
    "test": (["Hunde!"], ["Dogs isn't men!"]),
}
MEMBERS = {"train": "train", "validation": "val", "test": "./test"}


def write_archive(path, name, sides):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for language, lines in zip(("de", "en"), sides, strict=True):
            directory, _, stem = name.rpartition("/")
            for member, content in (
                (f"{directory + '/' if directory else ''}._{stem}.{language}", b"Mac OS X"),
                (f"{name}.{language}", "".join(f"{line}\n" for line in lines).encode()),
            ):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Small tarballs pass for the published ones; their directory."""
    directory = tmp_path / "data" / "multi30k"
    for split, file in multi30k.FILES.items():
        path = directory / file.name
        write_archive(path, MEMBERS[split], SENTENCES[split])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setitem(multi30k.FILES, split, PublishedFile(path.as_uri(), digest, "sha256"))
    return directory


def prepare(tmp_path, allow_unverified=False, data_dir="data", **options):
    kind = get_task("multi30k")
    source = DataSource(data_dir and tmp_path / data_dir, allow_unverified, tmp_path / "cache")
    return kind(kind.Options(**options)).prepare(source)


def words(split):
    return [[split.vocabulary[token] for token in row] for row in split.target.lists()]


def test_addresses_and_hashes_are_torchtexts():
    from sweep.tasks.data.torchtext_compat import import_torchtext

    import_torchtext()
    from torchtext.datasets.multi30k import MD5, URL  # the name says MD5, the values are SHA-256

    theirs = {"train": "train", "validation": "valid", "test": "test"}
    assert {split: (file.url, file.digest, file.algorithm) for split, file in multi30k.FILES.items()} == {
        split: (URL[name], MD5[name], "sha256") for split, name in theirs.items()
    }


@pytest.mark.usefixtures("published")
def test_sentences_become_token_ids(tmp_path):
    data = prepare(tmp_path)
    # the specials, and: Ein Hund läuft . Zwei Männer , die laufen; A dog runs . Two men who run
    assert data.info == {"src_vocab": 4 + 9, "tgt_vocab": 4 + 8}
    assert (data.train_rows, len(data.validation), data.test_rows, data.data_verified) == (2, 1, 1, True)
    assert data.train.vocabulary[:5] == ["<unk>", "<pad>", "<bos>", "<eos>", "."]
    assert words(data.train) == [
        ["<bos>", "A", "dog", "runs", ".", "<eos>"],
        ["<bos>", "Two", "men", "who", "run", ".", "<eos>"],
    ]
    assert words(data.test) == [["<bos>", "<unk>", "<unk>", "<unk>", "men", "<unk>", "<eos>"]]
    assert data.test.texts("target") == ["Dogs isn't men!"]
    assert data.test.texts("reference") == ["Dogs is n't men !"]
    (source, _), target = data.train.batches(2)[0]
    assert source[0].tolist()[0] == BOS
    assert target[0].tolist()[-2:] == [EOS, PAD]


@pytest.mark.usefixtures("published")
def test_the_other_direction(tmp_path):
    there, back = prepare(tmp_path), prepare(tmp_path, source="en", target="de")
    assert back.test.texts("source") == there.test.texts("target")
    assert words(back.validation) == [["<bos>", "Ein", "<unk>", ".", "<eos>"]]
    # and the cache keeps them apart
    assert prepare(tmp_path).test.texts("target") == there.test.texts("target")


def test_another_content_than_the_published_one_is_refused(published, tmp_path):
    write_archive(published / "validation.tar.gz", "val", (["Ein Hund."], ["A dog."]))
    with pytest.raises(
        DataError, match=r"validation\.tar\.gz has SHA256 \w+, the published .* --allow-unverified-data"
    ):
        prepare(tmp_path)
    assert not prepare(tmp_path, allow_unverified=True).data_verified


def write_own(directory: Path, languages=("fr", "cs"), **lines):
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("mine", "held_out", "last"):
        for language in languages:
            (directory / f"{name}.{language}").write_text(
                f"{name} {language} .\nl'homme .\n", encoding="utf-8"
            )
    for name, text in lines.items():
        (directory / name.replace("__", ".")).write_bytes(text)


OWN = {"source": "fr", "target": "cs", "files": ["mine", "held_out", "last"]}


@pytest.mark.slow
def test_files_of_ones_own(tmp_path):
    write_own(tmp_path / "data")
    compressed = tmp_path / "data" / "last.cs"
    (tmp_path / "data" / "last.cs.gz").write_bytes(gzip.compress(compressed.read_bytes()))
    compressed.unlink()
    data = prepare(tmp_path, **OWN)
    assert (data.train_rows, len(data.validation), data.test_rows) == (2, 2, 2)
    assert not data.data_verified
    # French rules: mine fr .; l' homme .
    assert data.train.source.lengths.tolist() == [2 + 3, 2 + 3]
    assert data.info["src_vocab"] == 4 + 5
    assert data.test.texts("target")[0] == "last cs ."


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            {"mine__fr": b"a\nb\nc\n"},
            r"mine\.fr has 3 sentences in 'fr' and \S+mine\.cs 2 in 'cs'; line n of one must translate",
        ),
        (
            {"mine__fr": b"a\n\n"},
            r"mine\.fr, line 2 of the 'fr' text: no translation; write one or take both",
        ),
        ({"mine__cs": b"a\nb\xff\n"}, r"mine\.cs, line 2 of the 'cs' text: byte 0xff is not UTF-8; fix"),
        ({"last__fr": b""}, r"last\.fr has no sentence in 'fr'; replace it"),
    ],
)
def test_broken_files_are_named_with_their_line(tmp_path, lines, message):
    write_own(tmp_path / "data", **lines)
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, **OWN)
    assert list((tmp_path / "cache").rglob("*.arrow")) == []


@pytest.mark.parametrize(
    ("options", "data_dir", "message"),
    [
        (
            {"source": "fr"},
            "data",
            r"the published files have de and en, but not 'fr'; name custom files",
        ),
        (OWN, None, r"`files` names custom files; launch with the --data-dir"),
        (OWN, "data", r"no mine\.fr or mine\.fr\.gz in \S+multi30k or \S+data; put the file there"),
        ({"source": "de"}, "elsewhere", r"no training\.tar\.gz in"),
    ],
)
def test_files_that_are_not_there(tmp_path, options, data_dir, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, data_dir=data_dir, **options)


def test_a_language_that_spacy_lacks(tmp_path):
    write_own(tmp_path / "data", languages=("xy", "cs"))
    with pytest.raises(DataError, match="spaCy cannot tokenize the language 'xy'"):
        prepare(tmp_path, **OWN | {"source": "xy"})


@pytest.mark.parametrize("content", [b"no archive", gzip.compress(b"x" * 2000)[:30]], ids=["none", "cut off"])
def test_a_broken_archive(published, tmp_path, content):
    (published / "training.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"training\.tar\.gz cannot be unpacked \(.+\); replace it"):
        prepare(tmp_path, allow_unverified=True)


@pytest.mark.skipif("SWEEP_DATA" not in os.environ, reason="SWEEP_DATA names no directory with the real data")
def test_the_real_data(tmp_path):
    """The vocabularies of the published model: Embedding(19214, 512), Embedding(10837, 512), Linear(512, 10837)."""
    data = prepare(tmp_path, data_dir=os.environ["SWEEP_DATA"])
    assert data.info == {"src_vocab": 19214, "tgt_vocab": 10837}
    assert (data.train_rows, len(data.validation), data.test_rows) == (29_000, 1_014, 1_000)
    assert data.data_verified
    assert data.test.texts("source")[0] == "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."
    assert data.train.vocabulary[data.train.target.lists()[0][1]] == "Two"


@pytest.mark.skipif("SWEEP_DATA" not in os.environ, reason="SWEEP_DATA names no directory with the real data")
def test_references_come_back_from_their_tokens(tmp_path):
    from sweep.tasks.metrics.bleu import sacrebleu
    from sweep.tasks.metrics.detokenize import detokenize

    data = prepare(tmp_path, data_dir=os.environ["SWEEP_DATA"])
    for split in (data.validation, data.test):
        texts = [detokenize(reference.split(" ")) for reference in split.texts("reference")]
        raw = [" ".join(text.split()) for text in split.texts("target")]
        assert sum(text != given for text, given in zip(texts, raw, strict=True)) <= 1
        assert sacrebleu(texts, raw)[0] > 99.95
