"""What classification tasks have in common: the loss and the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from prune.eval_mode import eval_mode

if TYPE_CHECKING:
    from sweep.tasks.data.dataset import Split


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy in nats, mean over the batch; logits `[B, C]`, target int64 `[B]`."""
    return nn.functional.cross_entropy(logits, target)


def evaluate(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], split: Split, batch_size: int
) -> dict[str, float]:
    """Accuracy (percent of rows whose largest logit is the label's) and mean loss over `split`, in eval mode."""
    # counted here and not by torchmetrics, whose import takes as long as torch's, in every run's process
    device = next(model.parameters()).device
    total_loss = 0.0
    right = 0
    with eval_mode(model), torch.no_grad():
        for inputs, target in split.batches(batch_size):
            logits, labels = model(*(tensor.to(device) for tensor in inputs)), target.to(device)
            right += int((logits.argmax(dim=1) == labels).sum())
            total_loss += loss(logits, labels).item() * len(labels)
    return {"accuracy": 100 * right / len(split), "loss": total_loss / len(split)}
