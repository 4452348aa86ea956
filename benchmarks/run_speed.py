"""One AG News run of the project against the loop that a careful user would write, epoch by epoch in turn.

    python benchmarks/run_speed.py [--data-dir D] [--allow-unverified-data] [--epochs 10] [--threads 1 2] [--json FILE]
    python benchmarks/run_speed.py --profile [--data-dir D] ...     where the time of the project's second epoch goes

Both train the same pruned model (random, compression 1) from the same weights on the same token ids, with a test evaluation after
each epoch. The plain loop: DataLoader with a Python collate function, `F.linear(x, W * M)`, `torch.optim.Adam` as it comes. Each
has its own process; they take turns, an epoch each, so that a change of the machine's speed affects both.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from turns import Turn, Worker, work

import prune
from sweep.config.run_spec import RunSpec
from sweep.core.provenance import machine
from sweep.core.signals import StopRequest
from sweep.run.checkpoint import Checkpoint
from sweep.run.experiment import make_task
from sweep.run.train_loop import train
from sweep.tasks.data.dataset import Dataset, DataSource


def prepared(threads: int, arguments: argparse.Namespace) -> tuple[RunSpec, Any, Dataset, nn.Module]:
    """The run, its task, its data and its pruned model: the same for both."""
    torch.set_num_threads(threads)
    run = RunSpec.make("ag_news", "random", 1.0, 0, {"threads": threads, "epochs": arguments.epochs})
    task = make_task(run)
    data = task.prepare(DataSource.from_env(arguments.data_dir, arguments.allow_unverified_data))
    torch.manual_seed(0)
    model = task.model(data)
    batches = data.train.batches(256, torch.arange(40))
    prune.prune_model(model, task.loss, batches, "random", 1.0, generator=torch.Generator().manual_seed(0))
    return run, task, data, model


def project(threads: int, arguments: argparse.Namespace, turn: Turn) -> float:
    """The project's training loop; returns the final test accuracy."""
    torch.set_flush_denormal(True)  # as every run does
    run, task, data, model = prepared(threads, arguments)
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = Checkpoint(Path(directory) / "checkpoint.pt", {})
        turn()
        at = train(
            run, task, data, model, checkpoint, None, {}, StopRequest(), lambda _: None, lambda _: turn()
        )
    return at.history[-1]["eval_metric"]


def plain(threads: int, arguments: argparse.Namespace, turn: Turn) -> float:
    """The loop a user would write around the same data; returns the final test accuracy."""
    run, _, data, masked = prepared(threads, arguments)
    embedding, weight, bias = masked.embedding, nn.Parameter(masked.fc.weight.detach()), masked.fc.bias
    mask = masked.fc.weight_mask.float()
    optimizer = torch.optim.Adam([embedding.weight, weight, bias], lr=run.lr)
    loaders = {
        name: loader(getattr(data, name), run.batch_size, name == "train") for name in ("train", "test")
    }
    accuracy = 0.0
    turn()
    for _ in range(arguments.epochs):
        for tokens, offsets, labels in loaders["train"]:
            loss = functional.cross_entropy(
                functional.linear(embedding(tokens, offsets), weight * mask, bias), labels
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = 0
        with torch.no_grad():
            for tokens, offsets, labels in loaders["test"]:
                logits = functional.linear(embedding(tokens, offsets), weight * mask, bias)
                right += (logits.argmax(1) == labels).sum().item()
        accuracy = 100 * right / len(data.test)
        turn()
    return accuracy


def loader(split: Any, batch_size: int, shuffle: bool) -> DataLoader[Any]:
    """A DataLoader over a list of (token ids, label), put together by a Python function."""
    bounds = split.offsets.tolist()
    rows = [
        (split.ids[a:b].long(), int(y))
        for a, b, y in zip(bounds, bounds[1:], split.labels.tolist(), strict=False)
    ]

    def collate(batch: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor, Tensor]:
        tokens, labels, offsets = [], [], [0]
        for ids, label in batch:
            tokens.append(ids)
            labels.append(label)
            offsets.append(len(ids))
        return torch.cat(tokens), torch.tensor(offsets[:-1]).cumsum(0), torch.tensor(labels)

    return DataLoader(rows, batch_size=batch_size, shuffle=shuffle, collate_fn=collate)  # type: ignore[arg-type]


def profile(arguments: argparse.Namespace) -> None:
    """Print where the time of the second epoch goes: the first has no denormal numbers yet."""
    schedule = torch.profiler.schedule(wait=1, warmup=0, active=1)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, schedule=schedule) as profiler:
        # called before the first epoch and after each
        ticks = iter([lambda: None, profiler.step, profiler.step])
        arguments.epochs = 2
        project(arguments.threads[0], arguments, lambda: next(ticks)())
    print(
        profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=50)
    )


def measure(threads: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both, an epoch each in turn: seconds of every epoch and the final accuracies."""
    kinds = ("project", "plain")
    workers = {
        kind: Worker(*sys.argv[1:], "--work", kind, "--worker-threads", str(threads)) for kind in kinds
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for epoch in range(arguments.epochs):
        for kind, worker in workers.items():
            seconds[kind].append(worker.piece())
        ratio = seconds["plain"][-1] / seconds["project"][-1]
        print(
            f"  epoch {epoch + 1}: project {seconds['project'][-1]:6.2f} s, plain {seconds['plain'][-1]:6.2f} s, {ratio:.1f} x"
        )
    accuracy = {kind: worker.result() for kind, worker in workers.items()}
    total = {kind: sum(values) for kind, values in seconds.items()}
    ratios = [b / a for a, b in zip(seconds["project"], seconds["plain"], strict=True)]
    summary = {
        "total_ratio": total["plain"] / total["project"],
        "median_epoch_ratio": statistics.median(ratios),
    }
    return {"threads": threads, "seconds": seconds, "test_accuracy": accuracy, **summary}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--allow-unverified-data", action="store_true")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="also write the measurements here")
    parser.add_argument("--profile", action="store_true", help="only show where the project's time goes")
    parser.add_argument("--work", choices=["project", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--worker-threads", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        kind = {"project": project, "plain": plain}[arguments.work]
        work(lambda turn: kind(arguments.worker_threads, arguments, turn))
        return
    if arguments.profile:
        profile(arguments)
        return
    found = []
    for threads in arguments.threads:
        print(f"{threads} thread{'s' if threads > 1 else ''}, {arguments.epochs} epochs of AG News")
        found.append(measure(threads, arguments))
        accuracy = {kind: round(value, 2) for kind, value in found[-1]["test_accuracy"].items()}
        print(f"  whole run {found[-1]['total_ratio']:.1f} x faster; test accuracy {accuracy}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "measurements": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
