"""What a launch was asked for, and whether it can be carried out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep.config.grid import as_text
from sweep.config.run_spec import RunSpec
from sweep.core.errors import UsageError, nearest
from sweep.store.layout import SweepPaths
from sweep.store.status import State
from sweep.store.submissions import DataStamp, Submission, read_runs
from sweep.tasks.data.dataset import DataSource

RETRIES: dict[str | None, set[State]] = {
    None: {"pending", "interrupted", "stale", "running"},
    "failed": {"pending", "interrupted", "stale", "running", "failed"},
    "all": {"pending", "interrupted", "stale", "running", "failed", "done"},
}
"""States whose runs a launch executes, by the value of --retry. A running one is waited for."""


@dataclass(frozen=True)
class Request:
    """What a launch was asked for."""

    grid: str
    only: Sequence[str] = ()
    settings: Sequence[str] = ()
    seeds: str | None = None
    name: str | None = None
    results: Path | None = None
    data_dir: Path | None = None
    allow_unverified: bool = False
    plugins: Sequence[Path] = field(default_factory=list)
    slots: int | None = None
    retry: str | None = None
    dry_run: bool = False
    ask_above: float = 24.0
    yes: bool = False
    local: bool = True
    profile: Path | None = None
    concurrent: int | None = None
    pack: int | None = None
    smoke: bool = True
    retries: int | None = None
    auto_retry: bool = False
    wait: bool = False


def check_engine(request: Request) -> None:
    """Raise UsageError for an option of the other way to launch."""
    for_slurm = {
        "--profile": request.profile,
        "--max-concurrent": request.concurrent,
        "--pack": request.pack,
        "--wait": request.wait,
        "--retries": request.retries,
        "--auto-retry": request.auto_retry,
        "--no-smoke": not request.smoke,
    }
    for option, value in ({"--slots": request.slots} if not request.local else for_slurm).items():
        if value is not None and value is not False:
            mend = "with --local" if not request.local else "without --local, on Slurm"
            given = option if value is True else f"{option} {value}"
            raise UsageError(f"{given}: works only {mend}; leave it out")
    for option, number in (("--max-concurrent", request.concurrent), ("--pack", request.pack)):
        if number is not None and number < 1:
            raise UsageError(f"{option} {number}: must be at least 1")
    if request.wait and request.auto_retry:
        raise UsageError("--auto-retry: --wait tries again by itself; leave one of them out")
    if request.retries is not None and request.retries < 0:
        raise UsageError(f"--retries {request.retries}: must be at least 0")


def check_devices(runs: Iterable[RunSpec]) -> None:
    """Raise UsageError where a run's device is not on this machine. Loads torch only if there is a question."""
    wanted = {run.device for run in runs} - {"cpu"}
    if wanted:
        from sweep.run.device import require

        for device in wanted:
            require(device)


def make_submission(
    request: Request,
    source: DataSource,
    stamps: Mapping[str, DataStamp],
    run_ids: Iterable[str],
) -> Submission:
    return Submission(
        runs=list(run_ids),
        data=dict(stamps),
        data_dir=str(source.data_dir) if source.data_dir else None,
        allow_unverified=request.allow_unverified,
        plugins=[str(path.expanduser().absolute()) for path in request.plugins],
    )


def key_and_value(option: str) -> Any:
    def split(text: str) -> tuple[str, str]:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{option} {text}: write {option} KEY=VALUE")
        return key.strip(), value

    return split


def parse_only(texts: Sequence[str]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for key, value in map(key_and_value("--only"), (part for text in texts for part in text.split(","))):
        wanted.setdefault(key, []).append(value)
    return wanted


def chosen_runs(sweep: SweepPaths, only: Sequence[str]) -> set[str]:
    """Ids of the sweep's runs with the values of `--only`; all without any."""
    wanted = parse_only(only)
    runs = {run_id: dict(spec.options) | spec.to_json() for run_id, spec in read_runs(sweep).items()}
    # as for a launch: an option that one task has is known, and the runs of others have none
    known = {key for fields in runs.values() for key in fields}
    for key in wanted:
        if key not in known:
            raise UsageError(f"--only: unknown field {key!r}{nearest(key, known)}")
    chosen = {
        run_id
        for run_id, fields in runs.items()
        if all(as_text([str(fields.get(key))]) <= as_text(values) for key, values in wanted.items())
    }
    if not chosen:
        raise UsageError(f"--only {','.join(only)}: no run of sweep {sweep.name!r} fits; see `sweep status`")
    return chosen
