"""BLEU by hand, and against sacreBLEU without its tokenizer and smoothing."""

import math
import random

import pytest
from sacrebleu.metrics import BLEU

from sweep.tasks.metrics.bleu import UNIFORM, WEIGHTINGS, corpus_bleu, sacrebleu, weighted

OUTPUTS = ["the cat sat on the mat", "a dog"]
REFERENCES = ["the cat sat on a mat today", "a dog barks"]


def test_its_parts_by_hand():
    """8 tokens against 10. 1-grams: "the" counts once, so 5 of 6 and 2 of 2; 2: 3 of 5 and 1 of 1; 3: 2 of 4; 4: 1 of 3."""
    found = corpus_bleu(OUTPUTS, REFERENCES)
    assert found.precisions == pytest.approx([100 * 7 / 8, 100 * 4 / 6, 100 * 2 / 4, 100 * 1 / 3])
    assert found.brevity_penalty == pytest.approx(math.exp(1 - 10 / 8))
    product = (7 / 8) * (4 / 6) * (2 / 4) * (1 / 3)
    assert found.score == pytest.approx(100 * math.exp(1 - 10 / 8) * product**0.25)


def test_it_is_of_the_corpus_and_not_a_mean_of_sentences():
    generator = random.Random(0)
    words = ["a", "b", "c", "d", "e"]
    outputs = [" ".join(generator.choices(words, k=generator.randint(4, 12))) for _ in range(50)]
    references = [" ".join(generator.choices(words, k=generator.randint(4, 12))) for _ in range(50)]
    theirs = BLEU(tokenize="none", smooth_method="none", force=True).corpus_score(outputs, [references])
    ours = corpus_bleu(outputs, references)
    assert ours.score == pytest.approx(theirs.score, rel=1e-5)
    assert ours.precisions == pytest.approx(theirs.precisions, rel=1e-5)
    assert ours.brevity_penalty == pytest.approx(theirs.bp, rel=1e-6)


@pytest.mark.parametrize("output", ["", "dog", "never seen before at all"])
def test_nothing_right_is_zero_and_no_error(output):
    found = corpus_bleu([output], ["the cat sat on the mat"])
    assert found.score == 0
    assert weighted(found.precisions, found.brevity_penalty, UNIFORM) == 0
    assert found.brevity_penalty == pytest.approx(math.exp(1 - 6 / len(output.split())) if output else 0)


def test_weightings():
    precisions, penalty = (80.0, 60.0, 40.0, 20.0), 0.9
    assert weighted(precisions, penalty, (1, 0, 0, 0)) == pytest.approx(90 * 0.8)
    assert weighted(precisions, penalty, (0.5, 0.5, 0, 0)) == pytest.approx(90 * math.sqrt(0.8 * 0.6))
    found = corpus_bleu(OUTPUTS, REFERENCES)
    assert weighted(found.precisions, found.brevity_penalty, UNIFORM) == pytest.approx(found.score)
    # a precision of 0 without weight does no harm
    assert weighted((50.0, 0.0, 0.0, 0.0), 1.0, (1, 0, 0, 0)) == pytest.approx(50)
    assert all(sum(weights) == pytest.approx(1) for weights in WEIGHTINGS.values())


def test_sacrebleu_tokenizes_itself_and_says_how():
    score, signature = sacrebleu(["the cat sat on the mat."], ["the cat sat on the mat ."])
    assert score == pytest.approx(100)
    assert "tok:13a" in signature
