"""Pruning one network, and what is recorded of it."""

from typing import Any

import torch
from torch import nn

import prune
from sweep.config.run_spec import RunSpec
from sweep.run.diagnostics import check_mask
from sweep.run.seeds import derive
from sweep.tasks.base import Dataset, Task


def prune_network(
    run: RunSpec, task: Task, data: Dataset, model: nn.Module
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Mask `model` in place; what the row and the layer table say of it."""
    rows = task.score_rows(
        data.train, run.score_samples, torch.Generator().manual_seed(derive(run.seed, "score rows"))
    )
    # at compression 0 nothing is scored, and `dense` is not a method
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
        count=task.loss_count,
    )
    batch = data.test.batches(run.eval_batch_size)[0]
    stats = prune.network_stats(model, [batch], one)
    effective, problem = check_mask(model, batch[0])
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
        "mask_effective": effective,
        "notes": [note for note in (stats.problem, problem) if note],
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
