"""What one run does: prepare, build, score, mask, train, evaluate, write."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import prune
from sweep.config.run_spec import RunSpec
from sweep.core import provenance
from sweep.core.atomic_files import write_json
from sweep.core.errors import SweepError
from sweep.core.signals import Stop
from sweep.run.checkpoint import Checkpoint
from sweep.run.device import gpu_columns, use
from sweep.run.pruning import prune_network
from sweep.run.result_row import Seconds, asked, cost, weights_hash, write_tables
from sweep.run.seeds import derive
from sweep.run.train_loop import epoch_batches, train
from sweep.store.attempts import Attempt, claims
from sweep.store.layout import RunPaths
from sweep.store.retries import told
from sweep.store.schema import SCHEMA_VERSION, TRANSLATION
from sweep.tasks import get_task
from sweep.tasks.base import Task
from sweep.tasks.data.dataset import DataSource


def run_one(
    run: RunSpec,
    paths: RunPaths,
    source: DataSource,
    attempt: Attempt,
    stop: Stop,
    *,
    sweep: str = "",
    plugins: Sequence[Path] = (),
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Execute `run` from its beginning or from its checkpoint, and write its tables; the result last, when all else is durable.

    Args:
        run: what to do.
        paths: the run's folder.
        source: where data may come from.
        attempt: the held right to execute the run; told the progress.
        stop: where signals arrive.
        sweep: name of the sweep, for the row.
        plugins: loaded plug-ins, for the row.
        log: takes one line.

    Returns:
        The row of `result.parquet`.

    Raises:
        UsageError: the run's device is not here.
    """
    seconds = Seconds()
    # Adam's first moment of a rare token decays into denormal numbers within an epoch, and arithmetic on those is many times
    # slower: AG News trains four times faster without them. They are below 1.2e-38, so no weight feels it.
    torch.set_flush_denormal(True)
    device = use(run.device)
    torch.set_num_threads(run.threads)
    write_json(paths.spec, run.to_record().to_json())

    # before anything else: the row names the code that ran, not what the checkout holds when the run ends
    origin = {**provenance.code(), **provenance.machine(), "plugins": provenance.plugins(list(plugins))}
    attempt.report({"phase": "data"})
    task = make_task(run)
    with seconds.of("data"):
        data = task.prepare(source).to(device)
    checkpoint = Checkpoint(
        paths.checkpoint,
        {
            "run_id": run.id,
            "data_hash": data.data_hash,
            "pipeline_version": task.pipeline_version,
            "torch": str(torch.__version__),
            "plugins": origin["plugins"],
        },
        attempt.require_held,
    )
    saved = checkpoint.load(log)
    torch.manual_seed(derive(run.seed, "init"))
    model = task.model(data).to(device)  # made on the CPU, whose numbers are the same for every device

    attempt.report({"phase": "prune"})
    if saved:
        seconds.add(saved["seconds"])
        pruning, layers, resumed = saved["pruning"], saved["layers"], saved["resumed"] + 1
        origin |= provenance.joined(saved["code"], origin)
        prune.mask_linears(model, task.unpruned(model))
        log(
            f"going on from the checkpoint: epoch {saved['position']['epoch'] + 1}, step {saved['position']['step']}"
        )
    else:
        with seconds.of("prune"):
            try:
                pruning, layers = prune_network(run, task, data, model)
            except prune.PruneError as error:
                raise SweepError(str(error)) from error
        resumed = 0
        log(f"kept {pruning['kept']} of {pruning['prunable']} weights")

    extra = {"seconds": seconds.spent, "pruning": pruning, "layers": layers, "resumed": resumed}
    extra["code"] = {name: origin[name] for name in ("git_sha", "git_dirty")}
    with stop.deferred():
        at = train(run, task, data, model, checkpoint, saved, extra, stop, attempt.report, log)
        attempt.report({"phase": "evaluate", "fraction": 1.0})
        with seconds.of("evaluate"):
            test = task.measure(model, data.test, run.eval_batch_size)
            training = task.measure_training(model, data.train, run.eval_batch_size)
            samples = task.samples(model, data.test)
        _check_finite(run, {"test": test["loss"], "training": training["loss"]})
        if not math.isfinite(test[task.metric]):  # after the losses, which say what is to be mended
            raise SweepError(
                f"the test {task.metric} is {test[task.metric]} while the losses are numbers; mend evaluate() of {run.task}"
            )
        inputs, _ = data.test.batches(run.eval_batch_size)[0]
        pruning["mask_effective"] &= prune.mask_effective(model, inputs)
        retries, ends = told([claim for claim in claims(paths) if claim.number < attempt.number])
        row = {
            **asked(run, sweep),
            **pruning,
            "metric": task.metric,
            "test_metric": test[task.metric],
            "test_accuracy": test.get("accuracy"),
            "train_accuracy": training.get("accuracy"),
            "test_loss": test["loss"],
            "train_loss": training["loss"],
            **{name: test.get(name) for name in TRANSLATION},
            "weights_hash": weights_hash(model),
            **cost(seconds, at),
            "data_hash": data.data_hash,
            "data_verified": data.data_verified,
            "padding_waste": getattr(epoch_batches(run, task, data, 0), "padding_waste", None),
            "train_rows": data.train_rows,
            "test_rows": data.test_rows,
            "pipeline_version": task.pipeline_version,
            "attempt": attempt.number,
            "resumed": resumed,
            "retries": retries,
            "retry_history": ends,
            "started_at": attempt.started_at,
            "finished_at": datetime.now(UTC),
            **origin,
            **gpu_columns(run.device),
            "schema_version": SCHEMA_VERSION,
        }
        attempt.require_held()
        write_tables(paths, run, row, at, layers, samples, model)
        checkpoint.delete()
    return row


def _check_finite(run: RunSpec, losses: Mapping[str, float]) -> None:
    """The last step may have made a network of which the loop, which sees losses before steps, saw nothing yet."""
    for split, loss in losses.items():
        if not math.isfinite(loss):
            raise SweepError(
                f"the {split} loss is {loss} after epoch {run.epochs}; lower lr (now {run.lr:g})"
            )


def make_task(run: RunSpec) -> Task:
    """The run's task with the run's options."""
    kind = get_task(run.task)
    return kind(kind.Options(**run.options))
