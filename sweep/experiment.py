"""What one run does: prepare, build, score, mask, train, evaluate, write."""

import hashlib
import json
import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prune
from sweep import provenance, store
from sweep.attempt import Attempt, claims
from sweep.checkpoint import Checkpoint, save_tensors
from sweep.data import DataSource
from sweep.device import gpu_columns, use
from sweep.errors import SweepError
from sweep.files import write_json, write_text
from sweep.paths import RunPaths
from sweep.retries import told
from sweep.seeds import derive
from sweep.spec import Run
from sweep.stop import Stop
from sweep.tasks import get_task
from sweep.tasks.base import Dataset, Task
from sweep.train import Position, epoch_batches, train


@dataclass
class Seconds:
    """Wall time per phase; what earlier attempts spent is added when a run goes on."""

    spent: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add({phase: time.perf_counter() - began})

    def add(self, more: Mapping[str, float]) -> None:
        """Book what was spent elsewhere."""
        for phase, value in more.items():
            self.spent[phase] = self.spent.get(phase, 0.0) + value


def run_one(
    run: Run,
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
    write_json(paths.spec, run.listing())

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
            **_asked(run, sweep),
            **pruning,
            "metric": task.metric,
            "test_metric": test[task.metric],
            "test_accuracy": test.get("accuracy"),
            "train_accuracy": training.get("accuracy"),
            "test_loss": test["loss"],
            "train_loss": training["loss"],
            **{name: test.get(name) for name in store.TRANSLATION},
            "weights_hash": weights_hash(model),
            **_cost(seconds, at),
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
            "schema_version": store.SCHEMA_VERSION,
        }
        attempt.require_held()
        _write(paths, run, row, at, layers, samples, model)
        checkpoint.delete()
    return row


def _check_finite(run: Run, losses: Mapping[str, float]) -> None:
    """The last step may have made a network of which the loop, which sees losses before steps, saw nothing yet."""
    for split, loss in losses.items():
        if not math.isfinite(loss):
            raise SweepError(
                f"the {split} loss is {loss} after epoch {run.epochs}; lower lr (now {run.lr:g})"
            )


def make_task(run: Run) -> Task:
    """The run's task with the run's options."""
    kind = get_task(run.task)
    return kind(kind.Options(**run.options))


def prune_network(
    run: Run, task: Task, data: Dataset, model: nn.Module
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Mask `model` in place; what the row and the layer table say of it."""
    rows = task.score_rows(
        data.train, run.score_samples, torch.Generator().manual_seed(derive(run.seed, "score rows"))
    )
    # at compression 0 nothing is scored, and `dense` is no method
    method = prune.METHODS[run.pruner if run.compression else "random"]
    one = data.train.batches(1, rows[:1])
    report = prune.prune_model(
        model,
        task.loss,
        data.train.batches(run.score_batch_size, rows) if method.data else one,
        method.name,
        run.compression,
        scope=run.scope,
        iterations=run.iterations,
        schedule=run.schedule,
        shuffle=run.shuffle,
        invert=run.invert,
        skip=task.unpruned(model),
        generator=torch.Generator().manual_seed(derive(run.seed, "prune", run.pruner)),
    )
    batch = data.test.batches(run.eval_batch_size)[0]
    stats = prune.network_stats(model, [batch], one)
    pruning = {
        "iterations": report.iterations,
        "threshold": report.threshold,
        "ties": report.ties,
        "kept": report.kept,
        "prunable": report.total,
        "density": report.density,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "flops_dense": float(stats.flops_dense),
        "flops_remaining": stats.flops_remaining,
        "flops_remaining_paper": stats.flops_remaining_paper,
        "effective_density": stats.effective_density,
        "empty_layers": len(stats.empty_layers),
        "dead_units": stats.dead_units,
        "layer_collapse": stats.layer_collapse,
        "mask_effective": prune.mask_effective(model, batch[0]),
    }
    layers = [
        {
            "layer": layer.name,
            "position": position,
            "prunable": layer.total,
            "kept": layer.kept,
            "density": layer.density,
            "effective_density": layer.effective_density,
            "flops_dense": float(layer.flops_dense),
            "flops": float(layer.flops),
            "empty": layer.empty,
            "dead_inputs": layer.dead_inputs,
            "dead_outputs": layer.dead_outputs,
        }
        for position, layer in enumerate(stats.layers)
    ]
    return pruning, layers


def _asked(run: Run, sweep: str) -> dict[str, Any]:
    """The columns that repeat the specification."""
    asked = run.model_dump(exclude={"options", "betas", "iterations"})
    return asked | {
        "run_id": run.id,
        "sweep": sweep,
        "beta1": run.betas[0],
        "beta2": run.betas[1],
        "options": json.dumps(run.options, sort_keys=True),
        "density_asked": run.density,
    }


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _cost(seconds: Seconds, at: Position) -> dict[str, Any]:
    spent = {"data": 0.0, "prune": 0.0, **seconds.spent, "train": at.seconds}
    spent["evaluate"] += at.evaluate_seconds
    return {
        **{f"seconds_{phase}": value for phase, value in spent.items()},
        "seconds_total": sum(spent.values()),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _write(
    paths: RunPaths,
    run: Run,
    row: dict[str, Any],
    at: Position,
    layers: list[dict[str, Any]],
    samples: Sequence[Mapping[str, str]],
    model: nn.Module,
) -> None:
    """Everything of a finished run. `result.parquet` comes last: where it is, the rest is."""
    masks = {
        name: layer.weight_mask.cpu()  # to be read where there is no GPU
        for name, layer in model.named_modules()
        if isinstance(layer, prune.MaskedLinear)
    }
    save_tensors(paths.mask, masks)
    if samples:
        write_text(paths.samples, json.dumps(samples, indent=1, ensure_ascii=False) + "\n")
    store.write_rows(paths.layers, store.LAYERS, [{"run_id": run.id, **layer} for layer in layers])
    store.write_rows(paths.epochs, store.EPOCHS, [{"run_id": run.id, **epoch} for epoch in at.history])
    store.write_rows(paths.result, store.RESULT, [row])
