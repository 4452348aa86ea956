"""What a report adds for translation tasks: BLEU by other definitions, and sample translations."""

import textwrap

from sweep.report.blocks import Cell, Column, Line, Section, Table, Text, compact, plain, word
from sweep.report.inputs import Row, TaskResults, cell_name
from sweep.report.stats import Cells, cells
from sweep.store.schema import DENSE
from sweep.tasks.metrics.bleu import N_GRAM, WEIGHTINGS, weighted

_SAMPLES = 3
_SAMPLE_CHARACTERS = 160

_OTHERS = {
    "bleu_brevity_penalty": "brevity penalty",
    "bleu_paper": "raw references",
    "sacrebleu": "sacreBLEU",
}


def translation_section(task: TaskResults) -> list[Section]:
    """BLEU by other definitions, and the first sentences; nothing for a task of another kind."""
    if not task.has("bleu_paper"):
        return []
    signatures = ", ".join(
        f"`{each}`" for each in dict.fromkeys(row["sacrebleu_signature"] for row in task.rows)
    )
    falling, rising = (", ".join(f"{w:g}" for w in WEIGHTINGS[name]) for name in ("falling", "rising"))
    words = (
        "BLEU-n gives the precisions of 1- to n-grams equal weights, "
        f"*falling* weighs them {falling}, *rising* {rising}. *Raw references* are the sentences split at white space, as in the "
        f"paper; all others but sacreBLEU ({signatures}) are on tokens."
    )
    sections = [
        Section(f"{task.name}: BLEU by other definitions", [Text(words), _definitions(task)], task.name, 3)
    ]
    if samples := _samples(task):
        seed = min(row["seed"] for row in task.rows)
        title = f"{task.name}: the first test sentences, seed {seed}"
        sections.append(Section(title, samples, task.name, 3))
    return sections


def by_weighting(task: TaskResults) -> dict[str, Cells]:
    """For each of `WEIGHTINGS` the runs' BLEU, computed from the stored precisions and brevity penalty."""
    rows = [_reweighted(row) for row in task.rows]
    return {name: cells(rows, name, task.pruners) for name in WEIGHTINGS}


def _definitions(task: TaskResults) -> Table:
    columns = by_weighting(task) | {header: task.cells(column) for column, header in _OTHERS.items()}
    first = columns["BLEU-4"]
    lines = [
        Line(
            [
                compact(compression),
                word(pruner if compression else DENSE),
                *(plain(found[pruner, compression].mean, 2) for found in columns.values()),
            ],
            pruner,
        )
        for compression in task.compressions
        for pruner in (task.pruners if compression else task.pruners[:1])
        if (pruner, compression) in first
    ]
    header = [Column("compression"), Column("pruner", numeric=False), *(Column(name) for name in columns)]
    return Table(
        f"{task.name}_bleu_definitions", "BLEU by other definitions, mean over the runs.", header, lines
    )


def _reweighted(row: Row) -> dict[str, object]:
    """The row's coordinates and its BLEU under each of the weightings."""
    precisions = [row[f"bleu_precision_{n}"] for n in range(1, N_GRAM + 1)]
    scores = {
        name: weighted(precisions, row["bleu_brevity_penalty"], weights)
        for name, weights in WEIGHTINGS.items()
    }
    return {**{key: row[key] for key in ("pruner", "compression", "seed")}, **scores}


def _samples(task: TaskResults) -> list[Table]:
    """A table for each of the first sentences: source, reference, and its translation by each network of the first seed."""
    rows = sorted(task.rows, key=lambda row: row["compression"])
    found = {
        (row["pruner"], row["compression"]): task.samples[row["run_id"]]
        for row in rows
        if row["run_id"] in task.samples
    }
    tables = []
    for index in range(min(_SAMPLES, *map(len, found.values())) if found else 0):
        sample = next(iter(found.values()))[index]
        lines = [Line([word(name), Cell(sample[name])]) for name in ("source", "reference")]
        for (pruner, compression), samples in found.items():
            output = textwrap.shorten(samples[index]["output"], _SAMPLE_CHARACTERS, placeholder=" …")
            lines.append(Line([word(cell_name(pruner, compression)), Cell(output)], pruner))
        columns = [Column("from", numeric=False), Column("text", numeric=False)]
        tables.append(Table(f"{task.name}_sentence_{index + 1}", f"Sentence {index + 1}.", columns, lines))
    return tables
