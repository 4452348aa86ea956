"""The columns of the tables that runs write: one class a table, from which its Arrow schema is made.

A field's annotation says all there is to say of a column: the type, `| None` if a null means something, what it is and in which
unit. Numbers without a dimension have the unit "1", text and truth values have none.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_type_hints

import pyarrow as pa

from sweep.core.errors import UsageError

DENSE = "dense"
"""The pruner of a run that prunes nothing: at compression 0 all pruners are the same run."""
SCHEMA_VERSION = 6
"""Raised when a column is added, renamed or changes its meaning; `read_table` brings older files forward."""


class NewerSchema(UsageError):
    """A file written by a newer prunesweep: not to be read, and not to be overwritten."""


UTC_TIME = pa.timestamp("us", tz="UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes:
        doc: for people.
        unit: of a number; "1" if it has no dimension; empty for text and truth values.
    """

    doc: str
    unit: str = ""


RunId = Annotated[str, Column("id of the run, a hash of its specification included")]
Prunable = Annotated[int, Column("weights that could be pruned", "weights")]
EffectiveDensity = Annotated[
    float | None, Column("weights on a live path / prunable; null where the network has no linear form", "1")
]
_LOSS = "the task's loss, a mean per row or token"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultRow:
    """The row of `result.parquet`: what was asked of a run, what came of it, at what cost, and where it ran."""

    run_id: RunId
    sweep: Annotated[str, Column("name of the sweep")]
    task: Annotated[str, Column("name of the task: data, model and metric")]
    pruner: Annotated[str, Column("name of the pruning method; 'dense' at compression 0")]
    compression: Annotated[float, Column("target_density = 10 ** -compression", "powers of ten")]
    seed: Annotated[int, Column("what all random numbers of the run are derived from", "1")]
    # asked
    epochs: Annotated[int, Column("passes over the training rows after pruning", "epochs")]
    batch_size: Annotated[int, Column("rows in a batch of training", "rows")]
    eval_batch_size: Annotated[int, Column("rows in a batch of evaluation", "rows")]
    lr: Annotated[float, Column("Adam's learning rate", "1")]
    beta1: Annotated[float, Column("Adam's decay rate of the mean of gradients", "1")]
    beta2: Annotated[float, Column("Adam's decay rate of the mean of squared gradients", "1")]
    eps: Annotated[float, Column("Adam's epsilon", "1")]
    score_samples: Annotated[int, Column("training rows that the scores are computed on", "rows")]
    score_batch_size: Annotated[int, Column("rows in a batch of scoring", "rows")]
    scope: Annotated[str, Column("'global': one threshold for all layers; 'layer': one each")]
    iterations: Annotated[int, Column("pruning iterations that were done", "iterations")]
    schedule: Annotated[str, Column("densities of the iterations: 'exponential' or 'linear'")]
    shuffle: Annotated[bool, Column("ablation: each layer's mask is permuted")]
    invert: Annotated[bool, Column("ablation: the lowest scores are kept")]
    precision: Annotated[str, Column("of the products while training: 'float32' or 'bf16'")]
    threads: Annotated[int, Column("torch's threads", "threads")]
    device: Annotated[str, Column("'cpu' or 'cuda'")]
    options: Annotated[str, Column("the task's own options, as JSON")]
    # reached
    metric: Annotated[str, Column("name of the task's metric")]
    test_metric: Annotated[
        float, Column("the task's metric on the test rows; a custom task may have another unit", "percent")
    ]
    test_accuracy: Annotated[
        float | None, Column("accuracy on the test rows; null if the task has none", "percent")
    ]
    train_accuracy: Annotated[
        float | None,
        Column("accuracy on all training rows after the last epoch; null if the task has none", "percent"),
    ]
    test_loss: Annotated[float, Column(f"{_LOSS}, on the test rows", "nats")]
    train_loss: Annotated[float, Column(f"{_LOSS}, on all training rows after the last epoch", "nats")]
    bleu_precision_1: Annotated[
        float | None,
        Column("modified precision of 1-grams on the test rows; null but for translation", "percent"),
    ]
    bleu_precision_2: Annotated[float | None, Column("of 2-grams; null but for translation", "percent")]
    bleu_precision_3: Annotated[float | None, Column("of 3-grams; null but for translation", "percent")]
    bleu_precision_4: Annotated[float | None, Column("of 4-grams; null but for translation", "percent")]
    bleu_brevity_penalty: Annotated[float | None, Column("from 0 to 1; null but for translation", "1")]
    bleu_paper: Annotated[
        float | None,
        Column(
            "BLEU of tokens against raw references split at white space; null but for translation", "percent"
        ),
    ]
    sacrebleu: Annotated[
        float | None, Column("sacreBLEU's score of plain text; null but for translation", "percent")
    ]
    sacrebleu_signature: Annotated[str | None, Column("how sacreBLEU computed it; null but for translation")]
    target_density: Annotated[
        float, Column("fraction of the prunable weights asked for: 10 ** -compression", "1")
    ]
    density: Annotated[float, Column("kept / prunable", "1")]
    kept: Annotated[
        int,
        Column("weights kept: floor(target_density * prunable), at scope layer of each layer", "weights"),
    ]
    prunable: Prunable
    parameters: Annotated[int, Column("all parameters of the model", "parameters")]
    threshold: Annotated[
        float | None,
        Column(
            "smallest kept score; null where nothing was pruned or layers have their own", "of the scores"
        ),
    ]
    ties: Annotated[int, Column("scores equal to the threshold", "weights")]
    flops_dense: Annotated[
        float,
        Column(
            "of one forward pass of a batch, nothing pruned; a multiplication with its addition is 2",
            "operations",
        ),
    ]
    flops_remaining: Annotated[
        float, Column("fraction of flops_dense left, with the positions each layer really sees", "1")
    ]
    flops_remaining_paper: Annotated[
        float,
        Column(
            "the paper's 'FLOP sparsity': (kept + biases) / (prunable + biases), positions not counted", "1"
        ),
    ]
    effective_density: EffectiveDensity
    empty_layers: Annotated[int, Column("layers that kept nothing", "layers")]
    dead_units: Annotated[
        int | None,
        Column(
            "dead inputs plus dead outputs of all layers, a unit between two layers in both; null without a linear form",
            "units",
        ),
    ]
    layer_collapse: Annotated[bool, Column("some layer is empty while others are not")]
    mask_effective: Annotated[
        bool | None,
        Column(
            "outputs unchanged when pruned weights are scrambled, after pruning and at the end; null if it cannot be told"
        ),
    ]
    notes: Annotated[str | None, Column("what else is not known of the run, and why; null if nothing")]
    weights_hash: Annotated[
        str, Column("SHA-256 of the final parameters and masks: equal for bit-identical runs")
    ]
    # cost
    seconds_data: Annotated[float, Column("wall time of preparing the data", "s")]
    seconds_prune: Annotated[float, Column("wall time of scoring and masking", "s")]
    seconds_train: Annotated[float, Column("wall time of training, without evaluations", "s")]
    seconds_evaluate: Annotated[float, Column("wall time of all evaluations", "s")]
    seconds_total: Annotated[
        float, Column("wall time of the run over all attempts that saved their work", "s")
    ]
    peak_memory_bytes: Annotated[
        int, Column("most resident memory of the process in the last attempt", "bytes")
    ]
    peak_gpu_memory_bytes: Annotated[
        int | None, Column("most that tensors took on the GPU in the last attempt; null on a CPU", "bytes")
    ]
    # trust
    data_hash: Annotated[str, Column("of the prepared data")]
    data_verified: Annotated[bool, Column("the data's hash is the published one")]
    padding_waste: Annotated[
        float | None, Column("fraction of the first epoch's tokens that are padding; null without", "1")
    ]
    train_rows: Annotated[int, Column("rows that training draws from", "rows")]
    test_rows: Annotated[int, Column("rows that the test columns are computed on", "rows")]
    pipeline_version: Annotated[int, Column("version of the task's path from text to batches", "1")]
    attempt: Annotated[int, Column("number of the attempt that finished, from 1", "1")]
    resumed: Annotated[int, Column("times that the run was resumed from a checkpoint", "1")]
    retries: Annotated[
        int | None,
        Column(
            "earlier attempts that ended out of memory, by a node failure or at a time limit; null before schema 3",
            "attempts",
        ),
    ]
    retry_history: Annotated[
        str | None, Column("how each earlier attempt ended, as JSON; null before schema 3")
    ]
    started_at: Annotated[datetime, Column("start of the attempt that finished", "UTC")]
    finished_at: Annotated[datetime, Column("when the row was made", "UTC")]
    git_sha: Annotated[
        str | None,
        Column(
            "commit of the code when the run started; every one, if it was resumed under another; null outside a checkout"
        ),
    ]
    git_dirty: Annotated[
        bool | None, Column("the checkout had changes that were not committed; null outside a checkout")
    ]
    plugins: Annotated[str | None, Column("name and SHA-256 of each plug-in, as JSON; null without any")]
    prunesweep_version: Annotated[str, Column("version of this package")]
    python_version: Annotated[str, Column("version of Python")]
    torch_version: Annotated[str, Column("version of PyTorch")]
    host: Annotated[str, Column("name of the machine")]
    cpu: Annotated[str, Column("model of the CPU")]
    cpu_capability: Annotated[str, Column("instruction set that torch uses")]
    gpu: Annotated[str | None, Column("model of the GPU; null on a CPU")]
    schema_version: Annotated[int, Column("version of these columns", "1")]


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRow:
    """A row of `epochs.parquet`: one epoch of a run."""

    run_id: RunId
    epoch: Annotated[int, Column("number of the epoch, from 1", "1")]
    train_loss: Annotated[float, Column(f"{_LOSS}, over the epoch's batches, while training", "nats")]
    eval_split: Annotated[
        str, Column("what was evaluated after the epoch: 'validation', or 'test' where there is none")
    ]
    eval_loss: Annotated[float, Column(f"{_LOSS}, on eval_split", "nats")]
    eval_metric: Annotated[float, Column("the task's metric on eval_split", "percent")]
    seconds: Annotated[float, Column("wall time of the epoch's training", "s")]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRow:
    """A row of `layers.parquet`: one masked layer of a run, after pruning."""

    run_id: RunId
    layer: Annotated[str, Column("module name")]
    position: Annotated[int, Column("order in the model, from 0", "1")]
    prunable: Prunable
    kept: Annotated[int, Column("weights kept", "weights")]
    density: Annotated[float, Column("kept / prunable", "1")]
    effective_density: EffectiveDensity
    flops_dense: Annotated[float, Column("of one forward pass of a batch, nothing pruned", "operations")]
    flops: Annotated[float, Column("what is left of them", "operations")]
    empty: Annotated[bool, Column("no weight is kept")]
    dead_inputs: Annotated[
        int | None,
        Column("input units without a live output; null where the network has no linear form", "units"),
    ]
    dead_outputs: Annotated[
        int | None,
        Column("output units without a live input; null where the network has no linear form", "units"),
    ]


_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), datetime: UTC_TIME}


def _schema(row: type) -> tuple[pa.Schema, frozenset[str]]:
    """The Arrow schema of a row's class, and the columns that may be null."""
    hints = get_type_hints(row, include_extras=True)
    arrow_fields, nullable = [], set()
    for name in (row_field.name for row_field in fields(row)):
        kind, column = get_args(hints[name])
        if isinstance(kind, UnionType):
            (kind,) = set(get_args(kind)) - {NoneType}
            nullable.add(name)
        metadata = {"doc": column.doc, "unit": column.unit}
        arrow_fields.append(pa.field(name, _ARROW[kind], metadata=metadata))
    return pa.schema(arrow_fields, metadata={"prunesweep_schema": str(SCHEMA_VERSION)}), frozenset(nullable)


RESULT, _RESULT_NULLS = _schema(ResultRow)
EPOCHS, _EPOCH_NULLS = _schema(EpochRow)
LAYERS, _LAYER_NULLS = _schema(LayerRow)

MAY_BE_NULL = _RESULT_NULLS | _EPOCH_NULLS | _LAYER_NULLS
"""The columns in which a null says something; in any other column of a file it is damage."""

TRANSLATION = tuple(name for name in RESULT.names if name.startswith(("bleu_", "sacrebleu")))
"""Columns that only translation tasks have; null for others."""


def as_mapping(row: ResultRow | EpochRow | LayerRow) -> dict[str, Any]:
    """The values of a row by column, in the order of its schema."""
    return {row_field.name: getattr(row, row_field.name) for row_field in fields(row)}
