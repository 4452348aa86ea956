"""The rows' classes are the schema: every column has a meaning, a unit and a type, and older files have the same columns."""

import runpy
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.rows import row_of, write_sweep

import sweep
from sweep.store.collection import SOURCE, collect
from sweep.store.parquet import read_result, read_table, write_parquet
from sweep.store.schema import (
    EPOCHS,
    LAYERS,
    MAY_BE_NULL,
    RESULT,
    SCHEMA_VERSION,
    UTC_TIME,
    EpochRow,
    LayerRow,
    ResultRow,
    as_mapping,
)

ROOT = Path(__file__).resolve().parents[2]
TABLES = {"result": (RESULT, ResultRow), "epochs": (EPOCHS, EpochRow), "layers": (LAYERS, LayerRow)}
COLUMNS = [
    pytest.param(field, id=f"{name}.{field.name}") for name, (schema, _) in TABLES.items() for field in schema
]

ADDED = {
    2: {"precision", "padding_waste"},
    3: {"retries", "retry_history"},
    4: {"device", "peak_gpu_memory_bytes"},
}
"""Columns of `result` by the version that brought them; the BLEU columns are left out here."""


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_says_what_it_is_and_in_which_unit(column):
    assert column.metadata[b"doc"].strip()
    without_unit = column.type in (pa.string(), pa.bool_())
    assert (column.metadata[b"unit"] == b"") == without_unit
    assert column.type != UTC_TIME or column.metadata[b"unit"] == b"UTC"


def test_a_null_that_is_allowed_says_what_it_means():
    for schema, _ in TABLES.values():
        for column in schema:
            assert (column.name in MAY_BE_NULL) == (b"null" in column.metadata[b"doc"]), column.name


@pytest.mark.parametrize("name", TABLES)
def test_a_row_has_the_columns_of_its_schema_in_order(name):
    schema, kind = TABLES[name]
    assert [field.name for field in fields(kind)] == schema.names
    values = row_of(schema)
    assert as_mapping(kind(**values)) == values
    del values["run_id"]
    with pytest.raises(TypeError, match="run_id"):
        kind(**values)


def test_the_page_of_columns_is_up_to_date():
    written = runpy.run_path(str(ROOT / "docs" / "columns.py"))
    assert (ROOT / "docs" / "columns.md").read_text() == written["page"](), "run `python docs/columns.py`"


def as_version(version, row):
    """The row as a file of that schema version holds it."""
    newer = {name for added, names in ADDED.items() if added > version for name in names}
    old = {name: value for name, value in row.items() if name not in newer}
    if version < 5:
        old["density_asked"] = old.pop("target_density")
    table = pa.Table.from_pylist([old])
    return table.replace_schema_metadata({"prunesweep_schema": str(version)})


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_result_of_an_older_version_is_brought_forward(tmp_path, version):
    row = row_of(RESULT, target_density=0.125, schema_version=version)
    path = tmp_path / "result.parquet"
    pq.write_table(as_version(version, row), path)
    expected = dict(row)
    for added, names in ADDED.items():
        if added > version:
            expected |= dict.fromkeys(names)
    expected |= {"precision": "float32"} if version < 2 else {}
    expected |= {"device": "cpu"} if version < 4 else {}
    assert read_result(path) == expected
    assert read_table(path, RESULT).schema.equals(RESULT, check_metadata=True)


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_so_is_a_collection_whose_runs_have_no_files(tmp_path, version):
    row = row_of(RESULT, run_id="a", task="toy", target_density=0.125, schema_version=version)
    table = as_version(version, row).append_column(SOURCE, pa.array(["a"]))
    write_parquet(tmp_path / "s" / "collected" / "toy" / "result.parquet", table)
    (tmp_path / "s" / "runs").mkdir()
    (read,) = sweep.load(tmp_path / "s").to_pylist()
    assert (read["run_id"], read["target_density"], read["schema_version"]) == ("a", 0.125, version)
    assert "density_asked" not in read


def test_a_collection_of_an_older_version_is_written_again_from_the_files(tmp_path):
    written = write_sweep(tmp_path / "s", compressions=(1.0,), seeds=(0,))
    collect(written)
    path = written.collection("toy", "result")
    table = pq.read_table(path).rename_columns(
        [name.replace("target_density", "density_asked") for name in pq.read_schema(path).names]
    )
    write_parquet(path, table.replace_schema_metadata({"prunesweep_schema": "4"}))
    assert sweep.load(written.directory)["target_density"].to_pylist() == [0.1, 0.1]
    assert collect(written).read == 2
    assert "target_density" in pq.read_schema(path).names
