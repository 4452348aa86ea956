"""Each option of a launch is defined once: its command line and its checks follow from that."""

from dataclasses import fields, replace
from typing import Any, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from sweep.core.errors import UsageError
from sweep.launch.command import with_options
from sweep.launch.options import LaunchOptions, Rule, check_options, given

HERE = LaunchOptions(grid="demo", local=True)
ON_SLURM = LaunchOptions(grid="demo")


def parsed(*arguments):
    """What the command line makes of `arguments`."""
    seen = []
    app = typer.Typer()
    app.command()(with_options(LaunchOptions)(seen.append))
    result = CliRunner().invoke(app, ["--grid", "demo", *arguments])
    assert result.exit_code == 0, result.output
    return seen[0]


def test_the_defaults_of_the_command_line_are_those_of_the_fields():
    assert parsed() == ON_SLURM


def test_values_reach_their_fields():
    options = parsed(
        "--max-concurrent", "3", "--no-smoke", "--set", "a=1", "--set", "b=2", "--ask-above", "1.5"
    )
    expected = replace(ON_SLURM, max_concurrent=3, no_smoke=True, settings=["a=1", "b=2"], ask_above=1.5)
    assert options == expected


def test_an_option_with_a_rule_is_spelled_like_its_field_and_says_for_which_launch_it_is():
    """`check_options` names it so."""
    seen = []
    app = typer.Typer()
    app.command()(with_options(LaunchOptions)(seen.append))
    command: Any = typer.main.get_command(app)
    spelled = {parameter.name: parameter for parameter in command.params}
    annotations = get_type_hints(LaunchOptions, include_extras=True)
    for field in fields(LaunchOptions):
        for rule in getattr(annotations[field.name], "__metadata__", ()):
            if isinstance(rule, Rule):
                option = spelled[field.name]
                assert option.opts == [f"--{field.name.replace('_', '-')}"]
                assert option.help.startswith({"local": "local: ", "slurm": "Slurm: "}[rule.only])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(ON_SLURM, slots=2), "--slots 2: works only with --local; leave it out"),
        (replace(HERE, pack=2), "--pack 2: works only without --local, on Slurm; leave it out"),
        (replace(HERE, retries=0), "--retries 0: works only without --local, on Slurm; leave it out"),
        (replace(HERE, wait=True), "--wait: works only without --local, on Slurm; leave it out"),
        (replace(HERE, no_smoke=True), "--no-smoke: works only without --local, on Slurm; leave it out"),
        (replace(HERE, slots=0), "--slots 0: must be at least 1"),
        (replace(ON_SLURM, max_concurrent=0), "--max-concurrent 0: must be at least 1"),
        (replace(ON_SLURM, retries=-1), "--retries -1: must be at least 0"),
        (replace(ON_SLURM, wait=True, auto_retry=True), "--auto-retry: --wait retries by itself; leave one of them out"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(options, message):
    with pytest.raises(UsageError) as raised:
        check_options(options)
    assert str(raised.value) == message


def test_options_that_fit():
    check_options(replace(HERE, slots=1, retry="failed"))
    options = replace(ON_SLURM, retries=0, pack=1, wait=True, no_smoke=True)
    check_options(options)
    assert [option for option, _, _ in given(options)] == ["--pack", "--retries", "--no-smoke", "--wait"]
