"""A small synchronous grammar: it writes sentences in an invented language together with their translation into English.

Both sides come from one derivation. The invented language puts the verb last and adjectives after their nouns, says `ka` after an
object, glues "the" to the noun, and has one word for some pairs of English words that only the verb or its place tells apart.
"""

import random
from collections.abc import Mapping

from sweep.tasks.toy_grammar import pick

# Symbol -> (source side, target side), equally likely. A capital with a number stands for the same part on both sides.
RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "TEXT": (
        ("CLAUSE1 .", "CLAUSE1 ."),
        ("CLAUSE1 .", "CLAUSE1 ."),
        ("CLAUSE1 , CONJ1 CLAUSE2 .", "CLAUSE1 CONJ1 CLAUSE2 ."),
        ("PLACE1 , CLAUSE1 .", "CLAUSE1 PLACE1 ."),
    ),
    "CLAUSE": (
        ("NP1 NP2 ka VERB1", "NP1 VERB1 NP2"),
        ("NP1 NP2 ka VERB1", "NP1 VERB1 NP2"),
        ("NP1 PLACE1 WALK1", "NP1 WALK1 PLACE1"),
        ("NP1 NP2 ka PLACE1 VERB1", "NP1 VERB1 NP2 PLACE1"),
    ),
    "PLACE": (("NP1 PREP1", "PREP1 NP1"),),
    "NP": (
        ("NOUN1 ADJ1", "a ADJ1 NOUN1"),
        ("NOUN1 -o", "the NOUN1"),
        ("NOUN1 -o ADJ1", "the ADJ1 NOUN1"),
        ("NOUN1 -o NOUN2 ni", "the NOUN1 of a NOUN2"),
    ),
}

# Symbol -> source=target words, equally likely. One source word with two translations stands in two places.
WORDS: dict[str, str] = {
    "CONJ": "ta=and mo=while sela=because",
    "PREP": "un=in sub=under par=near ond=behind",
    "NOUN": (
        "toma=boat kiru=bread hana=flower lute=song pesk=fish marin=sailor koko=cook vert=garden suna=sun nokt=night "
        "dom=house fen=window arb=tree ruta=road mela=child vilo=wheel akva=river monto=hill libro=book luno=moon"
    ),
    "ADJ": "gran=big peti=small nova=new malv=worn verd=green roja=red kiet=quiet lum=bright",
    "VERB": "vid=sees am=loves port=carries trov=finds kant=sings lav=washes akvi=waters ten=holds",
    "WALK": "marsh=walks dorm=sleeps rest=waits kant=sings akvi=swims sta=stands",
}


def write_pair(generator: random.Random) -> tuple[str, str]:
    """A sentence of the invented language and its English translation, tokens separated by spaces."""
    source, target = _expand("TEXT", generator)
    return " ".join(source), " ".join(target)


def _lexicon() -> Mapping[str, list[tuple[str, str]]]:
    return {
        symbol: [(source, target) for source, _, target in (word.partition("=") for word in words.split())]
        for symbol, words in WORDS.items()
    }


_LEXICON = _lexicon()


def _expand(symbol: str, generator: random.Random) -> tuple[list[str], list[str]]:
    """What `symbol` becomes, on both sides."""
    if symbol in _LEXICON:
        word, translation = pick(_LEXICON[symbol], generator)
        return [word], [translation]
    sides = [side.split() for side in pick(RULES[symbol], generator)]
    parts = {part: _expand(part[:-1], generator) for part in sides[0] if part[-1].isdigit()}
    source, target = (
        [word for part in side for word in (parts[part][index] if part in parts else [part])]
        for index, side in enumerate(sides)
    )
    return source, target
