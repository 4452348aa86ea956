"""What a user can get wrong: one line that names the thing, the value and the mend, the right exit code, and nothing lost."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from support.mounts import remount, small_disk
from support.workplace import ROOT, Workplace, science

import sweep
from sweep.cli.app import main
from sweep.core.errors import StorageError, UsageError
from sweep.launch.command import launch_main
from sweep.run.checkpoint import Checkpoint, save_tensors

GRID = {"tasks": {"toy": {"epochs": 1}}, "pruners": ["random"], "compressions": [1], "seeds": [0]}


def write_grid(folder, name="grid.yaml", **changes):
    path = folder / name
    path.write_text(yaml.safe_dump(GRID | changes, sort_keys=False))
    return path


@pytest.fixture
def command(tmp_path, token_cache, monkeypatch, capsys):
    """Calls `sweep ...` through its entry point, here in this process, in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SWEEP_CACHE", str(token_cache))
    monkeypatch.delenv("SWEEP_DATA", raising=False)
    monkeypatch.setattr("sweep.core.streams.install", lambda: None)  # pytest has its own streams

    def call(*arguments, entry=main):
        monkeypatch.setattr(sys, "argv", ["sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            entry()
        streams = capsys.readouterr()
        return ended.value.code or 0, streams.out, streams.err

    return call


def refused(result, message, code=2):
    """Assert that a command ended with `code` and one line on stderr that `message` is found in."""
    found, _, err = result
    assert (found, err[:7], err.count("\n")) == (code, "error: ", 1), err
    assert re.search(message, err), err


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
        ("launch --local --grid grid.yaml --set epochs=many", r"epochs = 'many': input should be a valid integer"),
        ("launch --local --grid grid.yaml --set epochs=-1", r"epochs = -1: .* greater than or equal to 0"),
        ("launch --local --grid grid.yaml --set epochs=[1", r"value '\[1' is not valid YAML .*quote it"),
        ("launch --local --grid grid.yaml --set epochs=2020-13-45", r"value '2020-13-45' is not valid YAML"),
        ("launch --local --grid grid.yaml --set scope=globl", r"scope = 'globl': .*'global' or 'layer'"),
        ("launch --local --grid grid.yaml --only prunr=random", r"--only: .*'prunr' \(did you mean 'pruner'\?\)"),
        ("launch --local --grid grid.yaml --only pruner=randm", r"--only pruner=randm: .*'random'"),
        ("launch --local --grid grid.yaml --only seed=7", r"--only seed=7: no run .*--dry-run"),
        ("launch --local --grid grid.yaml --only seed=[x", r"value '\[x' is not valid YAML"),
        pytest.param(
            "launch --local --grid grid.yaml --set epochs=" + "[" * 3000, r"value \[+.. has brackets .*too deep",
            id="set brackets",
        ),
        pytest.param(
            "launch --local --grid grid.yaml --only seed=" + "[" * 3000, r"value \[+.. has brackets .*too deep",
            id="only brackets",
        ),
        ("launch --local --grid grid.yaml --only seed", r"--only seed: write --only KEY=VALUE"),
        ("launch --local --grid grid.yaml --slots 0", r"--slots 0: must be at least 1"),
        ("launch --local --grid grid.yaml --slots x", r"'--slots': .*integer.*; see sweep launch --help"),
        ("launch --local --grid grid.yaml --retry x", r"--retry x: must be failed or all"),
        ("launch --local --grid grid.yaml --seeds x", r"seeds 'x' are no list or range .*; write 0-4"),
        ("launch --local --grid grid.yaml --seeds 4-1", r"seeds '4-1': the range 4-1 falls; write 1-4"),
        ("launch --local --grid grid.yaml --seeds 0-99999999999", r"are 100000000000; give at most 100000"),
        ("launch --local --grid grid.yaml --seeds 4294967296", r"seed = 4294967296: .* less than 4294967296"),
        ("launch --local --grid grid.yaml --name a/b", r"sweep name 'a/b' cannot be a folder name; .*--name"),
        ("launch --local --grid grid.yaml --name .hidden", r"sweep name '.hidden' cannot be a folder name"),
        ("launch --local --grid grid.yaml --sede 3", r"--sede .*--seeds.*; see sweep launch --help"),
        ("launch --local", r"'--grid'; see sweep launch --help"),
        ("stats x", r"'stats'.*'status'"),
        ("status", r"[Mm]issing argument .*; see sweep status --help"),
        ("status nix", r"no sweep 'nix' in .*results; launch it first, or name its folder with --results"),
        ("report nix", r"no sweep 'nix'"),
        ("logs nix --failed", r"no sweep 'nix'"),
        ("logs nix", r"no run 'nix' in .*results"),
        ("run nix", r"no run 'nix' in .*results"),
        ("run nix --name ", r"sweep name '' cannot be a folder name"),
        ("run nix --name nix", r"no sweep 'nix'"),
        ("prepare --task toi", r"unknown task 'toi' \(did you mean 'toy'\?\)"),
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
        ("--seeds", r"seeds '' are no list or range .*; write 0-4"),
        ("--name", r"sweep name '' cannot be a folder name; give another with --name"),
        (
            "--results",
            r"'--results': is empty; name a directory or leave the option out; see sweep launch --help",
        ),
        ("--data-dir", r"'--data-dir': is empty; name a directory or leave the option out"),
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


def test_a_current_folder_that_is_gone(tmp_path):
    folder = tmp_path / "gone"
    command = f"mkdir {folder} && cd {folder} && rmdir {folder} && exec {sys.executable} -m sweep.launch"
    environment = {name: value for name, value in os.environ.items() if name != "SWEEP_RESULTS"}
    done = subprocess.run(
        ["sh", "-c", f"{command} --grid demo --local --dry-run"],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "error: the current directory is gone; change to one that exists\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "pruners: [randm]",
            r"unknown pruner 'randm' \(did you mean 'random'\?\); known: grasp.*; if it is yours, name its file with --plugin",
        ),
        ("pruners: [dense]", r"pruner name 'dense' is taken by the runs at compression 0; choose another"),
        (
            "tasks: [toi]",
            r"task 'toi', which is unknown \(did you mean 'toy'\?\); if it is yours, name its file with --plugin$",
        ),
        ("seed: [0]", r"grid 'grid.yaml': unknown key 'seed' \(did you mean 'seeds'\?\)"),
        ("compressions: [-1]", r"grid 'grid.yaml': compressions.0 = -1: .*greater than or equal to 0"),
        ("compressions: [.inf]", r"compression = inf: input should be a finite number"),
        ("compressions: 1", r"compressions = 1: input should be a valid list"),
        ("tasks: {toy: {epoch: 3}}", r"unknown key 'epoch' for task 'toy' \(did you mean 'epochs'\?\)"),
        ("tasks: {toy: 3}", r"tasks.toy = 3: input should be a valid dictionary"),
        ("tasks: [toy, [toy]]", r"tasks = .*: input should be a valid dictionary"),
        ("pruners: {random: {lr: fast}}", r"lr = 'fast': input should be a valid number"),
        ("seeds: [-1]", r"seed = -1: .*greater than or equal to 0"),
        ("set: {epochs: 2020-13-45}", r"grid 'grid.yaml'.*not valid YAML"),
        ("set: {epochs: [1}", r"grid 'grid.yaml', line \d+: not valid YAML"),
        ("name: a/b", r"sweep name 'a/b' cannot be a folder name"),
        ("<<: {slurm: 3}", r"grid 'grid.yaml': slurm = '3': input should be a valid dictionary"),
        (
            "seeds: [0]\nname: g\nseeds: [1]",
            r"line \d+: not valid YAML: the key 'seeds' is given twice; leave one",
        ),
        ("set: {lr: 1, lr: 2}", r"line \d+: not valid YAML: the key 'lr' is given twice; leave one"),
        pytest.param("set: " + "[" * 3000, r"grid 'grid.yaml' has brackets .* without end", id="brackets"),
        ("seeds: true", r"grid 'grid.yaml': seeds = True: true and false are no seeds"),
        ("seeds: [1, false]", r"grid 'grid.yaml': seeds = \[1, False\]: true and false are no seeds"),
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
    refused(command(*launch), r"grid 'grid.yaml' is no text in UTF-8 .*save it")
    (tmp_path / "grid.yaml").write_text("")
    refused(command(*launch), r"grid 'grid.yaml' must be a mapping with the keys")
    (tmp_path / "grid.yaml").unlink()
    (tmp_path / "grid.yaml").mkdir()
    refused(command(*launch), r"no grid file 'grid.yaml'")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (None, r"ag_news train rows: no train.csv or train_partial.csv in .*data; .*--data-dir"),
        (b"", r"train.csv is empty; replace it"),
        (b"1,title,text\n2,title\n", r"train.csv, row 2: 2 columns instead of class, title and description; mend"),
        (b"1,title,text\n7,title,text\n", r"train.csv, row 2: class '7' is none of 1, 2, 3, 4; mend"),
        (b'1,title,text\n2,title,"text\n', r"train.csv, row 2: unexpected end of data; mend"),
        (b"1,title,text\n1,title,\xff\n", r"train.csv, row 2: byte 0xff is not UTF-8; mend"),
    ],
)  # fmt: skip
def test_missing_and_broken_data(command, tmp_path, train, message):
    """`tests/tasks/test_ag_news.py` has more of these; here that nothing has begun."""
    write_grid(tmp_path, tasks=["ag_news"])
    data = tmp_path / "data"
    if train is not None:
        data.mkdir()
        (data / "train.csv").write_bytes(train)
        (data / "test.csv").write_bytes(b"1,title,text\n")
    launch = ("launch", "--local", "--grid", "grid.yaml", "--data-dir", data)
    refused(command(*launch, "--allow-unverified-data"), message)
    if train is not None:
        refused(
            command(*launch), r"train.csv has MD5 \w+, the published train.csv has b1a00f\w+; replace it, or"
        )
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import math\n\nmath.sqrt(-1)\n", r"mine.py, line 3: ValueError: math domain error"),
        ("import json\njson.loads('{')\n", r"mine.py, line 2: JSONDecodeError: "),
        ("def f(:\n", r"mine.py, line 1: SyntaxError: "),
        ("import sys\nsys.exit(3)\n", r"mine.py, line 2: SystemExit: 3"),
        ("raise ValueError('two\\nlines')\n", r"mine.py, line 1: ValueError: two lines"),
        ("import nothing_of_this_name\n", r"mine.py, line 1: ModuleNotFoundError: .*nothing_of_this_name"),
        (
            "from sweep.tasks import task\nfrom sweep.tasks.toy_classification import Toy\n@task('toy')\nclass Mine(Toy): ...\n",
            r"mine.py: task name 'toy' of Mine is taken by sweep.tasks.toy_classification.Toy; choose another",
        ),
        (
            "from prune.methods import method\n@method('grasp')\ndef mine(scoring): ...\n",
            r"mine.py, line 2: PruneError: .*'grasp' is registered already: choose another name",
        ),
        (
            "import prune\n@prune.method(5)\ndef f(s): ...\n",
            r"mine.py, line 2: .* method 5: its name is no text: write",
        ),
        (
            "from sweep.tasks import task\n@task(5)\nclass A: ...\n",
            r"mine.py: task name 5 is no text; write @task",
        ),
        (
            "from sweep.tasks import task\n@task('a')\nclass A: ...\n",
            r"mine.py: task 'a' is .*plugin_mine.A.*; make it",
        ),
        (
            "from sweep.tasks import Task, task\n@task('a')\nclass A(Task): ...\n",
            r"mine.py: task 'a': A has no `summary`; give it one, one line of text",
        ),
    ],
)
def test_a_plugin_that_raises_when_imported(command, tmp_path, source, message):
    write_grid(tmp_path)
    (tmp_path / "mine.py").write_text(source)
    for _ in range(2):  # it is not half there the second time
        refused(
            command("launch", "--local", "--grid", "grid.yaml", "--plugin", "mine.py"),
            rf"plug-in .*{message}",
        )
    assert not (tmp_path / "results").exists()


PLUGIN = """
    import sys

    import torch

    from prune.methods import method
    from sweep.tasks import Task, task
    from sweep.tasks.corpus import Corpus
    from sweep.tasks.toy_classification import Toy

    @method("wrong_shape")
    def wrong_shape(scoring):
        return [weight.sum() for weight in scoring.weights]

    @method("not_a_number")
    def not_a_number(scoring):
        return [weight * torch.nan for weight in scoring.weights]

    @method("dense")
    def dense(scoring):
        return scoring.weights

    @method("crash")
    def crash(scoring):
        raise RuntimeError("scores went\\nastray")

    @method("leave")
    def leave(scoring):
        sys.exit("nothing to score")

    @task("bad_prepare")
    class BadPrepare(Toy):
        def prepare(self, source):
            raise ValueError("no corpus\\ntoday")

    @task("no_data")
    class NoData(Toy):
        def prepare(self, source):
            super().prepare(source)

    @task("no_corpus")
    class NoCorpus(Toy):
        def corpus(self, source):
            pass

    @task("exits")
    class Exits(Toy):
        def corpus(self, source):
            sys.exit("no rows")

    @task("no_test_rows")
    class NoTestRows(Toy):
        def corpus(self, source):
            return Corpus.of({**super().corpus(source).rows(), "test": []})

    @task("no_training_rows")
    class NoTrainingRows(Toy):
        def corpus(self, source):
            return Corpus.of({**super().corpus(source).rows(), "train": []})

    @task("unfinished")
    class Unfinished(Task):
        summary = "without methods"
        defaults = Toy.defaults

    @task("a/b")
    class Slashed(Toy):
        pass

    @task("bad_model")
    class BadModel(Toy):
        def model(self, data):
            raise ValueError("no model today")

    @task("bad_metric")
    class BadMetric(Toy):
        embed_dim = 512

        def evaluate(self, model, split, batch_size):
            return {"accuracy": float("nan"), "loss": 1.0}

    @task("bad_loss")
    class BadLoss(Toy):
        embed_dim = 512  # of whose 2048 weights compression 3 keeps 2

        def loss(self, output, target):
            raise ValueError("no loss today")
"""


@pytest.fixture
def registries(monkeypatch):
    """What plug-ins register in this process is forgotten afterwards."""
    from prune.methods import METHODS
    from sweep.tasks import TASKS

    before = dict(METHODS), dict(TASKS), set(sys.modules)
    yield
    for registry, content in zip((METHODS, TASKS), before[:2], strict=True):
        registry.clear()
        registry.update(content)
    for name in set(sys.modules) - before[2]:
        if name.startswith("plugin_"):
            del sys.modules[name]


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("bad_prepare", r"task 'bad_prepare' \(.*mine.py, line {}\): ValueError: no corpus today"),
        ("no_data", r"task 'no_data': prepare\(\) returned NoneType; return a sweep.data.Dataset"),
        ("no_corpus", r"task 'no_corpus': corpus\(\) returned NoneType; return a Corpus"),
        ("no_test_rows", r"task 'no_test_rows' has no test rows; give it at least one"),
        ("no_training_rows", r"task 'no_training_rows' has no training rows; give it at least one"),
        ("exits", r"task 'exits' \(.*mine.py, line \d+\): SystemExit: no rows"),
        ("unfinished", r"task 'unfinished' \(.*mine.py\): TypeError: .*abstract"),
        ("a/b", r"run 'a/b-random-c1-s0-\w+' cannot be a folder name; rename its task or pruner"),
    ],
)
def test_a_task_that_fails_before_any_slot_opens(command, tmp_path, task, message):
    write_grid(tmp_path, tasks=[task])
    (tmp_path / "mine.py").write_text(textwrap.dedent(PLUGIN))
    launch = ("launch", "--local", "--grid", "grid.yaml", "--plugin", "mine.py")
    refused(command(*launch), message.format(line_of("no corpus")))
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("registries")
def test_a_pruner_by_the_name_of_the_runs_that_prune_nothing(command, tmp_path):
    write_grid(tmp_path, pruners=["random", "dense"])
    (tmp_path / "mine.py").write_text(textwrap.dedent(PLUGIN))
    launch = ("launch", "--local", "--grid", "grid.yaml", "--plugin", "mine.py")
    refused(command(*launch), r"pruner name 'dense' is taken by the runs at compression 0; choose another")
    assert not (tmp_path / "results").exists()


def line_of(text):
    return next(number for number, line in enumerate(PLUGIN.splitlines(), 1) if text in line)


@pytest.mark.parametrize("value", ["a minute", "-1", "nan"])
def test_a_checkpoint_interval_that_is_none(command, tmp_path, monkeypatch, value):
    monkeypatch.setenv("SWEEP_CHECKPOINT_SECONDS", value)
    write_grid(tmp_path)
    refused(
        command("launch", "--local", "--grid", "grid.yaml"),
        rf"SWEEP_CHECKPOINT_SECONDS is '{value}'; set it to a number of seconds",
    )
    assert not (tmp_path / "results").exists()


def test_a_plugin_may_have_any_name(command, tmp_path):
    """Also one of a module that others mean when they say it."""
    write_grid(tmp_path)
    (tmp_path / "random.py").write_text("x = 1\n")
    code, _, err = command("launch", "--dry-run", "--grid", "grid.yaml", "--plugin", "random.py")
    assert (code, err) == (0, "")
    import random

    assert not hasattr(random, "x")


def launched_with_faults(folder, token_cache):
    """One launch of a good run among bad ones. Launch command, finished process."""
    (folder / "mine.py").write_text(textwrap.dedent(PLUGIN))
    grid = write_grid(
        folder,
        pruners={
            "random": {},
            "magnitude": {"lr": 1e30},
            "snip": {"lr": 1e30, "batch_size": 4000},
            "wrong_shape": {},
            "not_a_number": {},
            "crash": {},
            "leave": {},
        },
    )
    work = Workplace(folder / "results", {"SWEEP_CACHE": str(token_cache)})
    command = ("--grid", grid, "--local", "--plugin", folder / "mine.py")
    return work, command, work(*command)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, token_cache):
    return launched_with_faults(tmp_path_factory.mktemp("faulty"), token_cache)


FAULTS = {
    "magnitude": r"the loss is not finite in epoch 1 before step 50; lower lr \(now 1e\+30\)",
    # a single step: the loss before it is fine, and the network after it is not
    "snip": r"the test loss is (nan|inf) after epoch 1; lower lr \(now 1e\+30\)",
    "wrong_shape": r"pruning method 'wrong_shape' returned scores of shapes \[\(\)\]: return one per weight, \[\(4, 64\)\]",
    "not_a_number": r"pruning method 'not_a_number' gives NaN in layer 'fc': check weights, data and loss",
    "crash": rf"mine\.py, line {line_of('astray')}: RuntimeError: scores went astray",
    "leave": rf"mine\.py, line {line_of('nothing to')}: SystemExit: nothing to score",
}


def test_runs_that_fail_say_why_and_leave_the_others_alone(faulty):
    work, _, done = faulty
    assert (done.returncode, done.stderr) == (1, "")
    lines = map(json.loads, work.sweep("status", "grid", "--json").stdout.splitlines())
    statuses = {line["run_id"].split("-")[1]: line for line in lines}
    assert statuses.pop("random")["state"] == "done"
    for pruner, message in FAULTS.items():
        status = statuses[pruner]
        assert (status["state"], status["exit_status"]) == ("failed", 1)
        assert re.fullmatch(message, status["detail"]), status["detail"]
        assert re.search(rf"^\S+ +failed toy-{pruner}-\S+  {message}  \[\d/7\]$", done.stdout, re.M)
    assert "7 runs: 1 done, 6 failed" in done.stdout
    assert [row["pruner"] for row in sweep.load(work.results / "grid").to_pylist()] == ["random"]


def test_the_logs_of_failed_runs_have_what_the_status_leaves_out(faulty):
    work, _, _ = faulty
    shown = work.sweep("logs", "grid", "--failed")
    assert shown.returncode == 0
    logs = {re.search(r"/runs/toy-(\w+)-", part)[1]: part for part in shown.stdout.split("==> ")[1:]}
    assert sorted(logs) == sorted(FAULTS)
    # what the user can mend is one line; what surprised the project has its traceback, down to the plug-in's line
    assert [name for name, text in logs.items() if "Traceback" in text] == ["crash", "leave"]
    assert f'mine.py", line {line_of("astray")}, in crash' in logs["crash"]
    assert re.search(rf"^error: {FAULTS['wrong_shape']}$", logs["wrong_shape"], re.M)


def test_a_retry_touches_nothing_but_the_failed(faulty):
    work, command, _ = faulty
    ids = {name.split("-")[1]: name for name in work.run_ids()}
    kept = work.paths().run(ids["random"]).result.stat()
    again = work(*command, "--retry", "failed", "--only", "pruner=magnitude")
    assert again.returncode == 1
    assert re.search(FAULTS["magnitude"], again.stdout)
    numbers = {
        name: len(list(work.paths().run(run_id).attempts.glob("*.json"))) for name, run_id in ids.items()
    }
    assert numbers == dict.fromkeys(ids, 1) | {"magnitude": 2}
    assert work.paths().run(ids["random"]).result.stat() == kept


@pytest.mark.usefixtures("registries")
def test_without_retry_failed_runs_stay_as_they_are(faulty, command):
    work, arguments, _ = faulty
    code, out, err = command("launch", "--results", work.results, *arguments)
    assert (code, err, "start" in out) == (1, "", False)
    assert "7 runs: 1 done, 6 failed" in out


def test_a_user_without_a_home_folder(command, tmp_path, monkeypatch):
    write_grid(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "SWEEP_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 123456789)  # who has no entry in the password file
    refused(
        command("launch", "--local", "--grid", "grid.yaml"), r"no home folder .*; set SWEEP_CACHE to a folder"
    )
    assert not (tmp_path / "results").exists()


def test_a_compression_that_keeps_nothing_and_tasks_that_break_in_the_run(work, tmp_path):
    """How many weights there are only the model knows, so these fail as runs, each with its reason."""
    (tmp_path / "mine.py").write_text(textwrap.dedent(PLUGIN))
    grid = write_grid(
        tmp_path, tasks=["toy", "bad_model", "bad_loss", "bad_metric"], compressions=[3], pruners=["snip"]
    )
    done = work("--grid", grid, "--local", "--plugin", tmp_path / "mine.py")
    assert (done.returncode, done.stderr) == (1, "")
    for task, reason in {
        "toy": "compression 3.0 keeps none of 256 prunable weights: 2.4082 is the most that keeps one",
        "bad_model": rf"mine\.py, line {line_of('no model')}: ValueError: no model today",
        "bad_loss": rf"mine\.py, line {line_of('no loss')}: ValueError: no loss today",
        "bad_metric": "the test accuracy is nan while the losses are numbers; mend evaluate\\(\\) of bad_metric",
    }.items():
        assert re.search(rf"failed {task}-snip-c3-s0-\w+  {reason}  ", done.stdout), done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory, token_cache):
    """A complete sweep of two runs, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    work = Workplace(folder / "results", {"SWEEP_CACHE": str(token_cache)})
    assert work("--grid", write_grid(folder, seeds=[0, 1]), "--local").returncode == 0
    return work


@pytest.fixture
def copied(finished, tmp_path, work):
    """A copy of `finished` in the test's results folder: its `SweepPaths`, the ids of its runs."""
    write_grid(tmp_path, seeds=[0, 1])
    shutil.copytree(finished.results, work.results)
    return work.paths(), finished.run_ids()


LAUNCH = ("launch", "--local", "--grid", "grid.yaml")


def test_another_grid_under_a_name_that_is_taken(command, copied, tmp_path, monkeypatch):
    """It is refused in a dry run as in earnest, and before any data is looked at."""
    before = snapshot(tmp_path / "results")
    monkeypatch.setattr("sweep.launch.launcher.prepared", lambda *_: pytest.fail("data was prepared"))
    for dry_run in ((), ("--dry-run",)):
        refused(
            command(*LAUNCH, "--set", "epochs=2", *dry_run),
            r"sweep 'grid' .*; launch it under another name with --name",
        )
    assert snapshot(tmp_path / "results") == before


def test_a_sweep_or_the_beginning_of_several_ids_where_one_run_is_meant(command, copied):
    refused(command("logs", "grid"), r"'grid' is a sweep: add --failed, or give the id of a run$")
    refused(command("run", "grid"), r"'grid' is a sweep: give the id of a run$")
    refused(
        command("logs", "toy-"),
        r"'toy-' fits 2 runs \(grid: toy-random-c1-s0-.*, ..\); write more of the id$",
    )
    refused(command("run", "toy-"), r"'toy-' fits 2 runs \(.*\); write more of the id, or give --name$")


def test_a_table_that_there_is_not(copied, work):
    message = r"^no table 'results' \(did you mean 'result'\?\); there are result, epochs, layers$"
    with pytest.raises(UsageError, match=message):
        sweep.load(work.results / "grid", "results")


def snapshot(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


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


def test_wrong_bytes_in_a_result_are_named_and_stop_no_other_sweep(command, copied, tmp_path):
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


def test_a_damaged_checkpoint_is_told_of_and_costs_only_time(tmp_path):
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {"run": "a"})
    checkpoint.save({"weights": torch.zeros(1000)})
    content = checkpoint.path.read_bytes()
    for damaged in (b"", content[:100], content[:-50], content[:400] + b"x" * 50 + content[450:]):
        checkpoint.path.write_bytes(damaged)
        said = []
        assert checkpoint.load(said.append) is None
        (line,) = said
        assert re.fullmatch(r"checkpoint \S+checkpoint.pt cannot be read \(.+\): the run begins anew", line)


@pytest.mark.parametrize("content", [b"\xff\x00", b"null", b"[]"])
def test_a_damaged_attempt_stops_no_command(command, copied, content):
    paths, (first, second) = copied
    paths.run(first).attempt(2).write_bytes(content)
    (paths.run(second).attempts / "².json").write_text("{}")
    (paths.submissions / "².json").write_text("{}")
    for arguments in (("status", "grid"), ("report", "grid"), ("logs", "grid", "--failed"), LAUNCH):
        code, _, err = command(*arguments)
        assert (code, err) == (0, "")


@pytest.mark.parametrize("where", ["in a tensor", "in the list of parts"])
def test_a_checkpoint_with_one_wrong_byte_is_damaged(tmp_path, where):
    """torch.load takes both: it reads another number, and leaves a tensor unread whose part is marked as a folder."""
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {"run": "a"})
    checkpoint.save({"weights": torch.full((1000,), 0.5)})
    content = bytearray(checkpoint.path.read_bytes())
    if where == "in a tensor":
        content[content.index(np.float32(0.5).tobytes() * 10) + 402] ^= 0x10
    else:
        # the last entry named data/0, of 46 bytes before the name; the attributes are 8 bytes before its end
        content[content.rindex(b"archive/data/0") - 8] ^= 0x10
    checkpoint.path.write_bytes(content)
    assert torch.load(checkpoint.path)["state"]["weights"].shape == (1000,)
    said = []
    assert checkpoint.load(said.append) is None
    (line,) = said
    assert re.search(
        r"checkpoint.pt cannot be read \(BadZipFile: part '\S+/data/0' .*: the run begins anew", line
    )


def test_a_checkpoint_that_the_system_does_not_give_out_is_an_error(tmp_path):
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {"run": "a"})
    checkpoint.path.mkdir()
    with pytest.raises(
        StorageError, match=r"cannot be read \(.*Is a directory.*\); repeat the launch command"
    ):
        checkpoint.load(print)


def test_a_results_folder_that_is_a_file(command, tmp_path):
    write_grid(tmp_path)
    (tmp_path / "results").write_text("mine")
    refused(command(*LAUNCH), r"cannot write .*/results/grid/\S+: Not a directory; .*--results")
    refused(command("status", "grid"), r"no sweep 'grid'")
    assert (tmp_path / "results").read_text() == "mine"


def test_files_where_folders_should_be(command, tmp_path):
    write_grid(tmp_path)
    sweep_folder = tmp_path / "results" / "grid"
    sweep_folder.mkdir(parents=True)
    (sweep_folder / "runs").write_text("mine")
    refused(command(*LAUNCH), r"/results/grid/runs/\S+: Not a directory")
    assert (sweep_folder / "runs").read_text() == "mine"


def test_a_read_only_results_folder(command, tmp_path, finished):
    write_grid(tmp_path, seeds=[0, 1])
    disk = tmp_path / "disk"
    with small_disk(disk, "4m"):
        shutil.copytree(finished.paths().folder, disk / "grid")
        before = snapshot(disk)
        remount(disk, "ro")
        place = ("--results", disk)
        message = r"cannot write {}/grid/\S+: Read-only file system; .*choose another folder with --results"
        refused(command(*LAUNCH, *place), message.format(disk))
        refused(command(*LAUNCH, *place, "--seeds", "0-2"), message.format(disk))
        refused(command(*LAUNCH, *place, "--retry", "all"), message.format(disk))
        refused(command("report", "grid", *place), message.format(disk))
        refused(command("run", finished.run_ids()[0], "--again", *place), message.format(disk))
        code, out, err = command("status", "grid", *place)
        assert (code, err) == (0, "")
        assert re.search(r"^all +2 *$", out, re.M)
        assert len(sweep.load(disk / "grid")) == 2
        assert snapshot(disk) == before


def fill(disk, leave):
    """Fill a file system but for `leave` bytes; returns the file to delete."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    filler.write_bytes(b"x" * (room.f_bavail * room.f_bsize - leave))
    return filler


def test_a_disk_that_fills_up_during_a_run(tmp_path, finished, work):
    """The second run fails for want of room; the first keeps its files; with room again the same command completes it."""
    grid = write_grid(tmp_path, seeds=[0, 1])
    with small_disk(tmp_path / "disk", "2m") as disk:
        shutil.copytree(finished.paths().folder, disk / "grid", ignore=shutil.ignore_patterns("report"))
        work.results = disk
        first, second = work.run_ids()
        shutil.rmtree(work.paths().run(second).folder)
        kept = snapshot(work.paths().run(first).folder)
        filler = fill(disk, leave=44 * 1024)
        done = work("--grid", grid, "--local")
        assert done.returncode == 1
        full = rf"cannot write \S+/{second}/\S+: .*No space left on device; make room or .*--retry failed"
        assert re.search(rf"failed {second}  {full}", done.stdout), done.stdout
        assert not any("Traceback" in text for text in (done.stdout, done.stderr))
        assert work.states() == {first: "done", second: "failed"}
        assert re.search(full, work.sweep("logs", "grid", "--failed").stdout)
        assert snapshot(work.paths().run(first).folder) == kept

        filler.unlink()
        done = work("--grid", grid, "--local", "--retry", "failed")
        assert done.returncode == 0, done.stderr
        assert snapshot(work.paths().run(first).folder) == kept
        assert not list(disk.rglob(".tmp-*"))
        numbers = [science(sweep.load(place / "grid").to_pylist()) for place in (disk, finished.results)]
        assert numbers[0] == numbers[1]


def test_a_disk_that_is_full_already(command, tmp_path, finished):
    write_grid(tmp_path, seeds=[0, 1])
    with small_disk(tmp_path / "disk", "2m") as disk:
        shutil.copytree(finished.paths().folder, disk / "grid", ignore=shutil.ignore_patterns("report"))
        before = snapshot(disk)
        filler = fill(disk, leave=0)
        full = rf"cannot write {disk}/grid/\S+: No space left on device; make room"
        refused(command(*LAUNCH, "--results", disk, "--seeds", "0-2"), full)
        refused(command("report", "grid", "--results", disk), full)
        assert command("status", "grid", "--results", disk)[0] == 0
        filler.unlink()
        assert snapshot(disk) == before


@pytest.mark.parametrize("numbers", [100, 5_000, 16_300, 100_000])
def test_tensors_that_do_not_fit_on_a_disk_are_named_as_such(tmp_path, numbers):
    """torch's own writer says `unexpected pos 576 vs 534`."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        path = disk / "checkpoint.pt"
        save_tensors(path, {"old": torch.ones(3)})
        fill(disk, leave=0)
        with pytest.raises(StorageError, match=r"cannot write .*checkpoint.pt: No space left on device"):
            save_tensors(path, {"a": torch.zeros(numbers), "b": [torch.zeros(300)] * 3})
        assert torch.equal(torch.load(path)["old"], torch.ones(3))
        assert sorted(os.listdir(disk)) == ["checkpoint.pt", "filler"]
