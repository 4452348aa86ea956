"""What a report says, and that it says it in files that stand alone."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.rows import change, score, write_sweep

from sweep.cli.app import app
from sweep.core.atomic_files import write_text
from sweep.report import figures_metric, watch, write_report
from sweep.report.blocks import Figure, Notice, Points, Table
from sweep.report.document import document
from sweep.report.file_list import instead_of_the_last
from sweep.report.inputs import gather
from sweep.report.paper_comparison import compare_with_paper
from sweep.report.render_html import rich
from sweep.report.render_latex import escape
from sweep.report.render_markdown import to_markdown
from sweep.report.stats import summarise
from sweep.store.layout import SweepPaths

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    sweep = write_sweep(tmp_path_factory.mktemp("report") / "s")
    write_report(sweep)
    return sweep


def notices(sweep):
    return {
        notice.text: notice
        for section in document(gather(sweep)).sections
        for notice in section.blocks
        if isinstance(notice, Notice)
    }


def records(sweep, name):
    with sweep.table(f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_report_is_one_page_markdown_tables_and_figures(written):
    tables = {path.name for path in written.table("x").parent.iterdir()}
    for name in ("toy_accuracy", "toy_paired", "toy_masks", "toy_flops"):
        assert {f"{name}.csv", f"{name}.md", f"{name}.tex"} <= tables
    plots = {path.name for path in written.plot("x").parent.iterdir()}
    named = ("accuracy", "difference", "curves", "pareto", "time", "layers", "collapse")
    assert plots == {"toy_accuracy.png", *(f"toy_{name}.svg" for name in named)}
    text = written.report_markdown.read_text()
    linked = re.findall(r"\]\(([^)]+)\)", text)
    assert linked
    assert all((written.report / link).is_file() for link in linked)


def test_the_page_asks_for_nothing_else(written):
    page = written.report_html.read_text()
    assert re.findall(r'(?:src|href)="(?!#|data:,)[^"]*"', page) == []
    assert re.findall(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", page) == []
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "an id is one element's"
    targets = re.findall(r'(?:url\(#|href="#)([^)"]+)', page)
    assert set(targets) <= set(ids)


def test_means_intervals_and_differences_are_those_of_the_rows(written):
    values = [score("grasp", 1.0, seed) for seed in (0, 1, 2)]
    expected = summarise(values)
    (found,) = (line for line in records(written, "toy_accuracy") if line["compression"] == "1.0")
    assert float(found["grasp mean"]) == pytest.approx(expected.mean)
    assert float(found["grasp high"]) - float(found["grasp low"]) == pytest.approx(2 * expected.half_width)
    assert found["grasp n"] == "3"
    # (5 - 6) * 0.5 at c = 1 for every seed: one of two assignments of eight, times two rows
    (paired,) = (line for line in records(written, "toy_paired") if line["compression"] == "1.0")
    assert float(paired["pruner − random mean"]) == pytest.approx(-0.5)
    assert [float(paired[name]) for name in ("p", "smallest p", "p, Holm")] == [0.25, 0.25, 0.5]


def test_one_seed_has_no_interval_and_no_comparison(tmp_path):
    sweep = write_sweep(tmp_path / "s", seeds=(0,))
    write_report(sweep)
    text = sweep.report_markdown.read_text()
    assert "(n=1)" in text
    assert "±" not in "".join(line for line in text.splitlines() if "(n=1)" in line)
    assert "One seed per cell: no comparison with random has an interval" in text
    (line,) = (line for line in records(sweep, "toy_accuracy") if line["compression"] == "1.0")
    assert (line["grasp low"], line["grasp high"]) == ("", "")


def test_missing_cells_are_missing_and_pairings_say_so(tmp_path):
    sweep = write_sweep(tmp_path / "s")
    for seed in (0, 1, 2):
        sweep.run(f"toy-grasp-c2-s{seed}").result.unlink()
    sweep.run("toy-random-c1-s1").result.unlink()
    write_report(sweep)
    text = sweep.report_markdown.read_text()
    assert "11 of 15 runs are complete." in text
    assert re.search(r"^\| 2 \| 0\.01 \| .* \| – \|$", text, re.M)
    (warning,) = (n for t, n in notices(sweep).items() if "seeds are missing" in t)
    assert (warning.level, set(warning.details)) == (
        "warning",
        {"grasp at 2: seeds 0, 1, 2", "random at 1: seeds 1"},
    )
    assert {line["run"] for line in records(sweep, "missing")} == {
        "toy-random-c1-s1", *(f"toy-grasp-c2-s{seed}" for seed in (0, 1, 2)),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mask_effective": False}, "1 run in which pruned weights still affect the output"),
        ({"kept": 50}, "1 run kept a number of weights other than requested"),
        ({"layer_collapse": True}, "1 run in which a layer is empty while others are not"),
        ({"data_verified": False}, "not the published data"),
        ({"test_metric": float("nan")}, "1 run did not learn"),
    ],
)
def test_what_a_conclusion_must_not_rest_on_is_a_warning_on_top(tmp_path, values, said):
    sweep = write_sweep(tmp_path / "s")
    assert not any(said in text for text in notices(sweep))
    change(sweep, "toy-grasp-c1-s1", **values)
    (notice,) = (notice for text, notice in notices(sweep).items() if said in text)
    assert notice.level == "warning"
    if "1 run" in said:
        assert list(notice.details) == ["toy-grasp-c1-s1"]
    text = to_markdown(document(gather(sweep)))
    assert text.index(said) < text.index("runs are complete")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ties": 3}, "with several scores equal to the threshold"),
        ({"dead_units": 12}, "with dead units (without a live input or output), up to 12"),
        ({"effective_density": 0.01}, "some kept weights are on no path"),
        ({"git_sha": "other"}, "2 versions of the code"),
    ],
)
def test_what_a_reader_should_know_is_a_note(tmp_path, values, said):
    sweep = write_sweep(tmp_path / "s")
    change(sweep, "toy-grasp-c1-s1", **values)
    assert [notice.level for text, notice in notices(sweep).items() if said in text] == ["note"]


def test_two_metrics_are_never_averaged(tmp_path):
    """A task whose metric has been renamed: the latest rows count, the others are named."""
    sweep = write_sweep(tmp_path / "s")
    old = ["toy-grasp-c1-s0", "toy-random-c1-s1"]
    for run_id in old:
        change(sweep, run_id, metric="F1", finished_at=datetime(2020, 1, 1, tzinfo=UTC))
    inputs = gather(sweep)
    (task,) = inputs.tasks
    assert {row["metric"] for row in task.rows} == {"accuracy"}
    assert len(task.rows) == 13
    assert sorted(inputs.problems) == [
        f"{run_id}: its metric is F1, that of later runs accuracy" for run_id in old
    ]


def test_masks_of_two_kinds_of_scores_are_a_warning(tmp_path):
    """Before schema 6 scoring batches of unequal size had equal weights."""
    sweep = write_sweep(
        tmp_path / "s", compressions=(1.0,), score_samples=257, score_batch_size=256, schema_version=6
    )
    assert not any("scoring batch" in text for text in notices(sweep))
    change(sweep, "toy-grasp-c1-s1", schema_version=5)
    (text,) = (text for text in notices(sweep) if "scoring batch" in text)
    assert text.startswith("toy: 1 run gave every scoring batch the same weight")
    even = write_sweep(
        tmp_path / "even", compressions=(1.0,), score_samples=512, score_batch_size=256, schema_version=6
    )
    change(even, "toy-grasp-c1-s1", schema_version=5)
    assert not any("scoring batch" in text for text in notices(even))


def test_retries_are_reported(tmp_path):
    sweep = write_sweep(tmp_path / "s")
    assert "retries" not in to_markdown(document(gather(sweep)))
    change(sweep, "toy-grasp-c1-s1", retries=2, retry_history='["memory", "node"]')
    text = to_markdown(document(gather(sweep)))
    assert "2 retries after out-of-memory, node failure or time-out" in text
    assert '- `toy-grasp-c1-s1`: ["memory", "node"]' in text


def test_an_empty_layer_is_in_the_figure_of_collapse(written):
    assert records(written, "toy_collapse_data") == [
        {"layer": "second", "pruner": name, "first empty at compression": "2.0", "in seeds": "3"}
        for name in ("random", "grasp")
    ]


def test_the_front_by_hand():
    # (1, 5) is beaten by (1, 6); (2, 6) costs more for the same; (3, 7) is worth more
    assert figures_metric.front([(1, 5), (1, 6), (2, 6), (3, 7)]) == [False, True, False, True]


def test_a_hostile_name_is_text(tmp_path):
    sweep = write_sweep(tmp_path / "<b>&|", pruners=("random", "<i>|&_$\"'"), compressions=(0.0, 1.0))
    write_report(sweep)
    page = sweep.report_html.read_text()
    assert "<i>" not in page
    assert "<b>&amp;" not in page
    assert "&lt;i&gt;|&amp;_$" in page
    header = next(
        line
        for line in sweep.report_markdown.read_text().splitlines()
        if line.startswith("| compression | density")
    )
    assert header.replace("\\|", "").count("|") == 5
    assert r"\textless{}i\textgreater{}\textbar{}\&\_\$" in sweep.table("toy_accuracy.tex").read_text()


def test_escapes():
    assert escape("5 % ± 1_a−b") == r"5 \% $\pm$ 1\_a$-$b"
    assert rich("**a** `b<c` *d*") == "<strong>a</strong> <code>b&lt;c</code> <em>d</em>"


TRANSLATION = {
    **{f"bleu_precision_{n}": 50.0 for n in (1, 2, 3, 4)},
    "bleu_brevity_penalty": 1.0,
    "bleu_paper": 20.0,
    "sacrebleu": 30.0,
    "sacrebleu_signature": "s",
}


@pytest.mark.parametrize(
    "content", [b'[{"source": "a", ', b"", b"\xff", b"null", b"5", b"[]", b"[{}]", b'[{"source": "a"}, 5]']
)
def test_damaged_sentences_are_left_out_and_named(tmp_path, content):
    sweep = write_sweep(tmp_path / "s", compressions=(0.0, 1.0), seeds=(0,), **TRANSLATION)
    for status in gather(sweep).statuses:
        sentence = {"source": "Quelle", "reference": "source", "output": f"by {status.spec.pruner}"}
        sweep.run(status.run_id).samples.write_text(json.dumps([sentence]))
    assert not any("could not be used" in text for text in notices(sweep))
    damaged = sweep.run("toy-grasp-c1-s0").samples
    damaged.write_bytes(content)
    (notice,) = (notice for text, notice in notices(sweep).items() if "1 file could not be used" in text)
    (line,) = notice.details
    assert line.startswith(f"{damaged}: cannot be read (")
    write_report(sweep)
    texts = {line["text"] for line in records(sweep, "toy_sentence_1")}
    assert texts == {"Quelle", "source", "by dense", "by random"}


def test_a_report_is_the_same_every_time(written, tmp_path):
    shutil.copytree(written.directory, tmp_path / "s", ignore=shutil.ignore_patterns("report"))
    again = SweepPaths(tmp_path / "s")
    write_report(again)
    names = {path.relative_to(written.report) for path in written.report.rglob("*.*")}
    assert names == {path.relative_to(again.report) for path in again.report.rglob("*.*")}
    for name in names:
        assert (written.report / name).read_bytes() == (again.report / name).read_bytes(), name


def test_what_only_the_last_report_had_is_gone_and_nothing_else(tmp_path):
    sweep = write_sweep(tmp_path / "s")
    result = sweep.run("toy-random-c1-s1").result
    result.rename(tmp_path / "kept")
    write_report(sweep)
    (sweep.report / "tables" / "my.csv").write_text("mine")
    assert [line["run"] for line in records(sweep, "missing")] == ["toy-random-c1-s1"]
    (tmp_path / "kept").rename(result)
    write_report(sweep)
    left = {path.relative_to(sweep.report).as_posix() for path in sweep.report.rglob("*") if path.is_file()}
    assert not any("missing" in name for name in left)
    assert left == {*json.loads(sweep.report_files.read_text()), "files.json", "tables/my.csv"}


def test_what_a_cut_off_report_left_goes_with_the_next(tmp_path, monkeypatch):
    sweep = write_sweep(tmp_path / "s")
    result = sweep.run("toy-random-c1-s1").result
    result.rename(tmp_path / "kept")

    def cut(path, text):
        if path == sweep.report_html:
            raise KeyboardInterrupt
        write_text(path, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sweep.report.writer.write_text", cut)
        write_report(sweep)
    assert sweep.table("missing.csv").is_file()
    (tmp_path / "kept").rename(result)
    write_report(sweep)
    assert not sweep.table("missing.csv").exists()


def test_a_report_deletes_nothing_that_another_writes_meanwhile(tmp_path):
    sweep = SweepPaths(tmp_path / "s")
    page, table = sweep.report_markdown, sweep.table("missing.csv")

    def writer(*files):
        with instead_of_the_last(sweep, files):
            for file in files:
                write_text(file, "")

    writer(page, table)
    with instead_of_the_last(sweep, [page]):
        writer(page, table)
    assert table.is_file()
    assert set(json.loads(sweep.report_files.read_text())) == {"report.md", "tables/missing.csv"}
    os.utime(table, (0, 0))
    writer(page)
    assert not table.exists()


@pytest.mark.parametrize(
    "listed", ["", "7", "[7]", '["../grid.yaml", "{outside}", "gone.csv", "tables", ""]']
)
def test_a_damaged_list_of_files_deletes_nothing(listed, tmp_path):
    sweep = write_sweep(tmp_path / "s")
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    before = {path for path in sweep.directory.rglob("*") if path.is_file()}
    sweep.report.mkdir()
    sweep.report_files.write_text(listed.replace("{outside}", str(outside)))
    write_report(sweep)
    assert outside.is_file()
    assert all(path.is_file() for path in before)
    assert "report.md" in json.loads(sweep.report_files.read_text())


@pytest.mark.process
@pytest.mark.parametrize(
    "directory", sorted(path.parent for path in REFERENCE.glob("*/grid.yaml")), ids=lambda path: path.name
)
def test_the_committed_reports_are_of_the_committed_rows(directory, tmp_path):
    shutil.copytree(directory, tmp_path / directory.name, ignore=shutil.ignore_patterns("report"))
    app(["report", directory.name, "--results", str(tmp_path)], standalone_mode=False)
    written = tmp_path / directory.name / "report"
    assert (written / "report.html").stat().st_size < 1_000_000
    # report.md and what it links to are committed (tests/test_links.py); the rest is written again, here too perhaps
    links = re.findall(r"\]\(((?:plots|tables)/[^)]+)\)", (written / "report.md").read_text())
    committed = {Path("report.md"), *map(Path, links)}
    assert all((directory / "report" / name).is_file() for name in committed)
    for name in committed:
        if name.suffix in (".md", ".csv", ".tex", ".json"):
            assert (directory / "report" / name).read_text() == (written / name).read_text(), name


@pytest.mark.process
def test_the_committed_findings_are_of_the_committed_rows(tmp_path):
    script = (ROOT / "docs/findings.py").read_text()
    moved = tmp_path / "docs" / "findings.py"
    moved.parent.mkdir()
    moved.write_text(script)
    (tmp_path / "results").symlink_to(ROOT / "results")
    subprocess.run([sys.executable, str(moved)], check=True, timeout=240)
    text = (tmp_path / "docs/findings.md").read_text()
    assert text == (ROOT / "docs/findings.md").read_text()
    assert re.findall(r"^## (\d)\.", text, re.M) == list("123456789")


def test_findings_of_translations(tmp_path, monkeypatch):
    """Also before the reference has any: the claims about translation with numbers worked by hand."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    import findings

    precisions = {
        f"bleu_precision_{n}": p for n, p in zip((1, 2, 3, 4), (80.0, 40.0, 20.0, 10.0), strict=True)
    }
    more = {
        **precisions,
        "bleu_brevity_penalty": 1.0,
        "bleu_paper": 20.0,
        "sacrebleu": 30.0,
        "sacrebleu_signature": "s",
    }
    (translation,) = gather(write_sweep(tmp_path / "t", compressions=(0.0, 2.0), seeds=(0,), **more)).tasks
    (news,) = gather(write_sweep(tmp_path / "n")).tasks
    said = {claim: " ".join(answers) for claim, answers in findings.claims(news, translation, None)}
    # 90 dense; random 90 - 20 + 6, grasp one below; the same in both tasks at c = 2
    text = said["GraSP is only marginally better than random on translation"]
    assert "grasp − random in BLEU at c = 2: −1.00 (n=1)." in text
    assert "not answered" in text
    assert "One seed per cell" in said["Translation barely changes with compression, and sometimes improves"]
    # (80 * 40 * 20 * 10) ** (1/4), and 80 alone
    weights = said["A BLEU near 25 may come from the uniform n-gram weights"]
    assert "dense at c = 0: BLEU-4 28.28" in weights
    assert "BLEU-1 80.00" in weights
    assert "the metric loses 15." in said["Translation is more sensitive to pruning than classification"]


def test_watching_ends_when_nothing_runs(tmp_path):
    sweep = write_sweep(tmp_path / "s", compressions=(0.0, 1.0))
    said = []
    watch(sweep, said.append)
    assert len(said) == 1
    assert said[0].endswith(f"9 of 9 runs  {sweep.report_html}")


def test_watching_writes_again_when_a_run_has_ended(tmp_path, monkeypatch):
    """The first look finds a running run, the pause ends it, the second look finds it done."""
    sweep = write_sweep(tmp_path / "s", compressions=(0.0, 1.0))
    result = sweep.run("toy-grasp-c1-s0").result
    kept = result.read_bytes()
    result.unlink()
    import dataclasses

    from sweep.report import writer

    real = writer.gather

    def gather_running(paths):
        inputs = real(paths)
        states = [
            dataclasses.replace(s, state="running") if s.state == "pending" else s for s in inputs.statuses
        ]
        return dataclasses.replace(inputs, statuses=states)

    monkeypatch.setattr(writer, "gather", gather_running)
    monkeypatch.setattr(writer.time, "sleep", lambda _: result.write_bytes(kept))
    said = []
    writer.watch(sweep, said.append)
    assert [line.split("  ")[1] for line in said] == ["8 of 9 runs", "9 of 9 runs"]
    assert "9 of 9 runs are complete" in sweep.report_markdown.read_text()


def test_every_figure_has_its_data(written):
    for section in document(gather(written)).sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                assert block.data.lines, block.name
                assert block.alt


def test_what_is_reproduced_is_counted_among_what_was_run():
    """Two pruners at c = 2 and the dense network were run, one seed each, of the paper's nine cells."""
    (task,) = gather(SweepPaths(REFERENCE / "multi30k_cpu")).tasks
    (section,) = compare_with_paper(task)
    assert isinstance(section.blocks[0], Points)
    assert section.blocks[0].items == [
        "Table 4 against our test BLEU: one seed, no interval: 3; not run: 6.",
        "Table 4 against our BLEU against raw references: one seed, no interval: 3; not run: 6.",
        "FLOPs remaining (Table 5): 1 of 2 cells reproduced, within 0.01 (random at 2); not reproduced: 1 (grasp at 2); "
        "not run: 6.",
    ]


def test_a_single_run_of_the_paper_is_held_against_single_runs_of_ours():
    """62.28 ± 7.03 of ten runs is ± 23.3 of one more: the paper's 48.17 is no mean of ours, but may be a run."""
    (task,) = gather(SweepPaths(REFERENCE / "ag_news")).tasks
    table = next(block for block in compare_with_paper(task)[0].blocks if isinstance(block, Table))
    answers = {
        (line.cells[1].text, line.cells[0].text): [c.text for c in line.cells[-2:]] for line in table.lines
    }
    assert answers["random", "2"] == ["no", "yes"]
    assert answers["random", "1"] == ["no", "no"]
