"""Every path the project writes, one function each.

results/<sweep>/grid.yaml             the grid, as resolved
                runs.jsonl            its runs, one JSON object a line
                submissions/<n>.json  what was launched, when, how, on which data
                arrays/<n>-<k>/       a Slurm job array: manifest.json answer.json, submitit's files, logs
                smoke/<n>-<k>/        a job that tries a launch's runs of one profile out, as an array of one
                follow/<n>/           the job that comes after a launch's and tries runs again, too
                code/<hash>/          the code as it was when an array was submitted
                runs/<id>/            spec.json log.txt attempts/ checkpoint.pt mask.pt samples.json
                                      {result,layers,epochs}.parquet
                collected/<task>/     {result,epochs,layers}.parquet of all runs (`sweep collect`), samples.jsonl (`--to`)
                report/               report.md report.html plots/ tables/ files.json
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NewType

from sweep.core.errors import UsageError, nearest

SubmissionNumber = NewType("SubmissionNumber", int)
"""Of a launch, counted from 1 within its sweep."""
AttemptNumber = NewType("AttemptNumber", int)
"""Of an execution of a run, counted from 1 within the run."""


def results_root(given: Path | None = None) -> Path:
    """Where sweeps are kept: `--results`, else `SWEEP_RESULTS`, else `results` in the current directory."""
    return (given or Path(os.environ.get("SWEEP_RESULTS") or "results")).expanduser().absolute()


@dataclass(frozen=True)
class RunPaths:
    """The files of one run."""

    directory: Path

    @property
    def spec(self) -> Path:
        return self.directory / "spec.json"

    @property
    def log(self) -> Path:
        return self.directory / "log.txt"

    @property
    def attempts(self) -> Path:
        return self.directory / "attempts"

    @property
    def checkpoint(self) -> Path:
        return self.directory / "checkpoint.pt"

    @property
    def mask(self) -> Path:
        return self.directory / "mask.pt"

    @property
    def result(self) -> Path:
        return self.directory / "result.parquet"

    @property
    def layers(self) -> Path:
        return self.directory / "layers.parquet"

    @property
    def samples(self) -> Path:
        return self.directory / "samples.json"

    @property
    def epochs(self) -> Path:
        return self.directory / "epochs.parquet"

    def attempt(self, attempt: AttemptNumber) -> Path:
        return self.attempts / f"{attempt:04d}.json"

    def heartbeat(self, attempt: AttemptNumber) -> Path:
        return self.attempts / f"{attempt:04d}.live"

    def superseded(self, table: Path, attempt: AttemptNumber) -> Path:
        """Where `attempt` puts a result that it replaces."""
        return self.attempts / f"{attempt:04d}.superseded.{table.name}"

    def replacement(self, attempt: AttemptNumber) -> Path:
        """The directory in which `attempt` gathers what is to replace a result."""
        return self.attempts / f"{attempt:04d}.new"


@dataclass(frozen=True)
class ArrayPaths:
    """The files of one Slurm job array; submitit puts its own next to them."""

    directory: Path

    @property
    def manifest(self) -> Path:
        return self.directory / "manifest.json"

    @property
    def answer(self) -> Path:
        return self.directory / "answer.json"

    @property
    def lock(self) -> Path:
        """Held by `sbatch` for as long as it may still submit."""
        return self.directory / "sbatch.lock"

    def cancelled(self, index: int) -> Path:
        """Mark of a task that was cancelled and must not rise again."""
        return self.directory / f"cancelled.{index}"

    def log(self, job_id: str) -> Path:
        """What task `<job>_<index>` printed, apart from its runs (submitit's name)."""
        return self.directory / f"{job_id}_0_log.out"


@dataclass(frozen=True)
class SweepPaths:
    """The files of one sweep."""

    directory: Path

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def grid(self) -> Path:
        return self.directory / "grid.yaml"

    @property
    def runs_list(self) -> Path:
        return self.directory / "runs.jsonl"

    @property
    def submissions(self) -> Path:
        return self.directory / "submissions"

    def submission(self, submission: SubmissionNumber) -> Path:
        return self.submissions / f"{submission:04d}.json"

    @property
    def arrays(self) -> Path:
        return self.directory / "arrays"

    def array(self, submission: SubmissionNumber, index: int) -> ArrayPaths:
        return ArrayPaths(self.arrays / f"{submission:04d}-{index:03d}")

    @property
    def smokes(self) -> Path:
        return self.directory / "smoke"

    def smoke(self, submission: SubmissionNumber, index: int) -> ArrayPaths:
        return ArrayPaths(self.smokes / f"{submission:04d}-{index:03d}")

    @property
    def follows(self) -> Path:
        return self.directory / "follow"

    def follow(self, submission: SubmissionNumber) -> ArrayPaths:
        return ArrayPaths(self.follows / f"{submission:04d}")

    @property
    def code(self) -> Path:
        return self.directory / "code"

    @property
    def runs(self) -> Path:
        return self.directory / "runs"

    def run(self, run_id: str) -> RunPaths:
        return RunPaths(self.runs / run_id)

    @property
    def report(self) -> Path:
        return self.directory / "report"

    @property
    def report_markdown(self) -> Path:
        return self.report / "report.md"

    @property
    def report_html(self) -> Path:
        return self.report / "report.html"

    @property
    def report_files(self) -> Path:
        return self.report / "files.json"

    def plot(self, name: str) -> Path:
        return self.report / "plots" / name

    def table(self, name: str) -> Path:
        return self.report / "tables" / name

    @property
    def collected(self) -> Path:
        return self.directory / "collected"

    def collection(self, task: str, table: str) -> Path:
        return self.collected / task / f"{table}.parquet"

    def collected_samples(self, task: str) -> Path:
        return self.collected / task / "samples.jsonl"


def is_directory_name(name: str) -> bool:
    """Whether files of that name are found again by patterns, commands and people."""
    return bool(name) and not name.startswith((".", "-")) and "/" not in name and name.isprintable()


_OF_A_SWEEP = {
    "arrays", "code", "collected", "follow", "grid.yaml", "report", "runs", "runs.jsonl", "smoke", "submissions",
}  # fmt: skip
"""What is in the directory of a sweep: one called so would make a sweep of the directory of sweeps."""


def sweep_paths(name: str, results: Path | None = None) -> SweepPaths:
    """The paths of the sweep `name`, which must be usable as a directory name."""
    if not is_directory_name(name):
        raise UsageError(f"sweep name {name!r} cannot be a directory name; choose another")
    if name in _OF_A_SWEEP:
        raise UsageError(f"sweep name {name!r} is that of a file in every sweep's directory; choose another")
    return SweepPaths(results_root(results) / name)


def existing_sweep(name: str, results: Path | None = None) -> SweepPaths:
    """Like `sweep_paths`, for a sweep that has been launched."""
    paths = SweepPaths(results_root(results) / name)
    if not (is_directory_name(name) and paths.grid.is_file() and paths.runs_list.is_file()):
        root = results_root(results)
        known = [p.parent.name for p in root.glob("*/grid.yaml")]
        raise UsageError(
            f"no sweep {name!r} in {root}{nearest(name, known)}; launch it first, or give the directory it is in with --results"
        )
    return paths
