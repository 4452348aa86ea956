"""A sweep copied as its rows alone is used as the sweep itself."""

import json
import logging
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from support.rows import change, write_sweep

import sweep
from sweep.cli.app import app
from sweep.core.errors import UsageError
from sweep.executors.status import current_status
from sweep.report import write_report
from sweep.report.inputs import gather
from sweep.store.archive import archive
from sweep.store.collection import collect, read_rows
from sweep.store.layout import SweepPaths
from sweep.store.schema import SCHEMA_VERSION, TRANSLATION
from sweep.store.status import survey
from sweep.store.submissions import DataStamp, Submission, read_runs

TABLES = ("result", "epochs", "layers")

SENTENCE = {"source": "Zwei\u2028Männer.", "reference": "Two men.", "output": "Two men"}


@pytest.fixture
def toy(tmp_path):
    """Translations, which have samples, too."""
    values = {name: "s" if name == "sacrebleu_signature" else 20.0 for name in TRANSLATION}
    found = write_sweep(tmp_path / "s", task="toy_translation", **values)
    for run_id in read_runs(found):
        found.run(run_id).samples.write_text(json.dumps([SENTENCE | {"output": run_id}]))
    return found


@pytest.fixture
def copy(toy, tmp_path):
    target = SweepPaths(tmp_path / "kept" / "s")
    assert archive(toy, target).problems == []
    return target


RUN = "toy_translation-grasp-c1-s1"


def test_it_has_the_rows_and_no_directory_of_a_run(toy, copy):
    files = sorted(path.relative_to(copy.directory).as_posix() for path in copy.directory.rglob("*.*"))
    names = ("epochs.parquet", "layers.parquet", "result.parquet", "samples.jsonl")
    assert files == [*(f"collected/toy_translation/{name}" for name in names), "grid.yaml", "runs.jsonl"]
    for name in TABLES:
        assert sweep.load(copy.directory, name).equals(sweep.load(toy.directory, name), check_metadata=True)
        assert sweep.load(copy.directory.parent, name).equals(sweep.load(toy.directory, name))


def test_its_runs_are_done(toy, copy):
    assert {status.state for status in current_status(copy)[0]} == {"done"}
    assert survey(copy) == survey(toy)


@pytest.mark.slow
def test_its_report_is_the_sweeps(toy, copy):
    for each in (toy, copy):
        write_report(each)
    files = sorted(path.relative_to(toy.report) for path in toy.report.rglob("*.*"))
    assert files == sorted(path.relative_to(copy.report) for path in copy.report.rglob("*.*"))
    for path in files:
        assert (copy.report / path).read_bytes() == (toy.report / path).read_bytes(), path
    assert "toy_translation-grasp-c1-s0" in copy.report_markdown.read_text()


def test_collecting_it_and_copying_it_lose_nothing(copy, tmp_path):
    before = {path: path.read_bytes() for path in copy.collected.rglob("*.*")}
    assert (collect(copy).runs, collect(copy).read) == (15, 0)
    assert {path: path.read_bytes() for path in copy.collected.rglob("*.*")} == before
    again = SweepPaths(tmp_path / "again")
    archive(copy, again)
    for path, content in before.items():
        assert (again.directory / path.relative_to(copy.directory)).read_bytes() == content


def test_a_run_that_begins_again_counts_by_its_own_files(toy, copy):
    copy.run(RUN).directory.mkdir(parents=True)
    assert {status.run_id for status in survey(copy) if status.state != "done"} == {RUN}
    assert [len(sweep.load(copy.directory, name)) for name in TABLES] == [14, 28, 28]
    for path in (copy.run(RUN).result, copy.run(RUN).epochs, copy.run(RUN).layers):
        path.write_bytes((toy.run(RUN).directory / path.name).read_bytes())
    change(copy, RUN, test_metric=12.0)
    for _ in range(2):
        rows = {row["run_id"]: row["test_metric"] for row in sweep.load(copy.directory).to_pylist()}
        assert (len(rows), rows[RUN]) == (15, 12.0)
        collect(copy)
    copy.run(RUN).result.unlink()
    assert len(sweep.load(copy.directory)) == 14, "what was collected of a file does not outlive it"


def test_what_does_not_count_is_not_copied(toy, tmp_path):
    damaged, stale = "toy_translation-grasp-c2-s0", RUN
    stamp = DataStamp(read_rows(toy, "result").table["data_hash"][0].as_py(), True, 1)
    change(toy, stale, data_hash="other")
    Submission(list(read_runs(toy)), {"toy_translation": stamp}).save(toy)
    toy.run(damaged).result.write_bytes(b"PAR1")
    toy.run("toy_translation-grasp-c1-s0").samples.write_text("[")
    target = SweepPaths(tmp_path / "kept")
    found = archive(toy, target)
    assert (found.runs, len(found.problems)) == (13, 3)
    assert all(any(run in line for line in found.problems) for run in (damaged, stale, "grasp-c1-s0"))
    states = {status.run_id: status.state for status in survey(target)}
    assert {run for run, state in states.items() if state == "pending"} == {damaged, stale}


def test_its_rows_are_stale_for_other_data(copy):
    stamp = DataStamp("other", True, 1)
    assert {status.state for status in survey(copy, {"toy_translation": stamp})} == {"stale"}
    Submission(list(read_runs(copy)), {"toy_translation": replace(stamp, pipeline_version=2)}).save(copy)
    assert len(sweep.load(copy.directory)) == 0


def test_one_of_an_older_schema_is_brought_forward(copy):
    before = sweep.load(copy.directory)
    new = {"device", "peak_gpu_memory_bytes"}
    for name in TABLES:
        path = copy.collection("toy_translation", name)
        table = pq.read_table(path)
        table = table.drop_columns([column for column in table.column_names if column in new])
        pq.write_table(table.replace_schema_metadata({"prunesweep_schema": "3"}), path)
    for _ in range(2):
        rows = sweep.load(copy.directory)
        assert rows.drop_columns(list(new)).equals(before.drop_columns(list(new)))
        assert set(rows["device"].to_pylist()) == {"cpu"}
        assert rows["peak_gpu_memory_bytes"].null_count == 15
        assert len(sweep.load(copy.directory, "layers")) == 30
        collect(copy)
    assert pq.read_schema(path).metadata[b"prunesweep_schema"] == str(SCHEMA_VERSION).encode()


def test_damage_in_it_is_named(copy, caplog):
    copy.collected_samples("toy_translation").write_text('{"a": 1}\n3\n')
    (problem,) = gather(copy).problems
    assert problem.startswith(f"{copy.collected_samples('toy_translation')}: cannot be read")
    path = copy.collection("toy_translation", "result")
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        assert len(sweep.load(copy.directory)) == 0
    assert f"{path}: not a whole collection" in caplog.text


def test_it_is_not_written_over_anything(toy, copy, capsys):
    app(
        ["collect", "s", "--results", str(toy.directory.parent), "--to", str(copy.directory.parent / "more")],
        standalone_mode=False,
    )
    assert f"15 runs in {copy.directory.parent / 'more' / 's'}\n" in capsys.readouterr().out
    for target in (copy, toy):
        with pytest.raises(
            UsageError, match=f"{target.directory} exists; delete it, or name another directory"
        ):
            archive(toy, target)


@pytest.mark.process
def test_a_launch_goes_on_from_it(work, grid):
    path = grid(pruners=["random"])
    assert work("--grid", path, "--local").returncode == 0
    (run_id,) = work.run_ids()
    first = sweep.load(work.results / "grid")
    kept = work.results.parent / "kept"
    assert work.sweep("collect", "grid", "--to", kept).returncode == 0
    work.results = kept
    assert work.states() == {run_id: "done"}

    same = work("--grid", path, "--local")
    assert (same.returncode, "start" in same.stdout) == (0, False)
    assert "1 runs: 1 done" in same.stdout
    assert work.sweep("run", run_id).stdout == f"{run_id} is complete\n"
    assert not work.paths().run(run_id).directory.exists()

    more = work("--grid", path, "--local", "--seeds", "0-1")
    assert more.returncode == 0, more.stderr
    assert set(work.states().values()) == {"done"}
    rows = sweep.load(kept / "grid")
    assert rows["seed"].to_pylist() == [0, 1]
    assert rows.slice(0, 1).equals(first)
    assert work("--grid", path, "--local", "--retry", "all").returncode == 0
    (again,) = (row for row in sweep.load(kept / "grid").to_pylist() if row["run_id"] == run_id)
    assert again["finished_at"] > first["finished_at"][0].as_py()
