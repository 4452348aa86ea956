"""What is wrong in a launch command: one line that names the option, the value and the fix, and nothing is written."""

import os
import subprocess
import sys

import pytest
from support.command import LAUNCH, refused, snapshot, write_grid
from support.workplace import ROOT

from sweep.launch.command import launch_main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("launch --local --grid demp", r"unknown grid 'demp' \(did you mean 'demo'\?\); shipped: demo, full, paper"),
        ("launch --local --grid nowhere.yaml", r"no grid file 'nowhere.yaml'; give a path that exists"),
        ("launch --local --grid grid.yaml --set epoch=3", r"unknown key 'epoch' .*\(did you mean 'epochs'\?\)"),
        ("launch --local --grid grid.yaml --set toi.epochs=3", r"no task 'toi' \(did you mean 'toy'\?\)"),
        ("launch --local --grid grid.yaml --set compression=3", r"'compression' .* the grid lists compressions"),
        ("launch --local --grid grid.yaml --set epochs", r"--set epochs: write --set KEY=VALUE"),
        ("launch --local --grid grid.yaml --set epochs=", r"epochs = None: input should be a valid integer"),
        ("launch --local --grid grid.yaml --set epochs=many", r"epochs = 'many': expected an integer"),
        ("launch --local --grid grid.yaml --set epochs=-1", r"epochs = -1: .* greater than or equal to 0"),
        ("launch --local --grid grid.yaml --set epochs=[1", r"value '\[1' is not valid YAML .*quote it"),
        ("launch --local --grid grid.yaml --set epochs=2020-13-45", r"epochs = '2020-13-45': expected an integer"),
        ("launch --local --grid grid.yaml --set scope=globl", r"scope = 'globl': .*'global' or 'layer'"),
        ("launch --local --grid grid.yaml --only prunr=random", r"--only: .*'prunr' \(did you mean 'pruner'\?\)"),
        ("launch --local --grid grid.yaml --only pruner=randm", r"--only pruner=randm: .*'random'"),
        ("launch --local --grid grid.yaml --only seed=7", r"--only seed=7: no run of grid 'grid' has that; there is 0"),
        ("launch --local --grid grid.yaml --only seed=[x", r"value '\[x' is not valid YAML"),
        pytest.param(
            "launch --local --grid grid.yaml --set epochs=" + "[" * 3000, r"value '\[{200}\.\.' is not valid YAML \(its brackets",
            id="set brackets",
        ),
        pytest.param(
            "launch --local --grid grid.yaml --only seed=" + "[" * 3000, r"value '\[{200}\.\.' is not valid YAML \(its brackets",
            id="only brackets",
        ),
        ("launch --local --grid grid.yaml --only seed", r"--only seed: write --only KEY=VALUE"),
        ("launch --local --grid grid.yaml --slots 0", r"--slots 0: must be at least 1"),
        ("launch --local --grid grid.yaml --slots x", r"'--slots': .*integer.*; see sweep launch --help"),
        ("launch --local --grid grid.yaml --retry x", r"--retry x: must be failed or all"),
        ("launch --local --grid grid.yaml --seeds x", r"seeds: expected a list or range of integers, got 'x'; write 0-4"),
        ("launch --local --grid grid.yaml --seeds 4-1", r"seeds '4-1': range 4-1 is descending; write 1-4"),
        ("launch --local --grid grid.yaml --seeds 0-99999999999", r"are 100000000000; give at most 100000"),
        ("launch --local --grid grid.yaml --seeds 4294967296", r"seed = 4294967296: .* less than 4294967296"),
        ("launch --local --grid grid.yaml --name a/b", r"sweep name 'a/b' cannot be a directory name; choose another"),
        ("launch --local --grid grid.yaml --name .hidden", r"sweep name '.hidden' cannot be a directory name"),
        ("launch --local --grid grid.yaml --sede 3", r"--sede .*--seeds.*; see sweep launch --help"),
        ("launch --local", r"'--grid'; see sweep launch --help"),
        ("launch --local --grid grid.yaml --plugin nix.py", r"plug-in .*nix.py: no such file"),
        ("launch --local --grid grid.yaml --plugin grid.yaml", r"plug-in .*grid.yaml: .*end in .py; rename"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(command, tmp_path, arguments, message):
    write_grid(tmp_path)
    refused(command(*arguments.split(" ")), message)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--seeds", r"seeds: expected a list or range of integers, got ''; write 0-4"),
        ("--name", r"sweep name '' cannot be a directory name; choose another"),
        (
            "--results",
            r"'--results': is empty; name a path or leave the option out; see sweep launch --help",
        ),
        ("--data-dir", r"'--data-dir': is empty; name a path or leave the option out"),
    ],
)
def test_a_value_that_is_empty_is_not_taken_for_none(command, tmp_path, option, message):
    """As from a shell's variable that is not set."""
    write_grid(tmp_path)
    refused(command("launch", "--local", "--grid", "grid.yaml", option, ""), message)
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "grid").exists()


def test_the_launch_module_answers_alike(command):
    refused(command("--nope", entry=launch_main), r"--nope.*; see python -m sweep.launch --help")
    refused(command("--local", "--grid", "demp", entry=launch_main), r"unknown grid 'demp'")


@pytest.mark.process
def test_a_current_directory_that_is_gone(tmp_path):
    directory = tmp_path / "gone"
    command = (
        f"mkdir {directory} && cd {directory} && rmdir {directory} && exec {sys.executable} -m sweep.launch"
    )
    environment = {name: value for name, value in os.environ.items() if name != "SWEEP_RESULTS"}
    done = subprocess.run(
        ["sh", "-c", f"{command} --grid demo --local --dry-run"],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "error: the current directory is gone; change to one that exists\n"


@pytest.mark.parametrize("value", ["a minute", "-1", "nan"])
def test_a_checkpoint_interval_that_is_none(command, tmp_path, monkeypatch, value):
    monkeypatch.setenv("SWEEP_CHECKPOINT_SECONDS", value)
    write_grid(tmp_path)
    refused(
        command("launch", "--local", "--grid", "grid.yaml"),
        rf"SWEEP_CHECKPOINT_SECONDS is '{value}'; set it to a number of seconds",
    )
    assert not (tmp_path / "results").exists()


def test_a_user_without_a_home_directory(command, tmp_path, monkeypatch):
    write_grid(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "SWEEP_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 123456789)  # who has no entry in the password file
    refused(
        command("launch", "--local", "--grid", "grid.yaml"),
        r"no home directory .*; set SWEEP_CACHE to a directory",
    )
    assert not (tmp_path / "results").exists()


@pytest.mark.process
@pytest.mark.usefixtures("copied")
def test_another_grid_under_a_name_that_is_taken(command, tmp_path, monkeypatch):
    """It is refused in a dry run as in earnest, and before any data is looked at."""
    before = snapshot(tmp_path / "results")
    monkeypatch.setattr("sweep.launch.launcher.prepared", lambda *_: pytest.fail("data was prepared"))
    for dry_run in ((), ("--dry-run",)):
        refused(
            command(*LAUNCH, "--set", "epochs=2", *dry_run),
            r"sweep 'grid' .*; launch it under another name with --name",
        )
    assert snapshot(tmp_path / "results") == before
