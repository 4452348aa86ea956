"""Files of a sweep that are damaged, or newer than this version, are named; nothing is lost and no other sweep stops."""

import json
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import LAUNCH, refused
from support.workplace import science

import sweep
from sweep.core.errors import UsageError

pytestmark = pytest.mark.process


@pytest.mark.usefixtures("copied")
def test_a_table_that_there_is_not(work):
    message = r"^no table 'results' \(did you mean 'result'\?\); there are result, epochs, layers$"
    with pytest.raises(UsageError, match=message):
        sweep.load(work.results / "grid", "results")


def test_a_result_of_a_newer_schema_is_not_read_and_not_overwritten(command, copied):
    paths, (first, second) = copied
    result = paths.run(first).result
    table = pq.read_table(result)
    newer = int(table.schema.metadata[b"prunesweep_schema"]) + 1
    pq.write_table(table.replace_schema_metadata({"prunesweep_schema": str(newer)}), result)
    content = result.read_bytes()
    message = rf"{first}/result.parquet: schema {newer} is newer than this prunesweep's {newer - 1}; update prunesweep"
    for retry in ((), ("--retry", "all", "--only", "seed=0")):
        code, out, err = command(*LAUNCH, *retry)
        assert (code, err, "start" in out) == (3, "", False)
        assert re.search(message, out)
    for again in ((), ("--again",)):
        refused(command("run", first, *again), message)
    code, out, _ = command("status", "grid", "--json")
    states = {line["run_id"]: line["state"] for line in map(json.loads, out.splitlines())}
    assert (code, states) == (3, {first: "unknown", second: "done"})
    assert command("report", "grid")[0] == 0
    assert result.read_bytes() == content


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_damaged_result_is_named_and_made_again(command, copied, finished, work, tmp_path, size):
    paths, (first, _) = copied
    result = paths.run(first).result
    whole = result.stat().st_size
    os.truncate(result, size if size >= 0 else whole + size)
    code, out, _ = command("status", "grid")
    assert code == 3
    assert re.search(
        rf"^stale: .*damaged.*\n  {first}  .*result.parquet: not a whole Parquet file", out, re.M
    )
    if size < 0:  # one of the three is enough to see that the numbers are those of before
        done = work("--grid", tmp_path / "grid.yaml", "--local")
        assert (done.returncode, done.stdout.count("start")) == (0, 1), done.stderr
        numbers = [
            science(sweep.load(place / "grid").to_pylist()) for place in (work.results, finished.results)
        ]
        assert numbers[0] == numbers[1]
        assert (paths.run(first).attempts / "0002.superseded.result.parquet").stat().st_size == whole - 1


def test_wrong_bytes_in_a_result_are_named_and_stop_no_other_sweep(command, copied):
    paths, (first, _) = copied
    result = paths.run(first).result
    table = pq.read_table(result)
    no_text = pa.array([b"\xe5x"]).view(pa.string())
    # without checksums, as older files are
    pq.write_table(table.set_column(table.schema.get_field_index("host"), "host", no_text), result)
    code, out, err = command("status", "grid")
    assert (code, err) == (3, "")
    assert re.search(
        rf"^stale: .*damaged.*\n  {first}  .*result.parquet: not a whole Parquet file", out, re.M
    )
    assert command("report", "grid")[0] == 0
    code, out, err = command(*LAUNCH, "--name", "another")
    assert (code, err, "2 runs: 2 done" in out) == (0, "", True)


def test_a_damaged_catalog_is_named_with_the_mend_which_works(command, copied):
    paths, ids = copied
    for path in (paths.runs_list, paths.submission(1)):
        whole = path.read_bytes()
        path.write_bytes(whole[:20])
        for arguments in (("status", "grid"), ("report", "grid"), ("run", ids[0])):
            if path == paths.runs_list or arguments[0] != "run":
                refused(
                    command(*arguments), rf"{path} is damaged \(.*\); delete it and repeat the launch command"
                )
        path.unlink()
        code, out, err = command(*LAUNCH)
        assert (code, err, "start" in out) == (0, "", False)
        assert command("status", "grid")[0] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"data": []}, {"data": None}, {"data": {"toy": 5}}, {"data": {"toy": {"data_hash": "x"}}},
        {"data": {"toy": {"data_hash": 5, "data_verified": True, "pipeline_version": 1}}},
        {"runs": None}, {"runs": 5}, {"plugins": "mine.py"}, {"data_dir": []}, {"slurm": []}, {"engine": None}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_submission_of_another_shape_is_damaged(command, copied, change):
    paths, ids = copied
    path = paths.submission(1)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for arguments in (("status", "grid"), ("run", ids[0])):
        refused(command(*arguments), rf"{path} is damaged \(.*\); delete it and repeat the launch command")


@pytest.mark.parametrize("content", ["null", "[]", "5", '"x"', "{}"])
def test_a_submission_that_is_no_object_is_damaged(command, copied, content):
    paths, _ = copied
    paths.submission(1).write_text(content)
    refused(command("status", "grid"), rf"{paths.submission(1)} is damaged \(.*\); delete it")


def test_a_list_of_runs_without_a_line_is_damaged(command, copied):
    paths, _ = copied
    report = paths.report_markdown.read_text()
    paths.runs_list.write_text("")
    for arguments in (("status", "grid"), ("report", "grid"), LAUNCH):
        refused(
            command(*arguments),
            rf"{paths.runs_list} is damaged \(no run in it\); delete it and repeat the launch",
        )
    assert paths.report_markdown.read_text() == report


def test_a_list_of_runs_that_lacks_some_is_told_with_the_mend_which_works(command, copied):
    paths, (_, second) = copied
    report = paths.report_markdown.read_text()
    whole = paths.runs_list.read_text()
    paths.runs_list.write_text(whole.splitlines(keepends=True)[0])
    for arguments in (("status", "grid"), ("report", "grid")):
        refused(
            command(*arguments),
            rf"{paths.runs_list} lacks 1 of the runs .* such as {second}; repeat the launch",
        )
    assert paths.report_markdown.read_text() == report
    code, out, err = command(*LAUNCH)
    assert (code, err, "start" in out) == (0, "", False)
    assert paths.runs_list.read_text() == whole


@pytest.mark.parametrize("content", [b"\xff\x00", b"null", b"[]"])
def test_a_damaged_attempt_stops_no_command(command, copied, content):
    paths, (first, second) = copied
    paths.run(first).attempt(2).write_bytes(content)
    (paths.run(second).attempts / "².json").write_text("{}")
    (paths.submissions / "².json").write_text("{}")
    for arguments in (("status", "grid"), ("report", "grid"), ("logs", "grid", "--failed"), LAUNCH):
        code, _, err = command(*arguments)
        assert (code, err) == (0, "")
