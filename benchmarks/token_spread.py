"""Whether a freshly pruned translator still tells tokens and sources apart.

    python benchmarks/token_spread.py [--compressions 0.1 0.5 1 2] [--pruners random grasp] [--seeds 0] [--data-dir DIR]

For the network of a run on Multi30k before its first training step, over a batch of 64 test pairs: how far the vectors of tokens
are from their mean, as a share of their mean square, after the encoder and after the decoder; and how far the decoder's vectors
move when every sentence gets the source of its neighbour. Where all are 0 every position has the same vector, whatever the text.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from models import Seq2SeqTransformer
from sweep.config.run_spec import RunSpec
from sweep.run.experiment import make_task
from sweep.run.pruning import prune_network
from sweep.run.seeds import derive
from sweep.tasks.data.dataset import DataSource
from sweep.tasks.data.sentence_pairs import PAD

ROWS = 64


def spread(vectors: Tensor) -> float:
    """Mean squared distance to the mean over the mean square, of vectors [n, d]."""
    return ((vectors - vectors.mean(0)).square().sum() / vectors.square().sum()).item()


@torch.no_grad()
def look(model: Seq2SeqTransformer, source: Tensor, target: Tensor) -> tuple[float, float, float]:
    """Spread after the encoder, after the decoder, and the effect of another source."""
    memory, _ = model.encode(source)
    counted = target != PAD
    own, other = (model.hidden(s, target)[counted] for s in (source, source.roll(1, 0)))
    effect = (own - other).square().sum() / own.square().sum()
    return spread(memory[source != PAD]), spread(own), effect.item()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compressions", type=float, nargs="+", default=[0.1, 0.5, 1.0, 2.0])
    parser.add_argument("--pruners", nargs="+", default=["random", "grasp"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    data = None
    print("pruner     c  seed  encoder  decoder  another source")
    cells = [("dense", 0.0)] + [(p, c) for p in arguments.pruners for c in arguments.compressions]
    for pruner, compression in cells:
        for seed in arguments.seeds:
            run = RunSpec.make("multi30k", pruner, compression, seed, {})
            task = make_task(run)
            data = data or task.prepare(DataSource.from_env(arguments.data_dir))
            torch.manual_seed(derive(seed, "init"))
            model = task.model(data)
            assert isinstance(model, Seq2SeqTransformer)
            prune_network(run, task, data, model)
            (source, target), _ = data.test.batches(ROWS)[0]
            found = look(model.eval(), source, target)
            print(
                f"{pruner:8} {compression:3g} {seed:5}" + "".join(f"  {value:7.1e}" for value in found),
                flush=True,
            )


if __name__ == "__main__":
    main()
