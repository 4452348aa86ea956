"""One file for many runs: nothing lost, only what changed read again, damage named."""

import logging
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.rows import change, row_of, write_sweep

import sweep
from sweep.cli.app import app
from sweep.executors.status import current_status
from sweep.report.inputs import gather
from sweep.store.collection import collect, read_rows
from sweep.store.layout import SweepPaths
from sweep.store.parquet import write_rows
from sweep.store.schema import RESULT, SCHEMA_VERSION, NewerSchema
from sweep.store.status import survey

TABLES = ("result", "epochs", "layers")


@pytest.fixture
def toy(tmp_path):
    return write_sweep(tmp_path / "s")


def test_a_collected_sweep_loads_as_the_files_do(toy):
    before = {name: sweep.load(toy.directory, name) for name in TABLES}
    assert collect(toy).read == 15
    for name in TABLES:
        assert sweep.load(toy.directory, name).equals(before[name], check_metadata=True)
    assert before["layers"].num_rows == before["epochs"].num_rows == 30


def test_the_collection_is_what_is_read(toy):
    collect(toy)
    path = toy.collection("toy", "result")
    table = pq.read_table(path)
    changed = table.set_column(
        table.schema.get_field_index("test_loss"), "test_loss", pa.array([7.0] * len(table))
    )
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    assert set(sweep.load(toy.directory)["test_loss"].to_pylist()) == {7.0}


def test_only_what_changed_is_read_again(toy):
    collect(toy)
    assert collect(toy).read == 0
    change(toy, "toy-grasp-c1-s1", test_metric=12.0)
    rows = {row["run_id"]: row["test_metric"] for row in sweep.load(toy.directory).to_pylist()}
    assert rows["toy-grasp-c1-s1"] == 12.0, "read from its own file before it is collected"
    assert collect(toy).read == 1
    assert len(sweep.load(toy.directory)) == 15


def test_status_takes_results_from_the_collection_and_sees_what_came_since(toy):
    before = {status.run_id: status for status in current_status(toy)[0]}
    collect(toy)
    change(toy, "toy-grasp-c1-s1", test_metric=12.0)
    toy.run("toy-grasp-c1-s2").result.unlink()
    after = {status.run_id: status for status in current_status(toy)[0]}
    assert after["toy-grasp-c1-s0"] == before["toy-grasp-c1-s0"]
    assert after["toy-grasp-c1-s1"].row["test_metric"] == 12.0
    assert after["toy-grasp-c1-s2"].state == "pending", "a collected row is no result without its file"


def test_a_run_that_is_gone_is_gone(toy):
    collect(toy)
    toy.run("toy-grasp-c1-s1").result.unlink()
    assert len(sweep.load(toy.directory)) == 14
    assert len(sweep.load(toy.directory, "layers")) == 28


def test_nothing_stays_of_a_task_whose_runs_are_gone(toy):
    """Others read the files without asking the runs."""
    write_sweep(toy.directory, task="toy2")
    collect(toy)
    assert {path.parent.name for path in toy.collected.glob("*/*.parquet")} == {"toy", "toy2"}
    for directory in toy.runs.glob("toy2-*"):
        shutil.rmtree(directory)
    collect(toy)
    assert {path.parent.name for path in toy.collected.glob("*/*.parquet")} == {"toy"}
    assert len(sweep.load(toy.directory)) == 15


def test_tasks_are_partitions(tmp_path):
    toy = write_sweep(tmp_path / "s")
    other = write_sweep(tmp_path / "t", task="other")
    for directory in (other.directory / "runs").iterdir():
        directory.rename(toy.directory / "runs" / directory.name)
    collect(toy)
    names = sorted(str(path.relative_to(toy.collected)) for path in toy.collected.rglob("*.parquet"))
    assert names == [
        f"{task}/{name}.parquet" for task in ("other", "toy") for name in ("epochs", "layers", "result")
    ]
    assert set(pq.read_table(toy.collection("other", "result"))["task"].to_pylist()) == {"other"}
    assert len(sweep.load(toy.directory)) == 30


@pytest.mark.parametrize("collected", [False, True])
def test_truncated_and_foreign_files_are_named_and_left_out(toy, caplog, capsys, collected):
    truncated, foreign = toy.run("toy-grasp-c1-s0").result, toy.run("toy-grasp-c2-s0").result
    truncated.write_bytes(truncated.read_bytes()[:200])
    pq.write_table(pa.table({"run_id": ["e"]}), foreign)
    if collected:
        app(["collect", "s", "--results", str(toy.directory.parent)], standalone_mode=False)
        out, err = capsys.readouterr()
        assert f"13 runs in {toy.collected}, 13 of them read again" in out
        assert all(f"left out: {path}: not " in err for path in (truncated, foreign))
    with caplog.at_level(logging.WARNING):
        assert len(sweep.load(toy.directory)) == 13
    assert all(f"left out: {path}: not " in caplog.text for path in (truncated, foreign))


def test_a_damaged_collection_costs_time_and_nothing_else(toy, caplog):
    collect(toy)
    path = toy.collection("toy", "result")
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        assert len(sweep.load(toy.directory)) == 15
    assert f"{path}: not a whole collection" in caplog.text
    assert collect(toy).read == 15
    assert collect(toy).read == 0


@pytest.mark.parametrize("checked", [True, False])
def test_wrong_bytes_in_a_collection_cost_time_and_nothing_else(toy, caplog, checked):
    """Also in one without checksums, as they were."""
    collect(toy)
    before = sweep.load(toy.directory)
    path = toy.collection("toy", "result")
    if checked:
        column = pq.read_metadata(path).row_group(0).column(0)
        content = bytearray(path.read_bytes())
        content[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 0x80
        path.write_bytes(content)
    else:
        table = pq.read_table(path)
        index = table.schema.get_field_index("host")
        no_text = pa.array([b"\xe5x"] * len(table)).view(pa.string())
        pq.write_table(table.set_column(index, table.schema.field(index), no_text), path)
    with caplog.at_level(logging.WARNING):
        assert sweep.load(toy.directory).equals(before)
    assert f"{path}: not a whole collection" in caplog.text


def test_a_newer_collection_is_neither_read_nor_overwritten(toy):
    path = toy.collection("toy", "result")
    write_rows(path, RESULT, [row_of(RESULT)])
    newer = pq.read_table(path).replace_schema_metadata({"prunesweep_schema": str(SCHEMA_VERSION + 1)})
    pq.write_table(newer, path)
    content = path.read_bytes()
    for use in (collect, lambda toy: sweep.load(toy.directory)):
        with pytest.raises(NewerSchema, match="update prunesweep"):
            use(toy)
    assert path.read_bytes() == content


def test_a_collection_of_an_older_schema_is_read_anew(toy):
    collect(toy)
    path = toy.collection("toy", "result")
    pq.write_table(pq.read_table(path).replace_schema_metadata({"prunesweep_schema": "1"}), path)
    assert len(sweep.load(toy.directory)) == 15
    assert collect(toy).read == 15


def test_rows_of_older_schemas_are_collected_once(tmp_path, caplog):
    """They lack columns that are never empty in newer ones. The files are of two of the reference runs, as they were written."""
    files = Path(__file__).parent / "older_schemas"
    versions = [
        pq.read_schema(path).metadata[b"prunesweep_schema"] for path in files.glob("runs/*/result.parquet")
    ]
    assert sorted(versions) == [b"1", b"3"]
    older = SweepPaths(tmp_path / "ag_news")
    shutil.copytree(files, older.directory)
    first = collect(older)
    assert (first.runs, first.read, first.problems) == (2, 2, [])
    again = collect(older)
    assert (again.runs, again.read, again.problems) == (2, 0, [])
    for name in TABLES:
        reference = sweep.load(Path(__file__).resolve().parents[2] / "results/reference/ag_news", name)
        rows = sweep.load(older.directory, name)
        assert rows.equals(reference.filter(pc.is_in(reference["run_id"], rows["run_id"].combine_chunks())))
        assert len(rows) == (20 if name == "epochs" else 2)
    assert caplog.messages == []


def test_a_report_of_a_large_sweep_collects_first(toy, monkeypatch):
    few = gather(toy)
    assert not toy.collected.exists()
    monkeypatch.setattr("sweep.report.inputs.MANY_RESULTS", 15)
    many = gather(toy)
    assert toy.collected.exists()
    assert many.rows == few.rows
    change(toy, "toy-grasp-c1-s1", test_metric=12.0)
    assert {row["test_metric"] for row in gather(toy).rows if row["run_id"] == "toy-grasp-c1-s1"} == {12.0}


def test_a_look_at_many_results_keeps_their_rows(toy, monkeypatch):
    one_by_one = survey(toy)
    assert not toy.collected.exists()
    monkeypatch.setattr("sweep.store.status.MANY_RESULTS", 15)
    monkeypatch.setattr("sweep.store.collection.MANY_RESULTS", 15)
    toy.collected.write_text("in the way")  # what cannot be kept is read all the same
    assert survey(toy) == one_by_one
    toy.collected.unlink()
    assert survey(toy) == one_by_one
    assert read_rows(toy, "result").reused == 15
    assert collect(toy).read == 0
    assert len(sweep.load(toy.directory, "epochs")) == len(one_by_one) * 2


def test_a_directory_that_is_no_run_is_named(toy, caplog):
    stray = toy.directory / "runs" / "two\nlines"
    stray.mkdir()
    (stray / "result.parquet").write_bytes(toy.run("toy-grasp-c1-s1").result.read_bytes())
    with caplog.at_level(logging.WARNING):
        assert len(sweep.load(toy.directory)) == 15
    assert re.search(r"two\\nlines.*not a run's directory", caplog.text)
