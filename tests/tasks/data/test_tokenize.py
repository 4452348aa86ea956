import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from prune._C import Vocab
from sweep.tasks.data.tokenize import build_vocabulary, encode, get_tokenizer, tokenize


def python(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You can now install TorchText using pip!", "you can now install torchtext using pip !"),
        ('Don\'t say "Hi"; OK: (yes)?', "don ' t say hi ok ( yes ) ?"),
        ("A  tab\there,<br />U.S.", "a tab here , u . s ."),
        ("Über\u00a0naïve #36;10", "über naïve #36 10"),
        ("", ""),
    ],
)
def test_basic_english(text: str, expected: str) -> None:
    assert get_tokenizer("basic_english")(text) == expected.split()


def test_equal_tokens_are_one_object() -> None:
    first, second = tokenize(["Some words", "more WORDS"], get_tokenizer("basic_english"))
    assert first == ["some", "words"]
    assert first[1] is second[1]


def test_encode_lays_texts_end_to_end() -> None:
    vocabulary = build_vocabulary([["b", "a", "b"], ["c", "b"]])  # <unk> b a c
    ids, offsets = encode([["a", "x", "b"], [], ["c"]], vocabulary)
    assert ids.tolist() == [2, 0, 1, 3]
    assert offsets.tolist() == [0, 3, 3, 4]
    assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)


def test_encode_nothing() -> None:
    ids, offsets = encode([], build_vocabulary([]))
    assert (ids.tolist(), offsets.tolist()) == ([], [0])


def test_vocabulary_is_torchtexts_and_can_be_copied_and_pickled() -> None:
    from torchtext.vocab import Vocab as TorchtextVocab

    vocabulary = build_vocabulary([["b", "a", "b"]])
    assert isinstance(vocabulary, TorchtextVocab)
    for other in (copy.deepcopy(vocabulary), pickle.loads(pickle.dumps(vocabulary))):
        assert other(["a", "b", "?"]) == [2, 1, 0]


class TestCompiledVocab:
    def test_errors_are_runtime_errors_as_in_torchtext(self) -> None:
        vocab = Vocab(["a", "b"], None)
        with pytest.raises(RuntimeError, match="not in the vocabulary: token 'z'"):
            vocab["z"]
        with pytest.raises(RuntimeError, match="'a' is already in the vocabulary, at index 0"):
            Vocab(["a", "b", "a"], None)
        with pytest.raises(RuntimeError, match="index 2 is outside"):
            vocab.lookup_token(2)
        with pytest.raises(RuntimeError, match="index -1"):
            vocab.lookup_tokens([0, -1])

    def test_default_index_can_be_set_and_taken_back(self) -> None:
        vocab = Vocab(["a"], None)
        assert vocab.get_default_index() is None
        vocab.set_default_index(7)
        assert (vocab.get_default_index(), vocab["z"]) == (7, 7)
        vocab.set_default_index(None)
        with pytest.raises(RuntimeError):
            vocab["z"]

    def test_tokens_that_are_no_text_are_refused(self) -> None:
        vocab = Vocab(["a"], 0)
        with pytest.raises(TypeError, match="a token must be a str, not int"):
            vocab.lookup_indices(["a", 1])  # type: ignore[list-item]
        with pytest.raises(UnicodeEncodeError):
            vocab["\ud800"]

    def test_tokens_with_a_zero_byte(self) -> None:
        assert Vocab(["a\0b", "a"], None).lookup_indices(["a", "a\0b"]) == [1, 0]


class TestImport:
    @pytest.mark.process
    def test_no_warning(self) -> None:
        code = "from sweep.tasks.data.tokenize import *; get_tokenizer('basic_english'); build_vocabulary([['a']])"
        result = python(code, "-W", "error::UserWarning")
        assert result.returncode == 0, result.stderr
        assert "DEPRECAT" not in result.stderr.upper()

    @pytest.mark.process
    def test_torchtext_that_loads_by_itself_is_left_alone(self, tmp_path: Path) -> None:
        package = tmp_path / "torchtext"
        package.mkdir()
        (package / "__init__.py").write_text(
            "silenced = []\ndef disable_torchtext_deprecation_warning(): silenced.append(1)\n"
        )
        code = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
            "from sweep.tasks.data.torchtext_compat import import_torchtext\n"
            "module = import_torchtext()\n"
            "assert module.silenced == [1], module\n"
            "loaded = [name for name in sys.modules if name.startswith(('torchtext.', 'prune'))]\n"
            "assert not loaded, loaded\n"
        )
        result = python(code)
        assert result.returncode == 0, result.stderr

    @pytest.mark.process
    def test_missing_torchtext_is_named(self) -> None:
        code = (
            "import sys; sys.modules['torchtext'] = None\n"
            "from sweep.tasks.data.torchtext_compat import import_torchtext\n"
            "try:\n"
            "    import_torchtext()\n"
            "except ModuleNotFoundError as error:\n"
            "    print(error)\n"
            "print([name for name in sys.modules if name.startswith('prune')])\n"
        )
        result = python(code)
        assert result.returncode == 0, result.stderr
        assert result.stdout == "import of torchtext halted; None in sys.modules\n[]\n"
