"""What classification tasks have in common: the loss and the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from sweep.data import Split


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy in nats, mean over the batch; logits `[B, C]`, target int64 `[B]`."""
    return nn.functional.cross_entropy(logits, target)


def evaluate(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], split: Split, batch_size: int
) -> dict[str, float]:
    """Accuracy (percent of rows whose largest logit is the label's) and mean loss over `split`, in eval mode."""
    # torchmetrics takes as long to import as torch itself, so it waits until it is needed
    from torchmetrics.functional.classification import multiclass_stat_scores

    device = next(model.parameters()).device
    total_loss = 0.0
    logits, targets = [], []
    with _eval_mode(model), torch.no_grad():
        for inputs, target in split.batches(batch_size):
            logits.append(model(*(tensor.to(device) for tensor in inputs)))
            targets.append(target.to(device))
            total_loss += loss(logits[-1], targets[-1]).item() * len(target)
    all_logits, all_targets = torch.cat(logits), torch.cat(targets)
    counts = multiclass_stat_scores(all_logits, all_targets, num_classes=all_logits.shape[1], average="micro")
    right, rows = int(counts[0]), int(counts[4])
    return {"accuracy": 100 * right / rows, "loss": total_loss / rows}


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside, every module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
