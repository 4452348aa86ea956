"""What one run does: prepare, build, prune or resume, train, evaluate, write."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prune
from sweep.config.run_spec import RunSpec
from sweep.core import provenance
from sweep.core.atomic_files import write_json
from sweep.core.errors import NotFiniteError, SweepError
from sweep.core.signals import StopRequest
from sweep.run.checkpoint import Checkpoint
from sweep.run.device import gpu_columns, use
from sweep.run.diagnostics import check_mask, examples, join_notes, padding_waste
from sweep.run.pruning import prune_network
from sweep.run.result_row import Seconds, asked, cost, weights_hash, write_tables
from sweep.run.seeds import seed_for_data, seed_globals
from sweep.run.supersede import superseding
from sweep.run.train_loop import Controls, Position, epoch_batches, train
from sweep.store.attempts import Attempt, claims
from sweep.store.retries import summarise_retries
from sweep.store.schema import SCHEMA_VERSION, TRANSLATION, ResultRow
from sweep.tasks import get_task
from sweep.tasks.base import Dataset, Task
from sweep.tasks.data.dataset import DataSource


def run_one(
    run: RunSpec,
    source: DataSource,
    attempt: Attempt,
    stop: StopRequest,
    *,
    again: bool = False,
    sweep: str = "",
    plugins: Sequence[Path] = (),
    log: Callable[[str], None] = print,
) -> ResultRow:
    """Execute `run` from its beginning or from its checkpoint, and write its tables; the result last, when all else is durable.

    Args:
        run: what to do.
        source: where data may come from.
        attempt: the held right to execute the run, in its directory; progress is reported to it.
        stop: where signals arrive.
        again: begin without the checkpoint that an earlier attempt left.
        sweep: name of the sweep, for the row.
        plugins: loaded plug-ins, for the row.
        log: takes one line.

    Returns:
        The row of `result.parquet`.

    Raises:
        UsageError: the run's device is not here.
        SweepError: it cannot be pruned or trained.
    """
    experiment = _Experiment(run, attempt, stop, log)
    experiment.prepare(source, plugins, again)
    experiment.build()
    if experiment.saved is None:
        experiment.prune()
    else:
        experiment.resume(experiment.saved)
    with stop.deferred():
        experiment.train()
        experiment.evaluate()
        row = experiment.row(sweep)
        experiment.write(row)
    return row


@dataclass
class _Pruned:
    """A masked model, and what a checkpoint keeps of how it came about."""

    pruning: dict[str, Any]
    layers: list[dict[str, Any]]
    resumed: int


@dataclass
class _Evaluated:
    """Metrics and loss of the trained model, and examples of what it does."""

    test: Mapping[str, float]
    training: Mapping[str, float]
    samples: Sequence[Mapping[str, str]]
    padding_waste: float | None


class _Experiment:
    """The steps of a run in their order; each leaves what the next ones need."""

    task: Task
    data: Dataset
    model: nn.Module
    checkpoint: Checkpoint
    pruned: _Pruned
    position: Position
    evaluated: _Evaluated

    def __init__(
        self,
        run: RunSpec,
        attempt: Attempt,
        stop: StopRequest,
        log: Callable[[str], None],
    ) -> None:
        self.run, self.paths, self.attempt, self.stop, self.log = run, attempt.run, attempt, stop, log
        self.seconds = Seconds()
        self.saved: dict[str, Any] | None = None
        """What an earlier attempt left to resume from."""
        self.origin: dict[str, Any] = {}
        """Code, versions and machine, as the row has them."""
        self.notes: str | None = None
        """What else is not known of the run, and why."""

    def prepare(self, source: DataSource, plugins: Sequence[Path], again: bool) -> None:
        """Set up this process, have the data ready, and read the checkpoint."""
        # Adam's first moment of a rare token decays into denormal numbers within an epoch, and arithmetic on those is many times
        # slower: AG News trains four times faster without them. They are below 1.2e-38, so no weight feels it.
        torch.set_flush_denormal(True)
        self.device = use(self.run.device)
        torch.set_num_threads(self.run.threads)
        write_json(self.paths.spec, self.run.to_record().to_json())
        # before anything else: the row names the code that ran, not what the checkout holds when the run ends
        versions = {**provenance.code(), **provenance.machine()}
        self.origin = {**versions, "plugins": provenance.plugins(list(plugins))}
        self.attempt.report({"phase": "data"})
        self.task = make_task(self.run)
        seed_for_data(self.run.task)
        with self.seconds.of("data"):
            self.data = self.task.prepare(source).to(self.device)
        identity = {
            "run_id": self.run.id,
            "data_hash": self.data.data_hash,
            "pipeline_version": self.task.pipeline_version,
            "torch": str(torch.__version__),
            "plugins": self.origin["plugins"],
        }
        self.checkpoint = Checkpoint(self.paths.checkpoint, identity, self.attempt.require_held)
        if again and not self.attempt.was_requeued:
            self.checkpoint.delete()
        self.saved = self.checkpoint.load(self.log)

    def build(self) -> None:
        """Make the model with its initial weights: on the CPU, whose numbers are the same for every device."""
        seed_globals(self.run.seed, "init")
        self.model = self.task.model(self.data).to(self.device)

    def prune(self) -> None:
        """Score and mask the model."""
        self.attempt.report({"phase": "prune"})
        with self.seconds.of("prune"):
            try:
                pruning, layers = prune_network(self.run, self.task, self.data, self.model)
            except prune.PruneError as error:
                raise SweepError(str(error)) from error
        self.log(f"kept {pruning['kept']} of {pruning['prunable']} weights")
        self.pruned = _Pruned(pruning, layers, resumed=0)

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Give the model masked layers, whose masks and weights are loaded when training starts."""
        self.attempt.report({"phase": "prune"})
        self.seconds.add(saved["seconds"])
        self.origin |= provenance.joined(saved["code"], self.origin)
        prune.mask_linears(self.model, self.task.unpruned(self.model))
        position = saved["position"]
        self.log(f"resuming from the checkpoint: epoch {position['epoch'] + 1}, step {position['step']}")
        self.pruned = _Pruned(saved["pruning"], saved["layers"], saved["resumed"] + 1)

    def train(self) -> None:
        """Train the masked model; what the row needs besides is kept in each checkpoint."""
        extra = {"seconds": self.seconds.spent, **vars(self.pruned)}
        extra["code"] = {name: self.origin[name] for name in ("git_sha", "git_dirty")}
        controls = Controls(self.checkpoint, self.stop, self.attempt.report, self.log)
        self.position = train(self.run, self.task, self.data, self.model, controls, self.saved, extra)

    def evaluate(self) -> None:
        """Measure the trained model, and check that its masks still hold.

        Raises:
            NotFiniteError: a loss or the metric is not a number.
        """
        run, task, model = self.run, self.task, self.model
        self.attempt.report({"phase": "evaluate", "fraction": 1.0})
        with self.seconds.of("evaluate"):
            test = task.measure(model, self.data.test, run.eval_batch_size)
            training = task.measure_training(model, self.data.train, run.eval_batch_size)
            samples, no_samples = examples(task, model, self.data)
        waste, no_waste = padding_waste(lambda: epoch_batches(run, task, self.data, 0))
        self.evaluated = _Evaluated(test, training, samples, waste)
        _check_finite(run, {"test": test["loss"], "training": training["loss"]})
        if not math.isfinite(test[task.metric]):  # after the losses, which say what is to be fixed
            raise NotFiniteError(
                f"the test {task.metric} is {test[task.metric]} while the losses are numbers; fix evaluate() of {run.task}"
            )
        inputs, _ = self.data.test.batches(run.eval_batch_size)[0]
        effective, unknown = check_mask(model, inputs)
        pruning = self.pruned.pruning
        both = {effective, pruning["mask_effective"]}  # False wherever it is known to be
        pruning["mask_effective"] = False if False in both else None if None in both else True
        self.notes = join_notes(*pruning["notes"], no_samples, no_waste, unknown)
        if self.notes:
            self.log(f"note: {self.notes}")

    def row(self, sweep: str) -> ResultRow:
        """The row of the finished run."""
        run, task, data = self.run, self.task, self.data
        test, training = self.evaluated.test, self.evaluated.training
        earlier = [claim for claim in claims(self.paths) if claim.number < self.attempt.number]
        retries, ends = summarise_retries(earlier)
        translation: dict[str, Any] = {name: test.get(name) for name in TRANSLATION}
        return ResultRow(
            **asked(run, sweep),
            **(self.pruned.pruning | {"notes": self.notes}),
            metric=task.metric,
            test_metric=test[task.metric],
            test_accuracy=test.get("accuracy"),
            train_accuracy=training.get("accuracy"),
            test_loss=test["loss"],
            train_loss=training["loss"],
            **translation,
            weights_hash=weights_hash(self.model),
            **cost(self.seconds, self.position),
            data_hash=data.data_hash,
            data_verified=data.data_verified,
            padding_waste=self.evaluated.padding_waste,
            train_rows=data.train_rows,
            test_rows=data.test_rows,
            pipeline_version=task.pipeline_version,
            attempt=self.attempt.number,
            resumed=self.pruned.resumed,
            retries=retries,
            retry_history=ends,
            started_at=self.attempt.started_at,
            finished_at=datetime.now(UTC),
            **self.origin,
            **gpu_columns(run.device),
            schema_version=SCHEMA_VERSION,
        )

    def write(self, row: ResultRow) -> None:
        """Write the tables, unless the run was taken over, and delete the checkpoint. What they replace is kept, too."""
        self.attempt.require_held()
        layers, epochs = self.pruned.layers, self.position.history
        with superseding(self.paths, self.attempt.number) as paths:
            write_tables(paths, row, epochs, layers, self.evaluated.samples, self.model)
        self.checkpoint.delete()


def _check_finite(run: RunSpec, losses: Mapping[str, float]) -> None:
    """The last step may have made a network of which the loop, which sees losses before steps, saw nothing yet."""
    for split, loss in losses.items():
        if not math.isfinite(loss):
            raise NotFiniteError(
                f"the {split} loss is {loss} after epoch {run.epochs}; lower lr (now {run.lr:g})"
            )


def make_task(run: RunSpec) -> Task:
    """The run's task with the run's options."""
    kind = get_task(run.task)
    return kind(kind.Options(**run.options))
