"""What is wrong in a grid: one line that names the file, the key and the fix, and nothing is written."""

from itertools import pairwise

import pytest
import yaml
from support.command import GRID, refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "pruners: [randm]",
            r"unknown pruner 'randm' \(did you mean 'random'\?\); known: grasp.*; if it is yours, launch with --plugin FILE.py",
        ),
        ("pruners: [dense]", r"pruner name 'dense' is taken by the runs at compression 0; choose another"),
        (
            "tasks: [toi]",
            r"task 'toi', which is unknown \(did you mean 'toy'\?\); if it is yours, launch with --plugin FILE.py$",
        ),
        ("seed: [0]", r"grid 'grid.yaml': unknown key 'seed' \(did you mean 'seeds'\?\)"),
        ("compressions: [-1]", r"grid 'grid.yaml': compressions.0 = -1: .*greater than or equal to 0"),
        ("compressions: [.inf]", r"compression = inf: input should be a finite number"),
        ("compressions: 1", r"compressions = 1: input should be a valid list"),
        ("tasks: {toy: {epoch: 3}}", r"unknown key 'epoch' for task 'toy' \(did you mean 'epochs'\?\)"),
        ("tasks: {toy: 3}", r"tasks.toy = 3: input should be a valid dictionary"),
        ("tasks: [toy, [toy]]", r"tasks = .*: input should be a valid dictionary"),
        ("pruners: {random: {lr: fast}}", r"lr = 'fast': expected a number"),
        ("seeds: [-1]", r"seed = -1: .*greater than or equal to 0"),
        ("tasks: {toy: {epochs: 2020-13-45}}", r"epochs = '2020-13-45': expected an integer"),
        ("tasks: {toy: {epochs: [1}}", r"grid 'grid.yaml', line \d+: not valid YAML"),
        ("name: a/b", r"sweep name 'a/b' cannot be a directory name"),
        ("<<: {slurm: 3}", r"grid 'grid.yaml': slurm = '3': input should be a valid dictionary"),
        (
            "seeds: [0]\nname: g\nseeds: [1]",
            r"line \d+: not valid YAML: the key 'seeds' is given twice; leave one",
        ),
        ("set: {lr: 1, lr: 2}", r"line \d+: not valid YAML: the key 'lr' is given twice; leave one"),
        pytest.param(
            "set: " + "[" * 3000, r"grid 'grid.yaml': not valid YAML: its brackets .*too deep", id="brackets"
        ),
        ("seeds: true", r"grid 'grid.yaml': seeds = True: true, false and text are not seeds"),
        ('seeds: ["1"]', r"true, false and text are not seeds"),
        ("seeds: [8, 010]", r"seeds = \[8, '010'\]: true, false and text are not seeds; write integers"),
        ("tasks: {toy: {epochs: 0_1}}", r"epochs = '0_1': expected an integer"),
        ("tasks: {toy: {epochs: yes}}", r"epochs = 'yes': expected an integer"),
        ("tasks: {toy: {epochs: true}}", r"epochs = True: expected an integer"),
        ("tasks: {toy: {epochs: 1:30}}", r"epochs = '1:30': expected an integer"),
        ('tasks: {toy: {epochs: "3"}}', r"epochs = '3': expected an integer"),
        ("set: {lr: true}", r"lr = True: expected a number"),
        ("set: {iterations: on}", r"iterations = 'on': expected an integer"),
        ("set: {shuffle: yes}", r"shuffle = 'yes': expected true or false"),
        ("set: {shuffle: 1}", r"shuffle = 1: expected true or false"),
        ("set: {betas: [0.9, true]}", r"betas = \[0.9, True\]: expected a number in each place"),
        ("set: {lr: .nan}", r"lr = nan: input should be"),
        ("compressions: [true]", r"compressions = \[True\]: expected a number in each place"),
        ('compressions: ["1"]', r"compressions = \['1'\]: expected a number in each place"),
        (f"tasks: {{toy: {{epochs: {'9' * 4000}}}}}", r"epochs = 9{200}\.\.: input should be"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi")),
            r"not valid YAML: its aliases stand for more than 100,000 values; write fewer",
        ),
        ("a: &a [*a]", r"not valid YAML: an alias stands for a value that it is in; write it out"),
        ("seeds: [1, false]", r"grid 'grid.yaml': seeds = \[1, False\]: true, false and text are not seeds"),
    ],
)
def test_mistakes_in_a_grid(command, tmp_path, text, message):
    key = text.partition(":")[0]
    lines = yaml.safe_dump({k: v for k, v in GRID.items() if k != key}, sort_keys=False)
    (tmp_path / "grid.yaml").write_text(f"{lines}{text}\n")
    refused(command("launch", "--local", "--grid", "grid.yaml"), message)
    assert not (tmp_path / "results").exists()


def test_a_grid_that_is_no_text_or_no_mapping(command, tmp_path):
    launch = ("launch", "--local", "--grid", "grid.yaml")
    (tmp_path / "grid.yaml").write_bytes(b"\xff\xfe")
    refused(command(*launch), r"grid 'grid.yaml' is not text in UTF-8 .*save it")
    (tmp_path / "grid.yaml").write_text("")
    refused(command(*launch), r"grid 'grid.yaml' must be a mapping with the keys")
    (tmp_path / "grid.yaml").unlink()
    (tmp_path / "grid.yaml").mkdir()
    refused(command(*launch), r"no grid file 'grid.yaml'")
