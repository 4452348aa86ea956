"""What stands in a report, in which order."""

from sweep.report import figures_layers, figures_metric, figures_training, tables
from sweep.report.blocks import Block, Document, Section, Text
from sweep.report.checks import sanity
from sweep.report.inputs import Material, TaskMaterial
from sweep.report.paper_comparison import beside_the_paper
from sweep.report.provenance import provenance
from sweep.report.summary import summary
from sweep.report.translation import translation_section


def document(material: Material) -> Document:
    """The report of a sweep as it is now."""
    sections = [Section("Summary", [*sanity(material), *summary(material)])]
    for task in material.tasks:
        sections += _task(task)
    if material.tasks:
        sections.append(Section("Where the numbers come from", provenance(material)))
    choices = {
        "task": [task.name for task in material.tasks],
        "pruner": list(dict.fromkeys(pruner for task in material.tasks for pruner in task.pruners)),
        "seed": [str(seed) for seed in sorted({row["seed"] for row in material.rows})],
    }
    return Document(material.sweep.name, sections, choices)


def _task(task: TaskMaterial) -> list[Section]:
    name = task.name
    explained = f"Test {task.metric}: mean over n seeds ± half-width of the 95 % t-interval."
    first: list[Block | None] = [
        figures_metric.metric(task),
        tables.over_compressions(task, "test_metric", task.metric, explained),
    ]
    if task.rivals:
        first += [figures_metric.difference(task), tables.paired(task)]
    if task.has("train_accuracy"):
        words = "Accuracy on the training rows after the last epoch."
        first.append(tables.over_compressions(task, "train_accuracy", "train_accuracy", words))
    first.append(figures_training.curves(task))
    flops = (
        "FLOPs remaining: the fraction of the matrix products' operations in a forward pass that is left, those of attention and "
        "of unpruned layers included, with the positions that each really sees."
    )
    cost: list[Block | None] = [
        figures_metric.pareto(task),
        tables.over_compressions(task, "flops_remaining", "flops", flops, 4, bare=True),
        figures_metric.wall_time(task),
    ]
    left: list[Block | None] = [
        tables.masks(task),
        figures_layers.densities(task)
        or Text(
            "The network has one prunable layer: its density is the network's, and no layer can be emptier than another."
        ),
        figures_layers.collapse(task) or Text("No layer is empty in any run."),
    ]
    sections = [Section(name, _present(first), name)]
    sections += beside_the_paper(task)
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
