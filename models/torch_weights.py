"""The weights of PyTorch's own Transformer under the names that they have here."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


def own_names(transformer: nn.Transformer) -> dict[str, Tensor]:
    """Return the parameters of encoder and decoder, {dotted name in `Seq2SeqTransformer`: tensor}.

    Raises:
        ValueError: a layer that does not compute what the layers here do.
    """
    found: dict[str, Tensor] = {}
    for stack in (transformer.encoder, transformer.decoder):
        for layer in stack.layers:
            assert isinstance(layer, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer)
            _check(layer)
    for name, tensor in transformer.state_dict().items():
        for own, part in _renamed(name, tensor):
            found[own] = part
    return found


def _renamed(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    parent, _, leaf = name.rpartition(".")
    if leaf in ("in_proj_weight", "in_proj_bias"):
        kind = leaf.removeprefix("in_proj_")
        if parent.endswith("self_attn"):
            yield f"{parent}.qkv.{kind}", tensor
        else:
            q, kv = tensor.split([len(tensor) // 3, 2 * len(tensor) // 3])
            attention = parent.replace("multihead_attn", "cross_attn")
            yield f"{attention}.q.{kind}", q
            yield f"{attention}.kv.{kind}", kv
    elif parent.endswith(("linear1", "linear2")):
        layer, _, linear = parent.rpartition(".")
        yield f"{layer}.feed_forward.{linear}.{leaf}", tensor
    else:
        yield name.replace("multihead_attn", "cross_attn"), tensor


def _check(layer: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> None:
    if layer.norm_first:
        raise ValueError("nn.Transformer is pre-norm (norm_first=True), the model is post-norm: build it so")
    probe = torch.tensor([-1.0, 2.0])
    if layer.activation is not relu and not torch.equal(layer.activation(probe), relu(probe)):
        raise ValueError(
            f"nn.Transformer's activation is {layer.activation}, the model's is ReLU: build it so"
        )
