"""Embedding gradients without a zero-fill of the whole table at every step.

A batch touches a few hundred of the rows of an embedding, but autograd's dense gradient is a new table of zeros with those rows
in it: for AG News that costs more than the forward and backward pass. Here autograd gives the rows alone, and they are added into
a table that is kept, and cleared afterwards row by row. The optimiser sees an ordinary dense gradient, so Adam's arithmetic is
unchanged: also the rows without a gradient move by their momentum.

A GPU fills such a table with zeros in some microseconds, and autograd's own gradient adds its rows in a fixed order there, so
embeddings on a GPU are left alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class RowGradients:
    """Keeps dense gradient tables for the embeddings of a model; use as `with gradients.for_step(): optimizer.step()`.

    Args:
        model: its `nn.Embedding` and `nn.EmbeddingBag` modules (mean and sum) on the CPU are set to give sparse gradients, where
            that gives the numbers of the dense ones and nothing else looks at the gradient.
    """

    def __init__(self, model: nn.Module) -> None:
        self._tables: dict[nn.Parameter, Tensor] = {}
        for module in model.modules():
            if isinstance(module, nn.Embedding | nn.EmbeddingBag) and _gives_rows(module):
                module.sparse = True
                weight = module.weight
                assert isinstance(weight, nn.Parameter)
                self._tables[weight] = torch.zeros_like(weight)

    @contextmanager
    def for_step(self) -> Iterator[None]:
        """Inside, each sparse `.grad` is a dense tensor of the same value; afterwards it is gone."""
        touched: list[tuple[Tensor, Tensor]] = []
        for weight, table in self._tables.items():
            gradient = weight.grad
            if gradient is None or not gradient.is_sparse:
                continue  # not used in this step, or tied to a layer with a dense gradient
            rows = gradient._indices()[0]
            table.index_add_(0, rows, gradient._values())
            weight.grad = table
            touched.append((table, rows))
        yield
        for table, rows in touched:
            table.index_fill_(0, rows, 0)
        for weight in self._tables:
            weight.grad = None


def _gives_rows(module: nn.Embedding | nn.EmbeddingBag) -> bool:
    """Whether a sparse gradient of the module's table can stand in for the dense one."""
    weight = module.weight
    return (
        type(module) in (nn.Embedding, nn.EmbeddingBag)  # a parametrised one has a class of its own
        and isinstance(weight, nn.Parameter)
        and weight.requires_grad
        and not weight.is_cuda
        and not module.scale_grad_by_freq  # torch has no sparse form of it
        and getattr(module, "mode", None) != "max"
        and not (weight._backward_hooks or weight._post_accumulate_grad_hooks)  # which expect a dense one
    )
