"""A small context-free grammar that writes sentences about four trades.

A text is about one topic. Its phrases may borrow: words that fit every topic, words that two topics share (a `scale` is played by
musicians and read by cooks), and whole phrases about another topic, which only their place in the sentence marks as an aside.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

TOPICS = ("sea", "kitchen", "garden", "music")

# Symbol -> right-hand sides, equally likely. Capitals are symbols; `~` before a symbol writes it about another topic.
GRAMMAR: dict[str, tuple[str, ...]] = {
    "TEXT": ("SENTENCE .", "BOTH", "BOTH", "REMARK . BOTH"),
    "BOTH": ("SENTENCE . SENTENCE .",),
    "SENTENCE": (
        "CLAUSE",
        "CLAUSE , CONJ CLAUSE",
        "ASIDE , CLAUSE",
        "CLAUSE , CONJ REMARK",
        "CLAUSE , ASIDE",
    ),
    "CLAUSE": ("NP VERB NP", "NP VERB PLACE", "NP VERB NP PLACE"),
    "ASIDE": ("unlike ~NP", "far from ~NP", "where ~CLAUSE", "after ~NP ~VERB ~NP"),
    "REMARK": ("PERSON said so", "PERSON SHARED_VERB SHARED_NP", "SHARED_NP SHARED_VERB again"),
    "PLACE": ("PREP NP", "PREP SHARED_NP"),
    "NP": ("DET NOUN", "DET ADJ NOUN", "DET SHARED_ADJ NOUN", "DET NOUN of SHARED_NP", "PERSON", "SHARED_NP"),
    "SHARED_NP": ("DET SHARED_NOUN", "DET SHARED_ADJ SHARED_NOUN"),
    "VERB": ("OWN_VERB", "OWN_VERB", "SHARED_VERB"),
    "PERSON": ("someone", "everyone", "nobody", "the old man", "my sister", "a stranger", "the children"),
}

# Symbol -> words, equally likely, in texts about any topic.
SHARED_WORDS: dict[str, str] = {
    "DET": "the the a every this her their",
    "CONJ": "and but while because so",
    "PREP": "near behind with under before without",
    "SHARED_NOUN": "morning house letter table light hand year friend door story price noise",
    "SHARED_ADJ": "small old heavy first quiet strange good late bright empty",
    "SHARED_VERB": "finds leaves holds wants follows remembers loses watches needs brings",
}

# The same for each topic; a word of two topics is ambiguous.
TOPIC_WORDS: dict[str, dict[str, str]] = {
    "sea": {
        "NOUN": "harbour anchor tide gull sailor hull lighthouse net bass scale wave deck oar reef",
        "ADJ": "salty stormy tidal seaworthy flat deep adrift coastal",
        "OWN_VERB": "sails moors sinks rows steers floats catches drifts",
    },
    "kitchen": {
        "NOUN": "oven broth flour cook kettle spoon dough pan scale thyme pepper plate crust recipe",
        "ADJ": "roasted salty buttery peeled sharp raw crisp simmering",
        "OWN_VERB": "bakes stirs fries tastes boils seasons beats kneads",
    },
    "garden": {
        "NOUN": "hedge tulip spade orchard seed bulb gardener lawn thyme pepper soil rake root vine",
        "ADJ": "leafy thorny raw ripe sunlit rooted deep mossy",
        "OWN_VERB": "plants waters prunes digs grows blooms rows weeds",
    },
    "music": {
        "NOUN": "violin chord choir drum melody bass scale trumpet singer encore rhythm tempo flute wave",
        "ADJ": "tuneful sharp flat minor rehearsed melodic hushed orchestral",
        "OWN_VERB": "sings plays conducts hums tunes composes beats rehearses",
    },
}

_T = TypeVar("_T")


def write(topic: str, generator: random.Random) -> str:
    """A text about `topic`."""
    words: list[str] = []
    _expand("TEXT", topic, generator, words)
    return " ".join(words)


def pick(items: Sequence[_T], generator: random.Random) -> _T:
    """One of `items`, drawn through `random()`: the one method whose sequence Python promises to keep between versions."""
    return items[int(generator.random() * len(items))]


def _rules(topic: str) -> dict[str, list[list[str]]]:
    """Symbol -> right-hand sides, each a list of symbols and words, for texts about `topic`."""
    words = SHARED_WORDS | TOPIC_WORDS[topic]
    lexical = {symbol: [[word] for word in words[symbol].split()] for symbol in words}
    return {symbol: [side.split() for side in sides] for symbol, sides in GRAMMAR.items()} | lexical


_RULES = {topic: _rules(topic) for topic in TOPICS}
_OTHERS = {topic: [other for other in TOPICS if other != topic] for topic in TOPICS}


def _expand(symbol: str, topic: str, generator: random.Random, words: list[str]) -> None:
    """Append to `words` what `symbol` becomes."""
    if symbol[0] == "~":
        symbol, topic = symbol[1:], pick(_OTHERS[topic], generator)
    sides = _RULES[topic].get(symbol)
    if sides is None:
        words.append(symbol)
        return
    for part in pick(sides, generator):
        _expand(part, topic, generator, words)
