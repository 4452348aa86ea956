"""What is wrong in the other commands: one line that names the argument and the fix."""

import pytest
from support.command import refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("stats x", r"'stats'.*'status'"),
        ("status", r"[Mm]issing argument .*; see sweep status --help"),
        ("status nix", r"no sweep 'nix' in .*results; launch it first, or give the directory it is in with --results"),
        ("report nix", r"no sweep 'nix'"),
        ("logs nix --failed", r"no sweep 'nix'"),
        ("logs nix", r"no run 'nix' in .*results"),
        ("run nix", r"no run 'nix' in .*results"),
        ("run nix --name ", r"no sweep ''"),
        ("run nix --name nix", r"no sweep 'nix'"),
        ("prepare --task toi", r"unknown task 'toi' \(did you mean 'toy'\?\)"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(command, tmp_path, arguments, message):
    refused(command(*arguments.split(" ")), message)
    assert not (tmp_path / "results").exists()


@pytest.mark.process
@pytest.mark.usefixtures("copied")
def test_a_sweep_or_the_beginning_of_several_ids_where_one_run_is_meant(command):
    refused(command("logs", "grid"), r"'grid' is a sweep: add --failed, or give the id of a run$")
    refused(command("run", "grid"), r"'grid' is a sweep: give the id of a run$")
    refused(
        command("logs", "toy-"),
        r"'toy-' fits 2 runs \(grid: toy-random-c1-s0-\w+, grid: toy-\S+\); write more of the id$",
    )
    refused(command("run", "toy-"), r"'toy-' fits 2 runs \(.*\); write more of the id$")
