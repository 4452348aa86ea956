"""Result files: one schema, whole or named, old ones brought forward, newer ones refused."""

import logging
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.rows import row_of

from sweep.core.errors import SweepError, UsageError
from sweep.store.load import load
from sweep.store.parquet import read_result, read_table, rows_of, write_rows
from sweep.store.schema import EPOCHS, LAYERS, MAY_BE_NULL, RESULT, SCHEMA_VERSION, NewerSchema


def result_row(**values):
    return row_of(RESULT, **values)


def write(sweep, run_id, **values):
    path = sweep / "runs" / run_id / "result.parquet"
    write_rows(path, RESULT, [result_row(run_id=run_id, **values)])
    return path


def test_a_row_is_read_back_as_written(tmp_path):
    row = result_row(gpu=None, test_accuracy=None)
    path = tmp_path / "result.parquet"
    write_rows(path, RESULT, [row])
    assert read_result(path) == row
    table = read_table(path, RESULT)
    assert rows_of(table) == table.to_pylist()
    assert read_result(tmp_path / "none.parquet") is None


def test_files_with_nulls_and_values_make_one_data_set(tmp_path):
    """pandas, DuckDB and pyarrow read many files by a glob only if a column of nulls has the others' type."""
    write(tmp_path, "a", gpu=None)
    write(tmp_path, "b", gpu="H200")
    table = pq.read_table(tmp_path / "runs")
    assert table.schema.field("gpu").type == pa.string()
    assert table["gpu"].to_pylist() == [None, "H200"]


def test_a_row_that_does_not_fit_the_schema_is_refused(tmp_path):
    row = result_row(new_column=1)
    del row["seed"]
    with pytest.raises(KeyError, match=r"row and schema differ in \['new_column', 'seed'\]"):
        write_rows(tmp_path / "result.parquet", RESULT, [row])
    assert os.listdir(tmp_path) == []


def test_load_reads_a_sweep_or_many_and_names_what_it_leaves_out(tmp_path, caplog):
    write(tmp_path / "one", "a")
    write(tmp_path / "two", "b")
    whole = write(tmp_path / "two", "c")
    truncated = write(tmp_path / "two", "d")
    truncated.write_bytes(truncated.read_bytes()[:100])
    foreign = tmp_path / "two" / "runs" / "e" / "result.parquet"
    foreign.parent.mkdir()
    pq.write_table(pa.table({"run_id": ["e"]}), foreign)
    with caplog.at_level(logging.WARNING):
        assert load(tmp_path)["run_id"].to_pylist() == ["a", "b", "c"]
    assert [str(truncated) in caplog.text, str(foreign) in caplog.text, str(whole) in caplog.text] == [
        True,
        True,
        False,
    ]
    assert load(tmp_path / "one").schema.names == RESULT.names
    with pytest.raises(UsageError, match="no sweep in"):
        load(tmp_path / "one" / "runs")


def test_an_older_file_gets_nulls_for_what_it_lacks(tmp_path):
    old = pa.schema([("run_id", pa.string()), ("seed", pa.int32())], metadata={"prunesweep_schema": "1"})
    path = tmp_path / "result.parquet"
    pq.write_table(pa.Table.from_pylist([{"run_id": "a", "seed": 3}], schema=old), path)
    row = read_result(path)
    assert (row["run_id"], row["seed"], row["test_accuracy"]) == ("a", 3, None)


def test_results_of_schema_1_are_brought_forward(tmp_path):
    """It had no precisions, and called what was evaluated after an epoch the test rows, which it was."""
    sweep = tmp_path / "runs" / "a"
    sweep.mkdir(parents=True)
    result = {"run_id": "a", "test_metric": 90.0, "threads": 1}
    epochs = {
        "run_id": "a",
        "epoch": 1,
        "train_loss": 0.5,
        "test_loss": 0.4,
        "test_metric": 91.0,
        "seconds": 2.0,
    }
    for name, row in (("result", result), ("epochs", epochs)):
        table = pa.Table.from_pylist([row]).replace_schema_metadata({"prunesweep_schema": "1"})
        pq.write_table(table, sweep / f"{name}.parquet")
    row = read_result(sweep / "result.parquet")
    assert (row["test_metric"], row["precision"], row["bleu_paper"]) == (90.0, "float32", None)
    (epoch,) = load(tmp_path, "epochs").to_pylist()
    assert epoch == {
        "run_id": "a", "epoch": 1, "train_loss": 0.5, "eval_split": "test", "eval_loss": 0.4, "eval_metric": 91.0, "seconds": 2.0,
    }  # fmt: skip


def test_results_of_schema_3_were_on_the_cpu(tmp_path):
    path = tmp_path / "result.parquet"
    row = {"run_id": "a", "gpu": None, "precision": "bf16"}
    pq.write_table(pa.Table.from_pylist([row]).replace_schema_metadata({"prunesweep_schema": "3"}), path)
    read = read_result(path)
    assert (read["device"], read["precision"], read["peak_gpu_memory_bytes"]) == ("cpu", "bf16", None)


def test_the_committed_reference_results_are_read(caplog):
    directory = Path(__file__).resolve().parents[2] / "results" / "reference" / "ag_news"
    rows = load(directory).to_pylist()
    assert len(rows) == 90
    assert {(row["precision"], row["device"]) for row in rows} == {("float32", "cpu")}
    assert {epoch["eval_split"] for epoch in load(directory, "epochs").to_pylist()} == {"test"}
    assert caplog.text == ""


def test_a_newer_file_is_refused_with_the_mend(tmp_path):
    path = tmp_path / "result.parquet"
    schema = RESULT.with_metadata({"prunesweep_schema": str(SCHEMA_VERSION + 1)})
    pq.write_table(pa.Table.from_pylist([result_row()], schema=schema), path)
    version = SCHEMA_VERSION
    expected = f"schema {version + 1} is newer than this prunesweep's {version}; update prunesweep"
    with pytest.raises(NewerSchema, match=expected):
        read_result(path)


def test_damage_is_an_error_of_one_line(tmp_path):
    path = tmp_path / "result.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(SweepError, match="not a whole Parquet file") as caught:
        read_result(path)
    assert "\n" not in str(caught.value)


def flipped(path, index):
    content = bytearray(path.read_bytes())
    content[index] ^= 0x80
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("schema", [RESULT, EPOCHS, LAYERS])
def test_a_flipped_bit_is_damage_or_changes_no_value(tmp_path, schema):
    path = tmp_path / "x.parquet"
    row = row_of(schema)
    write_rows(path, schema, [row])
    content = path.read_bytes()
    damaged = 0
    for index in range(0, len(content), 31):
        path.write_bytes(content)
        flipped(path, index)
        try:
            found = rows_of(read_table(path, schema))
        except SweepError:
            damaged += 1
        else:
            assert found == [row], index
    assert damaged > len(content) / 31 / 3


def unchecked(path, **values):
    """Write a row as before there were checksums."""
    pq.write_table(pa.Table.from_pylist([result_row(**values)], schema=RESULT), path)


@pytest.mark.parametrize(
    ("column", "value", "reported"),
    [
        ("run_id", pa.array([b"\xe5x"]).view(pa.string()), "UTF8"),
        ("started_at", pa.array([2**62], pa.timestamp("us", tz="UTC")), "out of range"),
    ],
)
def test_text_and_times_that_are_none_are_damage_also_without_checksums(tmp_path, column, value, reported):
    path = tmp_path / "result.parquet"
    unchecked(path)
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, value), path)
    with pytest.raises(SweepError, match=rf"not a whole Parquet file .*{reported}"):
        read_result(path)


def test_nothing_is_no_value_but_in_columns_that_say_so(tmp_path):
    path = tmp_path / "result.parquet"
    whole = result_row()
    assert {*MAY_BE_NULL} <= {*RESULT.names, *LAYERS.names}
    for name in whole:
        unchecked(path, **{name: None})
        if name in MAY_BE_NULL:
            assert read_result(path) == whole | {name: None}
        else:
            with pytest.raises(SweepError, match=f"column '{name}' lacks a value"):
                read_result(path)


def test_a_column_of_another_name_or_kind_is_damage(tmp_path):
    path = tmp_path / "result.parquet"
    unchecked(path)
    table = pq.read_table(path)
    named = [name.replace("host", "hosu") for name in table.column_names]
    kind = table.set_column(table.schema.get_field_index("kept"), "kept", pa.array([1.0]))
    renamed = table.rename_columns(named).replace_schema_metadata(table.schema.metadata)
    for changed in (renamed, kind):
        pq.write_table(changed, path)
        with pytest.raises(
            SweepError, match=r"not a whole Parquet file .*its columns are not those of schema"
        ):
            read_result(path)


def test_every_page_has_a_checksum_that_is_looked_at(tmp_path):
    """Of a number any bits are a number: only the checksum tells."""
    path = tmp_path / "epochs.parquet"
    write_rows(path, EPOCHS, [row_of(EPOCHS)])
    column = pq.read_metadata(path).row_group(0).column(EPOCHS.get_field_index("train_loss"))
    flipped(path, column.dictionary_page_offset + column.total_compressed_size - 1)
    with pytest.raises(SweepError, match="CRC"):
        read_table(path, EPOCHS)
