"""The row of a result, and the tables that are written with it."""

import hashlib
import json
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import prune
from sweep.config.run_spec import RunSpec
from sweep.core.atomic_files import write_text
from sweep.run.checkpoint import save_tensors
from sweep.run.train_loop import Position
from sweep.store.layout import RunPaths
from sweep.store.parquet import write_rows
from sweep.store.schema import EPOCHS, LAYERS, RESULT, EpochRow, LayerRow, ResultRow, as_mapping


@dataclass
class Seconds:
    """Wall time per phase; what earlier attempts spent is added when a run is resumed."""

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


def asked(run: RunSpec, sweep: str) -> dict[str, Any]:
    """The columns that repeat the specification."""
    asked = run.model_dump(exclude={"options", "betas", "iterations"})
    return asked | {
        "run_id": run.id,
        "sweep": sweep,
        "beta1": run.betas[0],
        "beta2": run.betas[1],
        "options": json.dumps(run.options, sort_keys=True),
        "target_density": run.density,
    }


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names and bytes of all parameters and buffers. What else a module may add to its state is left out."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(name.encode())
            content: Any = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            digest.update(content)
    return digest.hexdigest()


def cost(seconds: Seconds, at: Position) -> dict[str, Any]:
    """The columns of time and memory."""
    spent = {"data": 0.0, "prune": 0.0, **seconds.spent, "train": at.seconds}
    spent["evaluate"] += at.evaluate_seconds
    return {
        **{f"seconds_{phase}": value for phase, value in spent.items()},
        "seconds_total": sum(spent.values()),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def write_tables(
    paths: RunPaths,
    row: ResultRow,
    epochs: Sequence[Mapping[str, Any]],
    layers: Sequence[Mapping[str, Any]],
    samples: Sequence[Mapping[str, str]],
    model: nn.Module,
) -> None:
    """Everything of a finished run. `result.parquet` comes last: where it is, the rest is.

    Args:
        paths: the run's directory.
        row: of the result.
        epochs: the columns of `EpochRow` but for the run's id, a row an epoch.
        layers: those of `LayerRow`, a row a masked layer.
        samples: what the task shows of single rows; none writes no file.
        model: whose masks are written.
    """
    masks = {
        name: layer.weight_mask.cpu()  # to be read where there is no GPU
        for name, layer in model.named_modules()
        if isinstance(layer, prune.MaskedLinear)
    }
    save_tensors(paths.mask, masks)
    if samples:
        write_text(paths.samples, json.dumps(samples, indent=1, ensure_ascii=False) + "\n")
    write_rows(paths.layers, LAYERS, [as_mapping(LayerRow(run_id=row.run_id, **layer)) for layer in layers])
    write_rows(paths.epochs, EPOCHS, [as_mapping(EpochRow(run_id=row.run_id, **epoch)) for epoch in epochs])
    write_rows(paths.result, RESULT, [as_mapping(row)])
