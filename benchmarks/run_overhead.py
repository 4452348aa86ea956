"""The overhead of a run on top of pruning, training and evaluating: process, imports, data, model, files.

    python benchmarks/run_overhead.py [--data-dir D] [--allow-unverified-data] [--rounds 3] [--runs 8] [--json FILE]

In a sweep: a launch of 1 + RUNS runs without training, less a launch of one, by RUNS, less what those runs report as spent on
pruning and evaluating. Alone: `python -m sweep.run` from start to end, less the same. For comparison: the time of whole runs
of ten epochs, one in each round. All in one slot and one thread, in turn; medians over the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

import sweep
from sweep.core.provenance import machine
from sweep.store.layout import SweepPaths

WORK = ("seconds_prune", "seconds_train", "seconds_evaluate")


def launched(directory: Path, name: str, epochs: int, seeds: list[int], options: list[str]) -> float:
    """Wall seconds of a launch of random pruning at compression 1, a run a seed."""
    grid = {
        "tasks": {"ag_news": {"epochs": epochs}},
        "pruners": ["random"],
        "compressions": [1],
        "seeds": seeds,
    }
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(grid))
    start = time.perf_counter()
    command = [
        "-m",
        "sweep.launch",
        "--grid",
        str(path),
        "--local",
        "--slots",
        "1",
        "--results",
        str(directory),
    ]
    execute([*command, *options])
    return time.perf_counter() - start


def execute(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ)


def working_seconds(directory: Path) -> float:
    """What the runs of a sweep spent on work, in the mean."""
    rows = sweep.load(directory).to_pylist()
    return statistics.fmean(sum(row[phase] for phase in WORK) for row in rows)


def measure(seed: int, runs: int, options: list[str]) -> dict[str, float]:
    """One round, in a new directory."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        one = launched(directory, "one", 0, [0], options)
        many = launched(directory, "many", 0, list(range(runs + 1)), options)
        in_a_sweep = (many - one) / runs - working_seconds(directory / "many")
        paths = SweepPaths(directory / "one")
        (run_id,) = os.listdir(paths.directory / "runs")
        start = time.perf_counter()
        execute(["-m", "sweep.run", run_id, "--sweep", str(paths.directory), "--again"])
        alone = time.perf_counter() - start - working_seconds(paths.directory)
        launched(directory, "whole", 10, [seed], options)
        whole = working_seconds(directory / "whole")
    print(f"  in a sweep {in_a_sweep:.2f} s, alone {alone:.2f} s, ten epochs {whole:.1f} s", flush=True)
    return {"in_a_sweep": in_a_sweep, "alone": alone, "ten_epochs": whole}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--allow-unverified-data", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--json", type=Path, help="also write the measurements here")
    arguments = parser.parse_args()
    options = ["--data-dir", str(arguments.data_dir)] if arguments.data_dir else []
    options += ["--allow-unverified-data"] if arguments.allow_unverified_data else []
    rounds = [measure(seed, arguments.runs, options) for seed in range(arguments.rounds)]
    medians = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    for name, label in (("in_a_sweep", "a run in a sweep"), ("alone", "a run alone")):
        share = medians[name] / medians["ten_epochs"]
        print(f"{label}: {medians[name]:.2f} s overhead, {share:.1%} of ten epochs of AG News")
    if arguments.json:
        found = {"machine": machine(), "medians": medians, "rounds": rounds}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
