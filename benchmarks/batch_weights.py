"""How many of a mask's weights depend on what a scoring batch counts for: its rows or tokens, or, as before 0.2, one each.

    python benchmarks/batch_weights.py [--task multi30k] [--data-dir DIR] [--seed 0] [--json FILE]

The initial network and the scoring rows are those of a run with this seed; each line is the fraction of the kept weights that the
two masks share. Tokens are those of each batch that the loss is a mean over.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import prune
from prune.masks import kept_weights
from sweep.config.run_spec import RunSpec
from sweep.run.experiment import make_task
from sweep.run.seeds import derive, seed_globals
from sweep.tasks.data.dataset import DataSource

COMPRESSIONS = (0.1, 0.5, 1.0, 2.0)


def shared(task_name: str, method: str, seed: int, source: DataSource) -> dict[str, Any]:
    """The items of each batch, and by compression the fraction of kept weights that both ways of counting keep."""
    run = RunSpec.make(task_name, method, 1, seed, {})
    task = make_task(run)
    data = task.prepare(source)
    seed_globals(seed, "init")
    model = task.model(data)
    generator = torch.Generator().manual_seed(derive(seed, "score rows"))
    rows = task.score_rows(data.train, run.score_samples, generator)
    batches = list(data.train.batches(run.score_batch_size, rows))
    scores = [
        flat(prune.score(model, task.loss, batches, method, skip=task.unpruned(model), count=count))
        for count in (task.loss_count, lambda _target: 1)
    ]
    total = len(scores[0])
    kept = {c: kept_weights(total, c) for c in COMPRESSIONS}
    both = {c: int((highest(scores[0], k) & highest(scores[1], k)).sum()) for c, k in kept.items()}
    return {
        "method": method,
        "items": [int(task.loss_count(target)) for _, target in batches],
        "shared": {str(c): both[c] / kept[c] for c in COMPRESSIONS},
    }


def highest(scores: Tensor, count: int) -> Tensor:
    return torch.zeros_like(scores, dtype=torch.bool).index_fill_(0, scores.topk(count).indices, True)


def flat(scores: dict[str, Tensor]) -> Tensor:
    return torch.cat([s.flatten() for s in scores.values()])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="multi30k")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = DataSource.from_env(arguments.data_dir)
    found = [shared(arguments.task, method, arguments.seed, source) for method in ("snip", "grasp")]
    for line in found:
        print(json.dumps(line))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"task": arguments.task, "seed": arguments.seed, "masks": found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
