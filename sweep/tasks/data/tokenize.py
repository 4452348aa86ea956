"""From texts to token ids, with torchtext's or spaCy's tokenizers and torchtext's vocabulary factory."""

import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from sweep.core.errors import DataError, summarise_exception
from sweep.tasks.data.torchtext_compat import import_torchtext

UNKNOWN = "<unk>"

Tokenizer = Callable[[str], list[str]]


def get_tokenizer(name: str) -> Tokenizer:
    """torchtext's tokenizer of that name, e.g. `basic_english`: lower case, punctuation apart, quotes and `;` `:` dropped."""
    import_torchtext()
    from torchtext.data import get_tokenizer as torchtext_tokenizer

    return torchtext_tokenizer(name)


def spacy_tokenizer(language: str) -> Tokenizer:
    """spaCy's rules for a language, by its code: those of the tokenizer in its `*_core_news_sm` models, which are not needed.

    Raises:
        DataError: spaCy has no such language.
    """
    import spacy

    try:
        rules = spacy.blank(language).tokenizer
    except ImportError as error:
        raise DataError(
            f"spaCy cannot tokenize the language {language!r} ({summarise_exception(error)}); give a code that it has, such as de"
        ) from None
    return lambda text: [token.text for token in rules(text)]


def tokenize(texts: Iterable[str], tokenizer: Tokenizer) -> list[list[str]]:
    """Token lists of `texts`. Equal tokens are one string object, so a corpus costs 8 bytes a token and not 60."""
    return [[sys.intern(token) for token in tokenizer(text)] for text in texts]


def build_vocabulary(texts: Iterable[Sequence[str]], specials: Sequence[str] = (UNKNOWN,)) -> Any:
    """The `torchtext.vocab.Vocab` of tokenized texts: `specials` first, then by falling frequency; unknown tokens map to `<unk>`.

    Tokens of equal frequency are in lexical order.
    """
    import_torchtext()
    from torchtext.vocab import build_vocab_from_iterator

    vocabulary = build_vocab_from_iterator(texts, specials=list(specials))
    vocabulary.set_default_index(vocabulary[UNKNOWN])
    return vocabulary


def encode(
    texts: Sequence[Sequence[str]], vocabulary: Any
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Token ids of tokenized texts, laid end to end.

    Returns:
        ids: int32 `[total]`.
        offsets: int64 `[len(texts) + 1]`; text i is `ids[offsets[i]:offsets[i + 1]]`.
    """
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    ids = chain.from_iterable(vocabulary.lookup_indices(text) for text in texts)
    return np.fromiter(ids, dtype=np.int32, count=int(offsets[-1])), offsets
