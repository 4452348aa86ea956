"""Translation by a Transformer: everything but where the sentences come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, cast

from pydantic import Field

from sweep.core.errors import DataError
from sweep.tasks.base import MOST, Task
from sweep.tasks.corpus import CHECKS, SPLITS, Corpus, checked, require_splits
from sweep.tasks.data.dataset import Dataset, DataSource, Split

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor, nn

    from models import Seq2SeqTransformer
    from sweep.tasks.data.dataset import Batch
    from sweep.tasks.data.sentence_pairs import PairSplit

SPECIALS = ("<unk>", "<pad>", "<bos>", "<eos>")
_MARKS = frozenset(SPECIALS) - {"<unk>"}

Tokens = Mapping[str, Sequence[list[str]]]
"""By split, of each sentence."""

_GPU_MULTIPLE = 8
"""Of the widths of a training batch on a GPU: batches then have few shapes, each of which is captured once."""


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class Translation(Task):
    """A task whose model is `models.Seq2SeqTransformer`. A subclass says where the sentences come from.

    Attributes:
        architecture: arguments of the model other than the sizes of the vocabularies.
        sample_rows: so many test sentences are kept with their translation.
    """

    metric: ClassVar[str] = "BLEU"
    captured: ClassVar[bool] = True
    architecture: ClassVar[Mapping[str, Any]] = {}
    sample_rows: ClassVar[int] = 10

    class Options(Task.Options, frozen=True, extra="forbid"):
        prunable: Annotated[
            Literal["paper", "all"],
            Field(
                description="paper: all linear layers but projections to queries, keys and values; all: those, too"
            ),
        ] = "paper"
        batching: Annotated[
            Literal["sentences", "tokens"],
            Field(description="batch_size random pairs, or pairs of like length up to batch_tokens"),
        ] = "sentences"
        batch_tokens: Annotated[
            int,
            Field(
                ge=1,
                le=MOST,
                description="padded tokens of source and target in a batch, with batching: tokens",
            ),
        ] = 4096
        max_len: Annotated[int, Field(ge=1, le=1024, description="tokens a translation has at most")] = 60
        beam: Annotated[int, Field(ge=1, le=MOST, description="hypotheses of the beam search; 1: greedy")] = 1

    options: Options

    @abstractmethod
    def corpus(self, source: DataSource) -> Corpus[Pair]:
        """Find and verify the sentences of the splits `train`, `validation` and `test`."""

    @abstractmethod
    def tokenizers(self) -> tuple[str, str]:
        """Names of the two tokenizers, source and target, with whatever changes what they do."""

    @abstractmethod
    def tokenizer(self, name: str) -> Callable[[str], list[str]]:
        """The tokenizer of that name."""

    def prepare(self, source: DataSource) -> Dataset:
        from sweep.tasks.data.sentence_pairs import PairSplit
        from sweep.tasks.data.token_cache import Key, load_or_build

        corpus = checked(self.corpus(source), self.name)
        names = self.tokenizers()
        key: Key = {
            "data": corpus.data_hash,
            "source tokenizer": names[0],
            "target tokenizer": names[1],
            "pipeline": self.pipeline_version,
            "checks": CHECKS,
        }
        tables = load_or_build(
            source.tokens,
            self.name,
            key,
            lambda: self._tokenized(corpus.rows(), [self.tokenizer(name) for name in names]),
        )
        vocabulary = tables["target_vocabulary"].column("token").to_pylist()
        splits = {name: PairSplit.from_table(tables[name], vocabulary) for name in SPLITS}
        return Dataset(
            **splits,
            data_hash=corpus.data_hash,
            data_verified=corpus.verified,
            info={"src_vocab": tables["source_vocabulary"].num_rows, "tgt_vocab": len(vocabulary)},
        )

    def _tokenized(
        self, pairs: Mapping[str, Sequence[Pair]], tokenizers: Sequence[Callable[[str], list[str]]]
    ) -> dict[str, pa.RecordBatch]:
        """See `_tables`.

        Raises:
            DataError: a split that is missing or unknown, or a token that marks the end of a sentence.
        """
        from sweep.tasks.data.tokenize import tokenize

        require_splits(pairs, SPLITS, self.name)
        for name in SPLITS:
            for number, pair in enumerate(pairs[name], 1):
                if not all(isinstance(side, str) for side in pair):
                    raise DataError(
                        f"task {self.name!r}, {name} pair {number} is not two texts; give strings"
                    )
        sides = [
            {name: tokenize((pair[side] for pair in pairs[name]), tokenizer) for name in SPLITS}
            for side, tokenizer in enumerate(tokenizers)
        ]
        for side, tokens in zip(Pair._fields, sides, strict=True):
            for name in SPLITS:
                _require_no_marks(tokens[name], f"task {self.name!r}: the {name} {side}")
        return _tables(sides[0], sides[1], pairs)

    def model(self, data: Dataset) -> nn.Module:
        from models import Seq2SeqTransformer
        from sweep.tasks.data.sentence_pairs import BOS, EOS, PAD

        return Seq2SeqTransformer(
            data.info["src_vocab"], data.info["tgt_vocab"], pad=PAD, bos=BOS, eos=EOS, **self.architecture
        )

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        from sweep.tasks.metrics.translation import cross_entropy

        return cross_entropy(output, target)

    def loss_count(self, target: Tensor) -> Tensor:
        from sweep.tasks.metrics.translation import predicted_tokens

        return predicted_tokens(target)

    def training_loss(self, model: nn.Module, inputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
        # computed in chunks the loss stays in the CPU's caches and leaves padding out; on a GPU it would take more launches and a
        # synchronisation to learn how much is not padding
        if target.is_cuda:
            return super().training_loss(model, inputs, target)
        return cast("Seq2SeqTransformer", model).loss(inputs[0], target)

    def training_batches(self, split: Split, batch_size: int, order: Tensor) -> Sequence[Batch]:
        if self.options.batching == "tokens":
            return cast("PairSplit", split).bucketed(self.options.batch_tokens, order)
        pairs = cast("PairSplit", split)
        return pairs.batches(batch_size, order, _GPU_MULTIPLE if pairs.source.ids.is_cuda else 1)

    def unpruned(self, model: nn.Module) -> Collection[str]:
        return cast("Seq2SeqTransformer", model).unpruned(self.options.prunable)

    def evaluate(self, model: nn.Module, split: Split, batch_size: int) -> Mapping[str, float | str]:
        from sweep.tasks.metrics.translation import evaluate

        return evaluate(*_concrete(model, split), batch_size, self.options.max_len, self.options.beam)

    def evaluate_training(self, model: nn.Module, split: Split, batch_size: int) -> Mapping[str, float | str]:
        """The loss alone: decoding the training set would take as long as some epochs."""
        from sweep.tasks.metrics.translation import mean_loss

        return {"loss": mean_loss(*_concrete(model, split), batch_size)}

    def samples(self, model: nn.Module, split: Split) -> Sequence[Mapping[str, str]]:
        from sweep.tasks.metrics.translation import samples

        return samples(*_concrete(model, split), self.sample_rows, self.options.max_len, self.options.beam)


def _concrete(model: nn.Module, split: Split) -> tuple[Seq2SeqTransformer, PairSplit]:
    return cast("Seq2SeqTransformer", model), cast("PairSplit", split)


def _tables(
    sources: Tokens, targets: Tokens, pairs: Mapping[str, Sequence[Pair]]
) -> dict[str, pa.RecordBatch]:
    """A table for each split (see `sentence_pairs.to_table`), and two vocabularies, from the training pairs alone."""
    import pyarrow as pa

    from sweep.tasks.data.sentence_pairs import to_table
    from sweep.tasks.data.tokenize import build_vocabulary, encode

    vocabularies = [build_vocabulary(side["train"], SPECIALS) for side in (sources, targets)]
    tables = {
        f"{name}_vocabulary": pa.record_batch({"token": pa.array(vocabulary.get_itos())})
        for name, vocabulary in zip(("source", "target"), vocabularies, strict=True)
    }
    for name in SPLITS:
        texts = {
            "source": [pair.source for pair in pairs[name]],
            "target": [pair.target for pair in pairs[name]],
            "reference": [" ".join(tokens) for tokens in targets[name]],
        }
        ids = [
            encode([["<bos>", *tokens, "<eos>"] for tokens in side[name]], vocabulary)
            for side, vocabulary in zip((sources, targets), vocabularies, strict=True)
        ]
        tables[name] = to_table(texts, *ids)
    return tables


def _require_no_marks(tokens: Sequence[Sequence[str]], where: str) -> None:
    """Raise DataError for a token that the model takes for the end, the beginning or the padding of a sentence."""
    for number, sentence in enumerate(tokens, 1):
        if found := _MARKS.intersection(sentence):
            raise DataError(
                f"{where} of pair {number} has the token {min(found)!r}, which marks a sentence's end, beginning or padding "
                "for the model; remove it or write it differently"
            )
