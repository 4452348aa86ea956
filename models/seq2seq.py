"""A Transformer for translation."""

import math

import torch
from torch import Tensor, nn

from models.attention import Attention
from models.chunked_loss import chunked_cross_entropy
from models.embedding import TokenEmbedding
from models.torch_weights import own_names
from models.transformer import Decoder, Encoder

PRUNABLE = ("paper", "all")
_LOGITS_BYTES = 12_500_000
"""Of a chunk of the loss. The generator's gradient, as large as that, is added up once per chunk: smaller ones cost more."""


class Seq2SeqTransformer(nn.Module):
    """Encoder and decoder with a linear generator, as in PyTorch's translation tutorial with `nn.Transformer`.

    Post-norm, ReLU, a last normalisation on both stacks, embeddings times sqrt(d_model) plus sinusoids; dropout on that sum,
    in the feed-forward, on attention weights and before each residual sum. Initialisation is the tutorial's, from torch's global
    generator: every matrix, embeddings included, Xavier uniform, attention biases zero, the other biases as `nn.Linear`
    has them, normalisation at one and zero. As `nn.Transformer` packs the three projections of an attention in one matrix, `q`
    and `kv` here are drawn with the bounds of that matrix.

    Sequences start with <bos> and end with <eos>; padding may follow.

    Args:
        src_vocab, tgt_vocab: sizes of the vocabularies; the defaults are those of Multi30k.
        d_model: size of embeddings and hidden states, even and a multiple of `heads`.
        ffn: size of the feed-forward's hidden layer.
        dropout: from 0 to below 1.
        pad, bos, eos: token ids, the same in both vocabularies.
        max_len: the longest sequence that there are positions for.
    """

    def __init__(  # noqa: PLR0913 - sizes of an architecture, each with a default
        self,
        src_vocab: int = 19214,
        tgt_vocab: int = 10837,
        d_model: int = 512,
        heads: int = 8,
        encoder_layers: int = 3,
        decoder_layers: int = 3,
        ffn: int = 512,
        dropout: float = 0.1,
        pad: int = 1,
        bos: int = 2,
        eos: int = 3,
        max_len: int = 1024,
    ) -> None:
        super().__init__()
        self.pad, self.bos, self.eos = pad, bos, eos
        self.src_embedding = TokenEmbedding(src_vocab, d_model, dropout, max_len)
        self.tgt_embedding = TokenEmbedding(tgt_vocab, d_model, dropout, max_len)
        self.encoder = Encoder(encoder_layers, d_model, heads, ffn, dropout)
        self.decoder = Decoder(decoder_layers, d_model, heads, ffn, dropout)
        self.generator = nn.Linear(d_model, tgt_vocab)
        self._initialise()

    def _initialise(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for attention in self._attentions().values():
            size = attention.out_proj.in_features
            bound = math.sqrt(6 / (size + 3 * size))
            for linear in (getattr(attention, name) for name in attention.projections):
                nn.init.uniform_(linear.weight, -bound, bound)
                nn.init.zeros_(linear.bias)
            nn.init.zeros_(attention.out_proj.bias)

    def _attentions(self) -> dict[str, Attention]:
        return {name: module for name, module in self.named_modules() if isinstance(module, Attention)}

    def unpruned(self, prunable: str) -> tuple[str, ...]:
        """Return the dotted names of the linear layers that are not to be pruned.

        Args:
            prunable: "paper": feed-forward, attention output and generator are prunable, but not the projections to queries,
                keys and values, which are not `nn.Linear` in PyTorch; "all": every linear layer is.

        Raises:
            ValueError: another word.
        """
        if prunable not in PRUNABLE:
            raise ValueError(f"prunable is '{prunable}', but it needs to be one of {', '.join(PRUNABLE)}")
        if prunable == "all":
            return ()
        return tuple(
            f"{name}.{projection}"
            for name, attention in self._attentions().items()
            for projection in attention.projections
        )

    def encode(self, src: Tensor, recompute: bool = False) -> tuple[Tensor, Tensor]:
        """Return the memory of src, int64 [B, S], as [B, S, d_model], and where it is not padding, bool [B, 1, 1, S]."""
        allowed = (src != self.pad)[:, None, None]
        return self.encoder(self.src_embedding(src), allowed, recompute), allowed

    def hidden(self, src: Tensor, tgt: Tensor, recompute: bool = False) -> Tensor:
        """Return what the generator gets in `forward`, [B, T, d_model]; `recompute` as in `loss`."""
        memory, memory_allowed = self.encode(src, recompute)
        length = tgt.size(1)
        earlier = torch.ones(length, length, dtype=torch.bool, device=tgt.device).tril()
        allowed = earlier & (tgt != self.pad)[:, None, None]
        x, keys_values = self.tgt_embedding(tgt), self.decoder.keys_values(memory)
        return self.decoder(x, allowed, keys_values, memory_allowed, recompute=recompute)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """Return the logits of the token after each position of `tgt`, [B, T, tgt_vocab].

        Padding is masked as a key and no position of `tgt` sees a later one.

        Args:
            src: int64 [B, S].
            tgt: int64 [B, T].

        Raises:
            ValueError: a sequence longer than `max_len`.
        """
        return self.generator(self.hidden(src, tgt))

    def loss(self, src: Tensor, tgt: Tensor, chunk: int | None = None, recompute: bool = False) -> Tensor:
        """Return the mean cross entropy of the tokens after <bos>, padding left out; a scalar of at least float32.

        The same as the plain form, `cross_entropy(model(src, tgt[:, :-1]).flatten(0, 1), tgt[:, 1:].flatten(),
        ignore_index=pad)`, but the logits exist for `chunk` positions at a time, and for padding never. Differentiable
        once: scores that need second derivatives take the plain form.

        Args:
            src: int64 [B, S].
            tgt: int64 [B, T], with <bos> and <eos>.
            chunk: positions at a time; by default so many that their logits take 12.5 MB.
            recompute: keep no more of a layer than its input and compute the layer again for its gradients, dropout
                included: the same numbers with a third of the memory, in about a fifth more time.
        """
        x, target = self.hidden(src, tgt[:, :-1], recompute), tgt[:, 1:]
        counted = target != self.pad
        if chunk is None:
            device = x.device.type
            low = torch.is_autocast_enabled(device)
            itemsize = torch.get_autocast_dtype(device).itemsize if low else x.itemsize
            chunk = max(1, _LOGITS_BYTES // (itemsize * self.generator.out_features))
        return chunked_cross_entropy(self.generator, x[counted], target[counted], chunk)


def load_torch(model: Seq2SeqTransformer, transformer: nn.Transformer) -> None:
    """Copy the weights of encoder and decoder from PyTorch's module, after which both compute the same.

    Embeddings and generator, which `nn.Transformer` does not have, stay as they are. Its dropout is not taken over.

    Raises:
        ValueError: a `transformer` of other sizes, or of another form than post-norm and ReLU with biases.
    """
    given = own_names(transformer)
    own = {
        f"{stack}.{name}": parameter
        for stack in ("encoder", "decoder")
        for name, parameter in model.get_submodule(stack).named_parameters()
    }
    for name in sorted(own.keys() | given.keys()):
        shapes = [tuple(weights[name].shape) if name in weights else None for weights in (own, given)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"'{name}' is {shapes[0]} in the model and {shapes[1]} in nn.Transformer: build both alike"
            )
    heads = {attention.heads for attention in model._attentions().values()}
    if heads and heads != {transformer.nhead}:
        raise ValueError(
            f"the model has {heads.pop()} heads and nn.Transformer {transformer.nhead}: build both alike"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(given[name])
