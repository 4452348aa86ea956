"""The masked linear layer, and swapping the linear layers of a model for it."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from prune.errors import PruneError, nearest
from prune.ops import masked_linear

# Their forward reads the weights of their own linear layers instead of calling the layers: MultiheadAttention always,
# TransformerEncoderLayer on its fast path (eval mode without gradients).
_READ_WEIGHTS_DIRECTLY = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


class MaskedLinear(nn.Linear):
    """`nn.Linear` whose weights count only where `weight_mask` is true.

    `weight_mask` is a bool buffer of the shape of `weight`, all true at the start; write into it in place. It is part
    of the state dict. Pruned weights keep whatever value they hold and get a gradient of exactly zero.

    What the kernels need to know of a mask is worked out at its first use and kept with the tensor, until its next change.
    Changes that PyTorch does not count, through `weight_mask.data`, a NumPy array that shares the memory or a replay of a CUDA
    graph, need a call of `refresh`.
    """

    weight_mask: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self.register_buffer("weight_mask", torch.ones_like(self.weight, dtype=torch.bool))

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> "MaskedLinear":
        """Return a masked layer with the very Parameters of `linear` and its training mode, device and dtype.

        Raises:
            PruneError: `linear` is of a subclass, has hooks, or holds more than weight and bias (parametrizations do).
        """
        if type(linear) is not nn.Linear:
            raise PruneError(f"{linear} is not a plain nn.Linear: a masked layer would lose what it adds")
        if linear._parameters.keys() | linear._buffers.keys() | linear._modules.keys() != {"weight", "bias"}:
            raise PruneError(
                f"{linear} does not hold weight and bias alone: undo what was added before masking"
            )
        if any(hooks for name, hooks in vars(linear).items() if name.endswith("_hooks")):
            raise PruneError(
                f"{linear} has hooks, which a masked layer would lose: register them after masking"
            )
        # On the meta device nothing is initialised and no random number is drawn.
        masked = cls(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        masked.weight, masked.bias = linear.weight, linear.bias
        masked.weight_mask = torch.ones_like(linear.weight, dtype=torch.bool)
        return masked.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.Linear's name
        return masked_linear(input, self.weight, self.weight_mask, self.bias)

    def refresh(self) -> None:
        """Forget what is known of `weight_mask`, after a change of it that PyTorch does not count."""
        torch.ops.prune.masked_linear_forget.default(self.weight_mask)

    def extra_repr(self) -> str:
        if self.weight_mask.is_meta:
            return f"{super().extra_repr()}, density=unknown"
        kept = int(self.weight_mask.count_nonzero())
        density = f"density={kept / max(self.weight_mask.numel(), 1):.4g}"
        size = torch.ops.prune.masked_linear_plan_bytes.default(self.weight_mask)
        plan = f", plan={size / max(kept, 1):.3g} bytes per kept weight" if size else ""
        return f"{super().extra_repr()}, {density}{plan}"


def prunable_linears(model: nn.Module, skip: Iterable[str] = ()) -> dict[str, nn.Linear]:
    """Return the linear layers of `model` that can be masked, masked ones included, by dotted name, in module order.

    A layer found in several places is listed once, under its first name.

    Args:
        model: any module; if it is a linear layer itself, its name is "".
        skip: dotted names of submodules; neither they nor what is inside them is returned, in whatever other place
            they may also be found.

    Raises:
        PruneError: a name in `skip` that the model does not have; a layer that a mask could not reach: one whose
            weight its parent reads without calling it, or of a subclass of `nn.Linear` with its own forward.
    """
    skipped = _skipped_ids(model, skip)
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, _READ_WEIGHTS_DIRECTLY):
            for child_name, child in module.named_children():
                if isinstance(child, nn.Linear) and id(child) not in skipped:
                    raise PruneError(
                        f"'{_join(name, child_name)}' cannot be masked: nn.{_base_name(module)} reads its weight without "
                        f"calling it, so the mask would be ignored; skip it, or use a module that calls its linears"
                    )
        if not isinstance(module, nn.Linear) or id(module) in skipped:
            continue
        if type(module) is not nn.Linear and not isinstance(module, MaskedLinear):
            raise PruneError(
                f"'{name}' cannot be masked: {type(module).__name__} is a subclass of nn.Linear and may have its own "
                "forward; skip it, or make it a plain nn.Linear"
            )
        found[name] = module
    return found


def mask_linears(model: nn.Module, skip: Iterable[str] = ()) -> dict[str, MaskedLinear]:
    """Swap every `nn.Linear` inside `model` for a `MaskedLinear` with the same Parameters; return them by name.

    Masked layers that are there already stay as they are, mask included, and are returned too. A layer found in
    several places stays one layer, returned under its first name. Names and order are those of `prunable_linears`,
    which also describes `skip` and the errors; after an error the model is as before.

    Raises:
        PruneError: as `prunable_linears` and `MaskedLinear.from_linear`, or `model` is itself an `nn.Linear`, which
            cannot be swapped from inside.
    """
    linears = prunable_linears(model, skip)
    if type(model) is nn.Linear and linears:
        raise PruneError(
            f"the model is itself {model}: use MaskedLinear.from_linear, or wrap it in nn.Sequential"
        )
    masked = {}
    for name, linear in linears.items():
        try:
            masked[name] = linear if isinstance(linear, MaskedLinear) else MaskedLinear.from_linear(linear)
        except PruneError as error:
            raise PruneError(f"'{name}': {error}") from None
    replacement = {id(linear): masked[name] for name, linear in linears.items()}
    for parent in list(model.modules()):
        for child_name, child in parent._modules.items():
            if id(child) in replacement:
                setattr(parent, child_name, replacement[id(child)])
    return masked


def _skipped_ids(model: nn.Module, skip: Iterable[str]) -> set[int]:
    if isinstance(skip, str):
        raise TypeError(f"skip is the string '{skip}': give a list of names, [{skip!r}]")
    modules = dict(model.named_modules(remove_duplicate=False))
    del modules[""]
    skipped: set[int] = set()
    for name in skip:
        if name not in modules:
            raise PruneError(
                f"skip has '{name}', but the model has no submodule of that name{nearest(name, modules)}"
            )
        skipped.update(map(id, modules[name].modules()))
    return skipped


def _join(parent: str, child: str) -> str:
    return f"{parent}.{child}" if parent else child


def _base_name(module: nn.Module) -> str:
    return next(base.__name__ for base in _READ_WEIGHTS_DIRECTLY if isinstance(module, base))
