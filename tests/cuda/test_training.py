"""Runs on a GPU: repeatable to the bit, also when stopped; no step waits for the device; the masks of the CPU."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch
from support import synthetic  # registers the tasks

import prune
from models import Seq2SeqTransformer, translate
from sweep.config.run_spec import RunSpec
from sweep.core import provenance
from sweep.core.errors import Cause, SweepError
from sweep.core.signals import Stopped, StopRequest
from sweep.run import cuda_graphs
from sweep.run.checkpoint import Checkpoint
from sweep.run.device import explain_out_of_memory, use
from sweep.run.experiment import make_task, run_one
from sweep.run.pruning import prune_network
from sweep.run.seeds import derive
from sweep.run.train_loop import Controls, train
from sweep.store.attempts import Attempt
from sweep.store.layout import SweepPaths
from sweep.store.parquet import read_table
from sweep.store.schema import EPOCHS
from sweep.store.submissions import Submission, register_runs
from sweep.tasks.data.dataset import DataSource

DEVICE = "cuda"

# methods with first and second derivatives, both precisions, both ways to make batches
SPECS = {
    "bags": ("random_bags", "snip", {"epochs": 3}),
    "bags, bf16": ("random_bags", "synflow", {"epochs": 3, "precision": "bf16", "iterations": 3}),
    "pairs": ("random_pairs", "grasp", {"epochs": 2, "score_samples": 64}),
    "pairs, bf16": (
        "random_pairs",
        "magnitude",
        {"epochs": 2, "precision": "bf16", "batching": "tokens", "batch_tokens": 800},
    ),
}


@pytest.fixture(autouse=True)
def _one_process_for_many_runs(monkeypatch):
    """A run sets up its process for itself; here the next test gets it back."""
    monkeypatch.setattr(provenance, "version", lambda name: "0")  # the project need not be installed
    threads = torch.get_num_threads()
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


def make(kind, **changes):
    task, pruner, keys = SPECS[kind]
    return RunSpec.make(task, pruner, 0.5, 0, {"device": DEVICE, **keys, **changes})


def source(directory):
    return DataSource(None, False, directory / "cache")


class StopAfter(StopRequest):
    """Asks to stop when it has been looked at so many times, which is once a step."""

    def __init__(self, steps):
        self.left = steps
        super().__init__()

    @property
    def requested(self):
        self.left -= 1
        return "SIGTERM" if self.left < 0 else None

    @requested.setter
    def requested(self, value):
        pass


def execute(run, directory, stop=None):
    """The row of a run, in a sweep in `directory`, which may have begun it; None if it was stopped."""
    paths = SweepPaths(directory).run(run.id)
    attempt = Attempt.claim(paths)
    try:
        row = run_one(run, source(directory), attempt, stop or StopRequest(), log=lambda line: None)
    except Stopped:
        attempt.end("interrupted")
        return None
    attempt.end("done")
    return row


def epochs(run, directory):
    rows = read_table(SweepPaths(directory).run(run.id).epochs, EPOCHS).to_pylist()
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize("kind", SPECS)
def test_twice_the_same_bits_and_stopped_twice_too(tmp_path, kind):
    run = make(kind)
    first, second = execute(run, tmp_path / "a"), execute(run, tmp_path / "b")
    assert second["weights_hash"] == first["weights_hash"]
    assert epochs(run, tmp_path / "b") == epochs(run, tmp_path / "a")
    assert first["mask_effective"]
    assert first["device"] == DEVICE
    assert first["gpu"] == torch.cuda.get_device_name()
    assert first["peak_gpu_memory_bytes"] > 4 * first["parameters"]

    stops = torch.randint(1, 10, (2,)).tolist()
    for steps in stops:
        assert execute(run, tmp_path / "c", StopAfter(steps)) is None
    saved = torch.load(SweepPaths(tmp_path / "c").run(run.id).checkpoint)["state"]
    assert saved["cuda_rng"].device.type == "cpu"
    third = execute(run, tmp_path / "c")
    assert third["resumed"] == 2
    assert third["weights_hash"] == first["weights_hash"], f"stopped after {stops} steps"
    assert epochs(run, tmp_path / "c") == epochs(run, tmp_path / "a")
    masks = torch.load(SweepPaths(tmp_path / "c").run(run.id).mask)
    assert {mask.device.type for mask in masks.values()} == {"cpu"}


@pytest.mark.parametrize("kind", ["pairs", "pairs, bf16"])
def test_a_captured_step_gives_the_bits_of_the_step(tmp_path, kind, monkeypatch):
    captures = []

    class Watched(cuda_graphs._Captured):
        def __init__(self, *arguments):
            captures.append(arguments[3].shape)
            super().__init__(*arguments)

    monkeypatch.setattr(cuda_graphs, "_Captured", Watched)
    # of pairs by length the shapes come once in an epoch
    run = make(kind, epochs=4)
    found = execute(run, tmp_path / "captured")
    count = len(captures)
    assert 1 <= count == len(set(captures))
    monkeypatch.setattr(cuda_graphs, "_MOST", 0)
    expected = execute(run, tmp_path / "eager")
    assert len(captures) == count
    assert found["weights_hash"] == expected["weights_hash"]
    assert epochs(run, tmp_path / "captured") == epochs(run, tmp_path / "eager")


def pruned(run, directory):
    """Initial weights and masks, on the CPU."""
    device = use(run.device)
    task = make_task(run)
    data = task.prepare(source(directory)).to(device)
    torch.manual_seed(derive(run.seed, "init"))
    model = task.model(data).to(device)
    prune_network(run, task, data, model)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, prune.MaskedLinear)}
    return {name: (layer.weight.detach().cpu(), layer.weight_mask.cpu()) for name, layer in layers.items()}


@pytest.mark.parametrize("kind", ["bags", "pairs"])
@pytest.mark.parametrize("pruner", ["random", "magnitude", "snip", "grasp", "synflow"])
def test_weights_and_masks_are_those_of_the_cpu(tmp_path, kind, pruner):
    """To the bit where the scores are drawn or are the weights; derivatives are rounded differently on a GPU."""
    task, _, _ = SPECS[kind]
    found = []
    for device in ("cpu", DEVICE):
        keys = {"score_samples": 64, "device": device, "shuffle": pruner == "random"}
        found.append(pruned(RunSpec.make(task, pruner, 0.5, 0, keys), tmp_path))
    here, there = found
    assert all(torch.equal(here[name][0], there[name][0]) for name in here)
    masks = [torch.cat([mask.flatten() for _, mask in each.values()]) for each in found]
    assert masks[0].sum() == masks[1].sum()
    differing = int((masks[0] != masks[1]).sum())
    assert differing <= (0 if pruner in ("random", "magnitude") else 0.02 * len(masks[0]))


@pytest.mark.parametrize("kind", ["bags", "pairs"])
def test_it_learns_what_the_cpu_learns(tmp_path, kind):
    """Not to the bit, and with dropout from another generator."""
    rows = [execute(make(kind, device=device), tmp_path) for device in ("cpu", DEVICE)]
    assert rows[1]["test_loss"] == pytest.approx(rows[0]["test_loss"], rel=0.01 if kind == "bags" else 0.1)


class Watched(Sequence):
    """Batches; from the third on whatever waits for the device raises, until a step is done."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        if index >= 2:  # the first makes what an epoch keeps, the second what a mask keeps
            torch.cuda.set_sync_debug_mode("error")
        return self.batches[index]


class Unwatch(StopRequest):
    """Looked at when a step is done."""

    steps = 0

    @property
    def requested(self):
        self.steps += torch.cuda.get_sync_debug_mode() == 2
        torch.cuda.set_sync_debug_mode("default")
        return None

    @requested.setter
    def requested(self, value):
        pass


@pytest.mark.parametrize("kind", SPECS)
def test_no_step_waits_for_the_device(tmp_path, kind, monkeypatch):
    run = make(kind)
    device = use(run.device)
    task = make_task(run)
    data = task.prepare(source(tmp_path)).to(device)
    torch.manual_seed(0)
    model = task.model(data).to(device)
    prune_network(run, task, data, model)
    batches = task.training_batches
    monkeypatch.setattr(task, "training_batches", lambda *arguments: Watched(batches(*arguments)))
    stop = Unwatch()
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {})
    controls = Controls(checkpoint, stop, lambda _: None, lambda _: None)
    at = train(run, task, data, model, controls, None, {})
    assert at.epoch == run.epochs
    assert stop.steps >= 9 * run.epochs


@pytest.mark.parametrize("beam", [1, 4])
def test_sentences_are_decoded_as_on_the_cpu(beam):
    torch.manual_seed(0)
    # in double precision no rounding decides between two tokens
    model = Seq2SeqTransformer(
        40, 40, d_model=32, heads=2, encoder_layers=1, decoder_layers=1, ffn=32
    ).double()
    sentences = [torch.randint(4, 40, (length,)) for length in (5, 1, 9, 3, 9, 7)]
    here = translate(model, sentences, 12, beam=beam)
    there = translate(model.to(DEVICE), [sentence.to(DEVICE) for sentence in sentences], 12, beam=beam)
    assert there == here


def test_a_run_gets_no_more_than_its_share_of_the_memory(monkeypatch):
    monkeypatch.setenv("SWEEP_GPU_SHARE", "0.04")
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        use("cuda")
        assert torch.empty(int(0.02 * total), dtype=torch.uint8, device="cuda").is_cuda
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.04 * total), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_out_of_memory_is_one_line_and_a_cause():
    with pytest.raises(SweepError) as caught, explain_out_of_memory(batch_size=64):
        torch.empty(2**46, dtype=torch.uint8, device=DEVICE)
    assert str(caught.value).startswith("out of GPU memory (tried to allocate ")
    assert caught.value.cause is Cause.OUT_OF_GPU_MEMORY


# the process that forks would become the parent of this one's orphans
SLOTS = """
import sys
from pathlib import Path
from sweep.store.submissions import read_runs
from sweep.executors.local.executor import LocalExecutor
from sweep.store.layout import SweepPaths

class Silent:
    def __getattr__(self, name):
        return lambda *arguments: None

sweep = SweepPaths(Path(sys.argv[1]))
LocalExecutor(sweep, 1, {}, 3, Silent()).execute(list(read_runs(sweep).values()))
"""


@pytest.mark.process
def test_runs_that_share_a_gpu_are_forked_and_end_as_alone(tmp_path):
    pytest.importorskip("pooch")  # imported before the fork
    if not list(distributions(name="prunesweep")):
        pytest.skip("a run's process names the version of the installed prunesweep")
    sweep = SweepPaths(tmp_path / "packed")
    runs = [make("bags"), make("bags, bf16"), make("pairs")]
    register_runs(sweep, "", [run.to_record() for run in runs])
    plugin = str(Path(synthetic.__file__).resolve())
    Submission([run.id for run in runs], {}, plugins=[plugin]).save(sweep)
    done = subprocess.run(
        [sys.executable, "-c", SLOTS, str(sweep.directory)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    logs = {run.id: sweep.run(run.id).log.read_text() for run in runs}
    assert done.returncode == 0, done.stderr
    for run in runs:
        assert "done: " in logs[run.id], logs[run.id]
        masks = torch.load(sweep.run(run.id).mask)
        alone = tmp_path / "alone"
        execute(run, alone)
        again = torch.load(SweepPaths(alone).run(run.id).mask)
        assert all(torch.equal(masks[name], again[name]) for name in masks)
        assert epochs(run, sweep.directory) == epochs(run, alone)
