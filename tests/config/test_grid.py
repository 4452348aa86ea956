"""Grids: expansion, selection, settings, errors."""

import pytest
import yaml

from sweep.config.grid import Grid, expand, parse_seeds
from sweep.config.key_values import parse_only, select_runs
from sweep.config.yaml_values import dump_yaml
from sweep.core.errors import UsageError


def grid(**changes):
    fields = {
        "name": "g",
        "tasks": ["toy"],
        "pruners": ["random", "grasp"],
        "compressions": [0, 1],
        "seeds": "0-1",
    }
    return Grid.parse(dump_yaml(fields | changes), "g.yaml")


def test_expansion_counts_the_dense_run_once_per_seed():
    runs = expand(grid())
    assert [(r.pruner, r.compression, r.seed) for r in runs] == [
        ("dense", 0, 0), ("random", 1, 0), ("grasp", 1, 0),
        ("dense", 0, 1), ("random", 1, 1), ("grasp", 1, 1),
    ]  # fmt: skip


def test_the_particular_wins_over_the_general():
    runs = expand(
        grid(
            tasks={"toy": {"epochs": 3, "lr": 0.5}},
            pruners={"random": {}, "grasp": {"lr": 0.25}},
            set={"epochs": 2, "threads": 2},
            compressions=[1],
            seeds=[0],
        )
    )
    assert [(r.epochs, r.lr, r.threads) for r in runs] == [(3, 0.5, 2), (3, 0.25, 2)]


def test_settings_of_the_command_line_win_over_the_file():
    g = grid(
        tasks={"toy": {"epochs": 3}},
        pruners={"random": {"lr": 0.1}, "grasp": {}},
        compressions=[1],
        seeds=[0],
    )
    assert {(r.epochs, r.lr) for r in expand(g.with_settings({"epochs": 1, "lr": 0.7}))} == {(1, 0.7)}
    assert {(r.epochs, r.lr) for r in expand(g.with_settings({"toy.epochs": 1, "toy.lr": 0.7}))} == {(1, 0.7)}
    # one for a task leaves the keys of pruners to the other tasks
    assert g.with_settings({"toy.lr": 0.7}).pruners == g.pruners
    with pytest.raises(
        UsageError, match=r"set tov.epochs: grid 'g' has no task 'tov' \(did you mean 'toy'\?\)"
    ):
        expand(g.with_settings({"tov.epochs": 1}))


def test_what_is_set_for_a_pruner_does_not_split_the_dense_runs():
    g = grid(pruners={"random": {}, "grasp": {"score_samples": 80, "epochs": 9}}, seeds=[0])
    dense, random, grasp = expand(g)
    assert (dense.pruner, dense.compression, dense.epochs) == ("dense", 0, random.epochs)
    assert (grasp.score_samples, grasp.epochs) == (80, 9)


def test_a_dumped_grid_is_read_back():
    g = grid(set={"epochs": 2})
    assert Grid.parse(g.dump(), "grid.yaml") == g


def test_keys_that_are_merged_in_count_and_may_be_overridden():
    text = """
        tasks: [toy]
        pruners: {random: &few {epochs: 1, lr: 0.5}, grasp: {<<: *few, lr: 0.25}}
        compressions: [1]
        <<: {seeds: [3], slurm: {toy: {time: 10:00:00}}}
        seeds: [4]
    """
    g = Grid.parse(text, "g.yaml")
    assert (g.seeds, g.pruners["grasp"]) == ([4], {"epochs": 1, "lr": 0.25})
    assert g.slurm == {"toy": {"time": "10:00:00"}}


def test_only_selects_by_field_and_does_not_check_what_it_leaves_out():
    g = grid(tasks=["toy", "not_there"])
    chosen = expand(
        g, {"task": ["toy"], "compression": ["1.0"], "pruner": ["grasp", "random"], "seed": ["1"]}
    )
    assert [(r.pruner, r.seed) for r in chosen] == [("random", 1), ("grasp", 1)]
    with pytest.raises(
        UsageError,
        match=r"grid 'g' has the task 'not_there', which is unknown; .*, or without it: --only task=toy",
    ):
        expand(g)
    with pytest.raises(UsageError, match=r"--only: unknown field 'sed' \(did you mean 'seed'\?\)"):
        expand(g, {"task": ["toy"], "sed": ["1"]})


@pytest.mark.parametrize(
    ("field", "value", "seeds"),
    [
        ("seed", "20240101", [20240101]),
        ("seed", "20240102.0", [20240102]),
        ("seed", "2.0240103e7", [20240103]),
        ("lr", "1e-2", [20240101]),
        ("lr", "0.01000001", [20240102]),
        ("lr", "1.00000E-2", [20240101]),
        ("compression", "1e0", [20240101, 20240102, 20240103]),
        ("shuffle", "false", [20240101, 20240102, 20240103]),
    ],
)
def test_only_compares_numbers_to_the_last_digit(field, value, seeds):
    g = grid(pruners=["random"], compressions=[1])
    runs = []
    for seed, lr in ((20240101, 0.01), (20240102, 0.01000001), (20240103, 0.02)):
        runs += expand(g.with_settings({"lr": lr}, [seed]))
    records = [run.to_record() for run in runs]
    chosen = select_runs(records, {field: [value]}, "grid 'g'")
    assert [record.seed for record in records if record.id in chosen] == seeds


@pytest.mark.parametrize(
    ("only", "message"),
    [
        # one of several values that fits would hide that another never can
        ({"seed": ["0", "7"]}, r"--only seed=7: no run of grid 'g' has that; there is 0, 1$"),
        ({"pruner": ["grapes"]}, r"grapes: grid 'g' has no such pruner \(did you mean 'grasp'\?\)$"),
        ({"shuffle": ["1"]}, r"--only shuffle=1: no run of grid 'g' has that; there is false$"),
        ({"compression": ["0"], "pruner": ["grasp"]}, r"--only compression=0,pruner=grasp: no run of grid 'g' has all of"),
        ({"id": ["toy"]}, r"--only id=toy: no run .*; there is toy-\S+, toy-\S+"),
    ],
)  # fmt: skip
def test_values_of_only_that_no_run_has(only, message):
    g = grid(tasks=["toy"], pruners=["random", "grasp"], compressions=[0, 1], seeds=[0, 1])
    with pytest.raises(UsageError, match=message):
        expand(g, only)


def test_a_value_of_only_may_be_a_list():
    assert parse_only(["betas=[0.9,0.99],seed=1", "betas=[0.8, 0.9]"]) == {
        "betas": ["[0.9,0.99]", "[0.8, 0.9]"],
        "seed": ["1"],
    }
    g = grid(pruners=["random"], compressions=[1])
    runs = [run for b in (0.99, 0.999) for run in expand(g.with_settings({"betas": [0.9, b]}, [0]))]
    records = [run.to_record() for run in runs]
    (chosen,) = select_runs(records, parse_only(["betas=[0.9,0.99]"]), "grid 'g'")
    assert chosen == runs[0].id


@pytest.mark.parametrize(("text", "seeds"), [("0-2", [0, 1, 2]), ("7", [7]), ("5, 1-2,1", [5, 1, 2])])
def test_seed_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "5,", "5,0--1", "1.5", "9" * 5000])
def test_bad_seed_ranges(text):
    with pytest.raises(UsageError, match="expected a list or range of integers"):
        parse_seeds(text)


def test_a_range_of_seeds_that_falls():
    with pytest.raises(UsageError, match=r"^seeds '7, 4-1': range 4-1 is descending; write 1-4$"):
        parse_seeds("7, 4-1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compresions": [1]}, r"grid 'g.yaml': unknown key 'compresions' \(did you mean 'compressions'\?\)"),
        (
            {"compressions": [-1]},
            r"grid 'g.yaml': compressions.0 = -1: input should be greater than or equal to 0",
        ),
        ({"seeds": []}, r"seeds = \[\]: list should have at least 1 item"),
        ({"seeds": "x"}, r"seeds: expected a list or range of integers, got 'x'"),
        ({"tasks": 3}, r"tasks = 3: input should be a valid dictionary"),
    ],
)
def test_bad_grids(changes, message):
    with pytest.raises(UsageError, match=message):
        grid(**changes)


def test_bad_names_and_files(tmp_path):
    with pytest.raises(
        UsageError, match=r"unknown grid 'demp' \(did you mean 'demo'\?\); shipped: demo, full, paper"
    ):
        Grid.load("demp")
    with pytest.raises(UsageError, match=r"no grid file 'x.yaml'"):
        Grid.load("x.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("tasks: [toy\npruners: 3")
    with pytest.raises(UsageError, match=r"broken.yaml', line 2: not valid YAML"):
        Grid.load(str(broken))
    broken.write_text("- toy")
    with pytest.raises(UsageError, match=r"must be a mapping with the keys name, summary, tasks, pruners"):
        Grid.load(str(broken))


def test_the_shipped_paper_grid_is_the_papers():
    paper = Grid.load("paper")
    assert (paper.compressions, list(paper.pruners), paper.seeds) == (
        [0, 0.1, 0.5, 1, 2],
        ["random", "grasp"],
        [0, 1, 2],
    )
    # per seed: one dense run, and two pruners at four compressions
    assert len(expand(paper, {"task": ["ag_news"]})) == 3 * (1 + 2 * 4)


@pytest.mark.parametrize(
    "name", ["08", "1e3", "1e-3", ".5e1", "yes", "null", "1:30", "true", "2020-01-01", "~", "<<", "a: b"]
)
def test_a_dumped_grid_reads_back_whatever_things_are_called(name):
    g = grid(name=name, set={"lr": 1e-05}, slurm={"toy": {"partition": name}})
    again = Grid.parse(g.dump(), "g.yaml")
    assert again == g
    assert (again.name, again.slurm["toy"]["partition"], again.settings["lr"]) == (name, name, 1e-05)
    assert yaml.safe_load(g.dump())["name"] == name, "to a reader of YAML 1.1, too"


def test_a_partition_may_be_a_number_to_others():
    text = "{tasks: [toy], pruners: [random], compressions: [1], seeds: [0], slurm: {toy: {partition: 007, account: 1e3}}}"
    assert Grid.parse(text, "g.yaml").slurm == {"toy": {"partition": "007", "account": "1e3"}}
