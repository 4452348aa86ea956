"""How the time of launch, status and collect grows with the number of runs.

    python benchmarks/submit.py [--runs 100 1000 10000 100000] [--delay 1] [--json FILE]

No cluster holds a hundred thousand jobs of a benchmark, so Slurm's commands are stand-ins here: `sbatch` takes every array at
once, `squeue` lists every task, and the results of a tenth of the runs are copies of a real one. Measured is the project's own
part, each command in its own process as a user would call it: seconds, peak memory, and the inodes that a sweep takes.

With --delay, every call on a path in the sweep's directory that a network file system answers from its server (open, stat,
rename, link, unlink, mkdir, fsync) takes that many milliseconds longer, through a preloaded library (slow_files.c).
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from sweep.core.provenance import machine
from sweep.executors.slurm.manifest import arrays, read_answer
from sweep.store.layout import SweepPaths
from sweep.store.parquet import read_table, write_rows
from sweep.store.schema import EPOCHS, LAYERS, RESULT
from sweep.store.submissions import read_runs

SBATCH = """#!/bin/bash
echo x >> "$FAKE/taken"
echo "Submitted batch job $((1000 + $(wc -l < "$FAKE/taken")))"
"""
SQUEUE = """#!/bin/bash
case ${@: -1} in
    %i) echo JOBID; cut -d '|' -f 1 "$FAKE/queue" 2>/dev/null ;;
    *%j*) echo "JOBID|NAME|STATE|REASON"; cat "$FAKE/queue" 2>/dev/null ;;
    *) echo "JOBID|STATE|REASON|COMMAND" ;;
esac
true
"""
COMMANDS = {
    "sbatch": SBATCH,
    "squeue": SQUEUE,
    "sacct": "#!/bin/bash\nexit 1\n",
    "srun": "#!/bin/bash\n",
    "scontrol": '#!/bin/bash\necho "MaxArraySize = 1001"; echo "MaxJobCount = 10000000"\n',
}
DONE = 10
"""Every so many-th run has a result."""


def timed(arguments: list[str], environment: dict[str, str], codes: tuple[int, ...]) -> tuple[float, float]:
    """Seconds and peak memory in MB of `python -m ARGUMENTS`, which has to end with one of `codes`."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=environment, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        code = os.waitstatus_to_exitcode(status)
        if code not in codes:
            output.seek(0)
            raise SystemExit(f"{' '.join(arguments)}: exit code {code}: {output.read().decode()[-2000:]}")
    return seconds, usage.ru_maxrss / 1024


def a_result(directory: Path, environment: dict[str, str]) -> dict[str, pa.Table]:
    """The tables of one real run."""
    grid = write_grid(directory / "one.yaml", 1)
    timed(["sweep.launch", "--grid", str(grid), "--local", "--results", str(directory)], environment, (0,))
    (run,) = (directory / "one/runs").iterdir()
    schemas = {"result": RESULT, "epochs": EPOCHS, "layers": LAYERS}
    return {name: read_table(run / f"{name}.parquet", schema) for name, schema in schemas.items()}


def write_grid(path: Path, runs: int) -> Path:
    tasks, seeds = {"toy": {"epochs": 1}}, f"0-{runs - 1}"
    path.write_text(
        yaml.safe_dump({"tasks": tasks, "pruners": ["random"], "compressions": [1], "seeds": seeds})
    )
    return path


def pretend(sweep: SweepPaths, tables: dict[str, pa.Table], fake: Path) -> None:
    """Give every tenth run a result, and let the queue know all tasks of the others."""
    for index, (run_id, spec) in enumerate(read_runs(sweep).items()):
        if index % DONE:
            continue
        for name, table in tables.items():
            rows = [row | {"run_id": run_id} for row in table.to_pylist()]
            if name == "result":
                rows = [row | {"seed": spec.seed, "sweep": sweep.name} for row in rows]
            schema = {"result": RESULT, "epochs": EPOCHS, "layers": LAYERS}[name]
            write_rows(sweep.run(run_id).directory / f"{name}.parquet", schema, rows)
    with (fake / "queue").open("w") as queue:
        for array, manifest in arrays(sweep.arrays):
            job = (read_answer(array) or {})["job_id"]
            for index in range(len(manifest.tasks)):
                queue.write(f"{job}_{index}|{manifest.token}|PENDING|Priority\n")


def inodes(directory: Path) -> int:
    return sum(len(directories) + len(files) for _, directories, files in os.walk(directory))


def slowed(directory: Path, under: Path, milliseconds: float) -> dict[str, str]:
    """The environment of a process for which files below `under` are far away."""
    library = directory / "slow_files.so"
    source = Path(__file__).with_name("slow_files.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "DELAY_UNDER": str(under), "DELAY_MS": str(milliseconds)}


def measure(runs: int, delay: float) -> dict[str, Any]:
    """All commands on a sweep of so many runs."""
    with tempfile.TemporaryDirectory() as name:
        directory, fake = Path(name), Path(name) / "bin"
        fake.mkdir()
        for command, script in COMMANDS.items():
            (fake / command).write_text(script)
            (fake / command).chmod(0o755)
        environment = os.environ | {"FAKE": str(fake), "PATH": f"{fake}:{os.environ['PATH']}"}
        environment |= {"SWEEP_RESULTS": str(directory)}
        tables = a_result(directory, environment)
        grid, sweep = str(write_grid(directory / "many.yaml", runs)), SweepPaths(directory / "many")
        if delay:
            environment |= slowed(directory, sweep.directory, delay)
        found: dict[str, Any] = {"runs": runs, "delay_ms": delay}
        steps = {
            "expand": (["sweep.launch", "--grid", grid, "--dry-run", "--local"], (0,)),
            "submit": (["sweep.launch", "--grid", grid, "--no-smoke", "--yes"], (0,)),
            "status": (["sweep.cli", "status", "many"], (0, 3)),
            "relaunch": (["sweep.launch", "--grid", grid, "--no-smoke", "--yes"], (0,)),
            "collect": (["sweep.cli", "collect", "many"], (0,)),
            "status, collected": (["sweep.cli", "status", "many"], (0, 3)),
        }
        for step, (arguments, codes) in steps.items():
            seconds, megabytes = timed(arguments, environment, codes)
            found[step] = {"seconds": seconds, "megabytes": megabytes}
            print(f"  {step:<17} {seconds:7.2f} s  {megabytes:6.0f} MB", flush=True)
            if step == "submit":
                found["inodes_submitted"] = inodes(sweep.directory)
                pretend(sweep, tables, fake)
        taken = len(re.findall("x", (fake / "taken").read_text()))
        found["arrays"] = taken
        print(
            f"  {found['inodes_submitted']} files and directories after submission, {taken} arrays",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--delay", type=float, default=0, help="milliseconds added to each call on a file")
    parser.add_argument("--json", type=Path, help="also write the measurements here")
    arguments = parser.parse_args()
    found = []
    for runs in arguments.runs:
        print(f"{runs} runs", flush=True)
        found.append(measure(runs, arguments.delay))
    if arguments.json:
        content = {"machine": machine(), "measurements": found}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
