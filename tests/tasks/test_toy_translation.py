"""The toy translation task: its corpus, and runs of it from end to end."""

import json
import random
import re

import pyarrow.parquet as pq
import pytest
import torch
from support.workplace import science

import prune
import sweep
from sweep.tasks import get_task
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.metrics.bleu import corpus_bleu
from sweep.tasks.toy_translation import ROWS
from sweep.tasks.toy_translation_grammar import RULES, WORDS, write_pair


def make(**options):
    kind = get_task("toy_translation")
    return kind(kind.Options(**options))


@pytest.fixture(scope="module")
def data(token_cache):
    return make().prepare(DataSource(None, False, token_cache))


def test_the_corpus_is_the_same_everywhere(data):
    """Old results are comparable with new ones only while this hash stays; a change of the corpus changes it."""
    assert data.data_hash == "6e242fe4e91b6faa1bbeb987c3d3f611a4d444532e1b6576608e668c11ad0234"
    assert data.data_verified
    assert (data.train_rows, len(data.validation), data.test_rows) == tuple(ROWS.values())


def test_pairs_say_the_same_on_both_sides():
    """Nouns, adjectives, verbs: as many words of the lexicon on one side as their translations on the other."""
    lexicon = [word.partition("=") for words in WORDS.values() for word in words.split()]
    generator = random.Random(1)
    for _ in range(200):
        source, target = write_pair(generator)
        for word, _, _ in lexicon:
            translations = {t for w, _, t in lexicon if w == word}
            assert source.split().count(word) == sum(target.split().count(t) for t in translations)
        assert source.endswith(" .")
        assert target.endswith(" .")
    assert {
        symbol for sides in RULES.values() for side in sides for symbol in re.findall("[A-Z]+", side[0])
    } <= {
        *RULES,
        *WORDS,
    }


def test_every_option_of_what_is_prunable_is_obeyed(data):
    """Generator, three `out_proj`, two feed-forwards of two layers; with all, three times queries, keys and values."""
    counts = {}
    for prunable in ("paper", "all"):
        task = make(prunable=prunable)
        model = task.model(data)
        report = prune.prune_model(model, task.loss, [], "random", 0, skip=task.unpruned(model))
        counts[prunable] = report.total
    paper = data.info["tgt_vocab"] * 64 + 3 * 64 * 64 + 2 * 2 * 64 * 64
    assert counts == {"paper": paper, "all": paper + 3 * 3 * 64 * 64}


def test_training_and_scoring_loss_are_one(data):
    task = make()
    torch.manual_seed(0)
    model = task.model(data)
    inputs, target = data.train.batches(32)[0]
    plain = task.loss(model(*inputs), target)
    torch.testing.assert_close(task.training_loss(model, inputs, target), plain)
    logits = model(*inputs).log_softmax(-1)
    picked = logits.gather(2, target[:, 1:, None])[..., 0][target[:, 1:] != 1]
    torch.testing.assert_close(plain, -picked.mean())


@pytest.mark.slow
def test_evaluation_is_of_the_whole_split_and_leaves_the_model_alone(data):
    task = make()
    torch.manual_seed(0)
    model = task.model(data).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = task.measure(model, data.validation, 64)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        losses = [
            (task.loss(model.eval()(*inputs), target).item(), int((target[:, 1:] != 1).sum()))
            for inputs, target in data.validation.batches(1)
        ]
    tokens = sum(count for _, count in losses)
    assert found["loss"] == pytest.approx(sum(loss * count for loss, count in losses) / tokens, rel=1e-5)


GRID = {
    "tasks": {"toy_translation": {"epochs": 2}},
    "pruners": ["random", "grasp"],
    "compressions": [0.5],
    "set": {"precision": "bf16", "batching": "tokens", "batch_tokens": 1500},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, token_cache):
    from support.workplace import Workplace

    directory = tmp_path_factory.mktemp("translation")
    (directory / "grid.yaml").write_text(json.dumps({"seeds": [0], **GRID}))
    work = Workplace(directory / "results", {"SWEEP_CACHE": str(token_cache)})
    done = work("--grid", directory / "grid.yaml", "--local")
    assert (done.returncode, done.stderr) == (0, "")
    return work, done


@pytest.mark.process
def test_a_run_leaves_everything_of_a_translation(finished, data):
    work, done = finished
    assert "toy_translation: test BLEU" in done.stdout
    rows = sweep.load(work.results).to_pylist()
    assert [row["pruner"] for row in rows] == ["grasp", "random"]
    for row in rows:
        paths = work.paths().run(row["run_id"])
        assert (row["metric"], row["precision"], row["mask_effective"]) == ("BLEU", "bf16", True)
        assert json.loads(row["options"])["batch_tokens"] == 1500
        assert 0 < row["padding_waste"] < 0.3
        assert row["test_accuracy"] is None
        assert 0 < row["train_loss"] < 4
        assert row["sacrebleu_signature"].startswith("nrefs:1")
        precisions = [row[f"bleu_precision_{n}"] for n in (1, 2, 3, 4)]
        assert precisions == sorted(precisions, reverse=True)
        product = torch.tensor(precisions, dtype=torch.float64).log().mean().exp().item()
        assert row["test_metric"] == pytest.approx(row["bleu_brevity_penalty"] * product, rel=1e-5)
        epochs = pq.read_table(paths.epochs).to_pylist()
        assert [epoch["eval_split"] for epoch in epochs] == ["validation"] * 2
        assert epochs[1]["eval_metric"] > epochs[0]["eval_metric"] > 0
        samples = json.loads(paths.samples.read_text(encoding="utf-8"))
        assert [sample["source"] for sample in samples] == data.test.texts("source")[:10]
        assert all(sample["output"] for sample in samples)


@pytest.mark.process
def test_the_report_shows_bleu_by_other_definitions_and_sentences(finished):
    work, _ = finished
    report = work.paths().report_markdown.read_text()
    rows = sweep.load(work.results).to_pylist()
    for row in rows:
        line = next(
            line
            for line in report.splitlines()
            if line.startswith(f"| 0.5 | {row['pruner']} | ") and line.count("|") == 12
        )
        shown = [float(cell) for cell in line.split("|")[3:-1]]
        one = row["bleu_precision_1"] * row["bleu_brevity_penalty"]
        two = (row["bleu_precision_1"] * row["bleu_precision_2"]) ** 0.5 * row["bleu_brevity_penalty"]
        expected = {
            0: row["test_metric"],
            2: two,
            3: one,
            6: row["bleu_brevity_penalty"],
            7: row["bleu_paper"],
            8: row["sacrebleu"],
        }
        assert {column: shown[column] for column in expected} == pytest.approx(expected, abs=0.0051)
        assert f"| {row['pruner']} at 0.5 | " in report
    assert "| reference | " in report


@pytest.mark.process
def test_the_stored_score_is_that_of_the_stored_network(finished):
    """Weights are not kept, but ten translations are: they are what the same specification gives again."""
    work, _ = finished
    again = work(
        "--grid", work.results.parent / "grid.yaml", "--local", "--name", "again", "--only", "pruner=random"
    )
    assert again.returncode == 0
    rows = [
        science([row for row in sweep.load(work.results / name).to_pylist() if row["pruner"] == "random"])
        for name in ("grid", "again")
    ]
    assert rows[0] == rows[1]
    (row,) = sweep.load(work.results / "again").to_pylist()
    samples = [
        json.loads(work.paths(name).run(row["run_id"]).samples.read_text()) for name in ("grid", "again")
    ]
    assert samples[0] == samples[1]


def test_a_perfect_translation_scores_100(data):
    references = data.test.texts("reference")
    assert corpus_bleu(references, references).score == pytest.approx(100)
