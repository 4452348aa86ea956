"""What files say of runs: typed, whatever version wrote them, and whether or not their task is known here."""

import json

import pytest
from support.rows import run_record

import sweep as public
from sweep.config.run_spec import RunSpec
from sweep.core.errors import StorageError, UsageError
from sweep.store.layout import SweepPaths
from sweep.store.run_record import RunRecord
from sweep.store.submissions import read_runs, register_runs


@pytest.fixture
def run():
    return RunSpec.make("toy", "grasp", 0.5, 3, {"lr": 0.02, "betas": [0.8, 0.9], "threads": 2})


def test_a_record_has_the_id_and_every_field_of_the_specification_in_order(run):
    content = run.to_record().to_json()
    assert [*content] == ["id", *RunSpec.model_fields]
    assert content == {"id": run.id, **run.model_dump(mode="json")}
    again = RunRecord.from_json(json.loads(json.dumps(content)))
    assert again == run.to_record()
    assert RunSpec.from_record(again) == run
    assert RunSpec.from_record(again).id == run.id


def test_both_have_the_same_defaults(run):
    required = {name for name, field in RunSpec.model_fields.items() if field.is_required()}
    content = run.to_record().to_json()
    sparse = RunRecord.from_json({"id": "x"} | {name: content[name] for name in required})
    assert sparse.to_json() == {
        "id": "x",
        **RunSpec(**{n: content[n] for n in required}).model_dump(mode="json"),
    }


def test_a_line_of_an_older_version_has_the_values_of_its_time_and_stays_as_it_is(tmp_path):
    sweep = SweepPaths(tmp_path / "mine")
    older = run_record().to_json()
    for name in ("device", "precision"):
        del older[name]
    line = json.dumps(older, separators=(",", ":"))
    sweep.directory.mkdir()
    sweep.runs_list.write_text(line + "\n")
    (read,) = read_runs(sweep).values()
    assert (read.device, read.precision) == ("cpu", "float32")
    added = run_record("toy-grasp-c1-s1", seed=1)
    register_runs(sweep, "", [read, added])
    assert sweep.runs_list.read_text().splitlines() == [line, json.dumps(added.to_json())]
    with pytest.raises(UsageError, match="with device = 'cpu', this launch asks for 'cuda'"):
        register_runs(sweep, "", [run_record("other", device="cuda")])


def test_a_run_of_a_newer_version_is_listed_and_not_executed():
    newer = RunRecord.from_json(run_record().to_json() | {"momentum": 0.9})
    assert newer.task == "toy"
    assert newer.to_json()["momentum"] == 0.9
    with pytest.raises(UsageError, match="run toy-grasp-c1-s0: momentum: extra inputs are not permitted"):
        RunSpec.from_record(newer)


def test_a_record_needs_no_task_and_keeps_its_id():
    record = run_record("mine-grasp-c1-s0-01234567", task="mine", options={"depth": 3})
    assert RunSpec.from_record(record).task == "mine"
    assert record.to_json()["id"] == "mine-grasp-c1-s0-01234567"


@pytest.mark.parametrize("content", ["[1]", '"a"', "{}", '{"id": "a", "task": "toy"}', "{"])
def test_a_line_that_is_not_a_record_is_damage(tmp_path, content):
    sweep = SweepPaths(tmp_path)
    sweep.runs_list.write_text(content + "\n")
    with pytest.raises(StorageError, match=r"runs.jsonl is damaged .*repeat the launch command"):
        read_runs(sweep)


def test_the_old_public_name_warns():
    with pytest.warns(DeprecationWarning, match=r"sweep\.RunSpec"):
        assert public.Run is RunSpec
