"""Smoke test: one batch of each task and pruner shows in a minute what a thousand jobs would all fail at."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from sweep.config.plugins import format_error, load_plugins
from sweep.config.run_spec import RunSpec
from sweep.core.errors import SweepError
from sweep.run.device import use
from sweep.run.diagnostics import examples, join_notes
from sweep.run.experiment import make_task
from sweep.run.pruning import prune_network
from sweep.run.train_loop import epoch_batches
from sweep.run.train_step import Step
from sweep.store.run_record import RunRecord
from sweep.store.submissions import Submission
from sweep.tasks.data.dataset import DataSource

ABOVE_RUNS = 20
"""A launch of more runs than this is tried out first."""


def representatives(specs: Iterable[RunRecord]) -> list[RunRecord]:
    """One run of each task and pruner: the one that prunes most."""
    found: dict[tuple[str, str], RunRecord] = {}
    for spec in specs:
        key = (spec.task, spec.pruner)
        if key not in found or spec.compression > found[key].compression:
            found[key] = spec
    return list(found.values())


def try_out(specs: Sequence[RunRecord], submission: Submission, log: Callable[[str], None] = print) -> None:
    """Prepare the data of each of `specs`, score one batch, prune, learn one batch, and evaluate the first test rows.

    Raises:
        SweepError: the first that fails, with the task and the pruner.
    """
    plugins = [Path(path) for path in submission.plugins]
    load_plugins(plugins)
    source = DataSource.from_env(submission.data_dir, submission.allow_unverified)
    for spec in specs:
        run = RunSpec.from_record(spec)
        try:
            loss, note = _one_batch(run, source)
        except (Exception, SystemExit) as error:
            raise SweepError(
                f"smoke test of {run.task} with {run.pruner}: {format_error(error, plugins)}"
            ) from error
        log(f"smoke test of {run.task} with {run.pruner}: loss {loss:.4f}{f'; note: {note}' if note else ''}")


def _one_batch(run: RunSpec, source: DataSource) -> tuple[float, str | None]:
    """The loss after a step, and what will not be known of such runs."""
    device = use(run.device)
    torch.set_num_threads(run.threads)
    rows = min(run.score_samples, run.score_batch_size)
    run = run.model_copy(update={"score_samples": rows, "iterations": 1})
    task = make_task(run)
    data = task.prepare(source).to(device)
    model = task.model(data).to(device)
    pruning, _ = prune_network(run, task, data, model)
    inputs, target = epoch_batches(run, task, data, 0)[0]
    Step(run, task, model)(inputs, target)
    _, no_samples = examples(task, model, data)
    inputs, target = data.test.batches(run.eval_batch_size)[0]
    with torch.no_grad():
        after = task.loss(model.eval()(*inputs), target).item()
    if not math.isfinite(after):
        raise SweepError(f"the loss is {after} after one batch; lower lr (now {run.lr:g})")
    return after, join_notes(*pruning["notes"], no_samples)
