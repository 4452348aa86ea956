"""Every option that a message advises is one of the command that it is advised for."""

import ast
import re
from pathlib import Path

import pytest
import typer

from sweep.cli.app import app

ROOT = Path(__file__).parents[2]
COMMANDS = {
    name: {option for parameter in command.params for option in parameter.opts}
    for name, command in vars(typer.main.get_command(app))["commands"].items()
}
ONE_COMMAND = {
    "sweep/launch": {"launch"},
    "sweep/config/grid.py": {"launch"},
    "sweep/executors/slurm": {"launch"},
    "sweep/config/key_values.py": {"launch", "cancel"},
    "sweep/cli/logs.py": {"logs"},
    "sweep/cli/find_run.py": {"run", "logs"},
    "sweep/store/archive.py": {"collect"},
}
"""Who can print what is in a file. What is in others can be printed by several commands, so that a message names one."""

# where options are defined, or are those of another program
OTHERS = {
    "sweep/launch/options.py",
    "sweep/cli/app.py",
    "sweep/cli/list.py",
    "sweep/terminal/command_line.py",
    "sweep/run/worker.py",
    "sweep/core/provenance.py",
    "sweep/executors/slurm/commands.py",
}
COMMAND = re.compile(rf"sweep ({'|'.join(COMMANDS)})\b|\b(launch|prepare)(?:es)?\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+(?!=\{|[\w-])")


def texts(path):
    """The texts in `path` but for docstrings; what is filled in is `{}`."""
    tree = ast.parse(path.read_text())
    passed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            passed |= {id(part) for part in node.values}
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            yield node.value


def advised():
    for path in sorted((ROOT / "sweep").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name not in OTHERS:
            for text in texts(path):
                for option in OPTION.finditer(text):
                    if " " in text:  # else an argument of a command, not a message
                        yield name, text, option.start(), option[0]


ADVISED = [
    pytest.param(name, text[:start], option, id=f"{name}: {text[:start][-30:]}{option}")
    for name, text, start, option in sorted(set(advised()))
]


def test_messages_with_options_are_found():
    assert len(ADVISED) > 20


@pytest.mark.parametrize(("name", "before", "option"), ADVISED)
def test_the_command_has_the_option(name, before, option):
    named = [match[1] or match[2] for match in COMMAND.finditer(before)]
    of_file = next((commands for place, commands in ONE_COMMAND.items() if name.startswith(place)), set())
    commands = {named[-1]} if named else of_file
    assert commands, f"say which command has {option}: {before!r}"
    assert all(option in COMMANDS[command] for command in commands)
