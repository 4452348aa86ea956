"""Allocated core time of runs packed into Slurm jobs, against the same runs with a job each.

    SLURM_CONF=.. python benchmarks/packing.py [--cores 2] [--runs 48] [--rounds 4] [--epochs 2] [--json FILE]

AG News on a real cluster with accounting. Every job, of one run or of as many as it has cores, is allocated the same cores, and
billed for them until it ends (`sacct`: ElapsedRaw x AllocCPUS). Both kinds run their share of the runs in turns. A run works on
one core, so the most that packing can save is a factor of `--cores`, if the machine has that many:
take no more. `slurm/dev/cluster.sh start DIRECTORY --accounting` starts a cluster of one machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from sweep.core.provenance import machine
from sweep.executors.slurm.manifest import arrays, read_answer
from sweep.store.layout import SweepPaths


def launch(directory: Path, name: str, seeds: range, pack: int, data: list[str]) -> None:
    """Execute the runs of these seeds to their end."""
    wanted = ",".join(str(seed) for seed in seeds)
    command = [
        sys.executable,
        "-m",
        "sweep.launch",
        "--grid",
        str(directory / "grid.yaml"),
        "--seeds",
        wanted,
    ]
    command += ["--name", name, "--results", str(directory), "--profile", str(directory / "profile.yaml")]
    command += ["--pack", str(pack), "--wait", "--no-smoke", "--yes"]
    command += data
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")


def core_seconds(jobs: set[str]) -> float:
    """What these jobs were allocated."""
    command = ["sacct", "-X", "-n", "-P", "--format=ElapsedRaw,AllocCPUS,State", f"--jobs={','.join(jobs)}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    rows = [line.split("|") for line in lines]
    if not rows or any(state != "COMPLETED" for _, _, state in rows):
        raise SystemExit(f"jobs {', '.join(sorted(jobs))}: not all completed: {lines}")
    return sum(float(elapsed) * float(cores) for elapsed, cores, _ in rows)


def jobs_of(sweep: SweepPaths) -> set[str]:
    """The arrays that were submitted for a sweep."""
    answers = (read_answer(array) for array, _ in arrays(sweep.arrays))
    return {answer["job_id"] for answer in answers if answer}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", type=int, default=2, help="of a job, and runs packed into one")
    parser.add_argument("--runs", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--allow-unverified-data", action="store_true")
    parser.add_argument("--json", type=Path, help="also write the measurements here")
    arguments = parser.parse_args()
    if "SLURM_CONF" not in os.environ:
        parser.error("SLURM_CONF is not set: start a cluster with accounting, see above")
    data = ["--data-dir", str(arguments.data_dir)] if arguments.data_dir else []
    data += ["--allow-unverified-data"] if arguments.allow_unverified_data else []
    share = arguments.runs // arguments.rounds
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        grid = {
            "tasks": {"ag_news": {"epochs": arguments.epochs}},
            "pruners": ["random"],
            "compressions": [1],
        }
        (directory / "grid.yaml").write_text(yaml.safe_dump(grid | {"seeds": 0}))
        profile = {"partition": "main", "time": 60, "memory": "2GB", "cpus": arguments.cores}
        (directory / "profile.yaml").write_text(yaml.safe_dump(profile))
        for turn in range(arguments.rounds):
            seeds = range(turn * share, (turn + 1) * share)
            found = {}
            for kind, pack in (("alone", 1), ("packed", arguments.cores)):
                sweep = SweepPaths(directory / kind)
                before = jobs_of(sweep)
                launch(directory, kind, seeds, pack, data)
                found[kind] = core_seconds(jobs_of(sweep) - before)
            rounds.append(found)
            print(
                f"{share} runs: alone {found['alone']:.0f} core seconds, packed {found['packed']:.0f}, "
                f"{found['alone'] / found['packed']:.2f} times less",
                flush=True,
            )
    total = {kind: sum(found[kind] for found in rounds) for kind in rounds[0]}
    ratio = total["alone"] / total["packed"]
    print(
        f"{share * arguments.rounds} runs, {arguments.cores} to a job of {arguments.cores} cores: {ratio:.2f} times less"
        f" (rounds: median {statistics.median(f['alone'] / f['packed'] for f in rounds):.2f})"
    )
    if arguments.json:
        content: dict[str, Any] = {"machine": machine(), "cores": arguments.cores, "epochs": arguments.epochs}
        content |= {"runs": share * arguments.rounds, "core_seconds": total, "ratio": ratio, "rounds": rounds}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
