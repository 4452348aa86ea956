import pytest

from sweep.tasks.data.tokenize import spacy_tokenizer
from sweep.tasks.metrics.detokenize import detokenize


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "A man, who isn't old, sits.",
        "The dog's ball (a red one) rolls; why?",
        "Two t-shirts cost $5 or 50% more!",
        'A sign says "no entry" and they\'re in.',
        "The boys' hats: blue and/or green.",
        "I'm sure we've seen what he'd do, and they'll see.",
    ],
)
def test_english_comes_back_from_its_tokens(text):
    tokens = spacy_tokenizer("en")(text)
    assert len(tokens) > len(text.split())
    assert detokenize(tokens) == text


def test_nothing():
    assert detokenize([]) == ""
