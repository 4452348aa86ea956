"""What a report contains, in which order."""

from sweep.report import figures_layers, figures_metric, figures_training, tables
from sweep.report.blocks import Block, Document, Section, Text
from sweep.report.checks import sanity
from sweep.report.inputs import ReportInputs, TaskResults
from sweep.report.paper_comparison import compare_with_paper
from sweep.report.provenance import provenance
from sweep.report.summary import summary
from sweep.report.translation import translation_section


def document(inputs: ReportInputs) -> Document:
    """The report of a sweep as it is now."""
    sections = [Section("Summary", [*sanity(inputs), *summary(inputs)])]
    for task in inputs.tasks:
        sections += _task(task)
    if inputs.tasks:
        sections.append(Section("Provenance", provenance(inputs)))
    choices = {
        "task": [task.name for task in inputs.tasks],
        "pruner": list(dict.fromkeys(pruner for task in inputs.tasks for pruner in task.pruners)),
        "seed": [str(seed) for seed in sorted({row["seed"] for row in inputs.rows})],
    }
    return Document(inputs.sweep.name, sections, choices)


def _task(task: TaskResults) -> list[Section]:
    name = task.name
    explained = f"Test {task.metric}: mean over n seeds ± half-width of the 95 % t-interval."
    first: list[Block | None] = [
        figures_metric.metric(task),
        tables.over_compressions(task, "test_metric", task.metric, explained),
    ]
    if task.compared_pruners:
        first += [figures_metric.difference(task), tables.paired(task)]
    if task.has("train_accuracy"):
        words = "Accuracy on the training rows after the last epoch."
        first.append(tables.over_compressions(task, "train_accuracy", "train_accuracy", words))
    first.append(figures_training.curves(task))
    flops = (
        "FLOPs remaining: the fraction of the operations in the matrix products of a forward pass that is left, those of "
        "attention and of unpruned layers included, with the positions that each processes."
    )
    cost: list[Block | None] = [
        figures_metric.pareto(task),
        tables.over_compressions(task, "flops_remaining", "flops", flops, 4, bare=True),
        figures_metric.wall_time(task),
    ]
    left: list[Block | None] = [
        tables.masks(task),
        figures_layers.densities(task)
        or Text("The network has a single prunable layer, whose density is that of the network."),
        figures_layers.collapse(task) or Text("No layer is empty in any run."),
    ]
    sections = [Section(name, _present(first), name)]
    sections += compare_with_paper(task)
    bleu = translation_section(task)
    if bleu:
        weights = figures_training.bleu_weightings(task)
        bleu[0] = Section(bleu[0].title, _present([*bleu[0].blocks, weights]), name, 3)
    sections += bleu
    sections.append(Section(f"{name}: what the masks leave", _present(left), name, 3))
    sections.append(Section(f"{name}: cost", _present(cost), name, 3))
    sections.append(Section(f"{name}: runs", [tables.runs(task)], name, 3))
    return sections


def _present(blocks: list[Block | None]) -> list[Block]:
    return [block for block in blocks if block is not None]
