"""Sweeps made of rows alone: what a report and `sweep.load` read, without training anything."""

import json
from datetime import UTC, datetime

import pyarrow as pa

from sweep.store.layout import SweepPaths
from sweep.store.parquet import read_result, write_rows
from sweep.store.run_record import RunRecord
from sweep.store.schema import EPOCHS, LAYERS, RESULT, TRANSLATION

SAMPLES = {
    pa.string(): "x", pa.float64(): 0.5, pa.int64(): 1, pa.bool_(): True,
    pa.timestamp("us", tz="UTC"): datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
}  # fmt: skip


def row_of(schema, **values):
    """A row with a value of the right type in every column."""
    return {field.name: SAMPLES[field.type] for field in schema} | values


def run_record(run_id="toy-grasp-c1-s0", **values):
    """A run as `runs.jsonl` has it."""
    fields = {
        "task": "toy", "pruner": "grasp", "compression": 1.0, "seed": 0, "epochs": 5, "batch_size": 64,
        "eval_batch_size": 256, "lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "score_samples": 40,
        "score_batch_size": 64,
    }  # fmt: skip
    return RunRecord.from_json({"id": run_id} | fields | values)


def score(pruner, compression, seed):
    """Any accuracy will do, as long as it differs."""
    return 90 - 10 * compression + seed * 0.25 + len(pruner) * 0.5 * compression


def write_sweep(
    directory,
    pruners=("random", "grasp"),
    compressions=(0.0, 1.0, 2.0),
    seeds=(0, 1, 2),
    task="toy",
    **values,
):
    """A finished sweep with two layers and two epochs; returns its paths."""
    sweep = SweepPaths(directory)
    directory.mkdir(parents=True, exist_ok=True)
    sweep.grid.write_text("")
    runs = []
    for seed in seeds:
        for compression in compressions:
            for pruner in pruners if compression else ["dense"]:
                run_id = f"{task}-{pruner}-c{compression:g}-s{seed}"
                runs.append(run_record(run_id, task=task, pruner=pruner, compression=compression, seed=seed))
                density = 10**-compression
                row = row_of(
                    RESULT, run_id=run_id, task=task, pruner=pruner, compression=compression, seed=seed,
                    metric="accuracy", test_metric=score(pruner, compression, seed), target_density=density,
                    density=density, kept=int(1000 * density), prunable=1000, scope="global", ties=1, dead_units=0,
                    effective_density=density, layer_collapse=False, empty_layers=0, flops_remaining=density,
                    flops_remaining_paper=density, gpu=None, plugins=None, retries=0, retry_history="[]",
                    **(dict.fromkeys(TRANSLATION) | values),
                )  # fmt: skip
                paths = sweep.run(run_id)
                write_rows(paths.result, RESULT, [row])
                layers = [
                    row_of(LAYERS, run_id=run_id, layer=name, position=position, density=d, empty=d == 0)
                    for position, (name, d) in enumerate(
                        {"first": density, "second": density * (compression < 2)}.items()
                    )
                ]
                write_rows(paths.layers, LAYERS, layers)
                epochs = [
                    row_of(
                        EPOCHS,
                        run_id=run_id,
                        epoch=e,
                        train_loss=1 / e,
                        eval_split="test",
                        eval_metric=50.0 + e,
                    )
                    for e in (1, 2)
                ]
                write_rows(paths.epochs, EPOCHS, epochs)
    sweep.runs_list.write_text("".join(json.dumps(run.to_json()) + "\n" for run in runs))
    return sweep


def change(sweep, run_id, **values):
    """Rewrite the result of a run with other values."""
    path = sweep.run(run_id).result
    write_rows(path, RESULT, [read_result(path) | values])
