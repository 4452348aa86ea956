"""What the report says of a translation task besides its metric: BLEU by other definitions, and sentences to look at."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from sweep import markdown
from sweep.bleu import N_GRAM, WEIGHTINGS, weighted
from sweep.paths import SweepPaths
from sweep.stats import cells

_SAMPLES = 3
_LETTERS = 160

_OTHERS = {
    "bleu_brevity_penalty": "brevity penalty",
    "bleu_paper": "raw references",
    "sacrebleu": "sacreBLEU",
}


def translation_section(
    sweep: SweepPaths, rows: Sequence[Mapping[str, Any]], pruners: Sequence[str]
) -> list[str]:
    """Parts of a report on `rows`, complete runs of one task."""
    signatures = ", ".join(
        f"`{signature}`" for signature in dict.fromkeys(row["sacrebleu_signature"] for row in rows)
    )
    falling, rising = (", ".join(f"{w:g}" for w in WEIGHTINGS[name]) for name in ("falling", "rising"))
    parts = [
        "BLEU by other definitions, mean over the runs. BLEU-n gives the precisions of 1- to n-grams equal weights, "
        f"*falling* weighs them {falling}, *rising* {rising}. *Raw references* are the sentences split at white space, as in the "
        f"paper; all others but sacreBLEU ({signatures}) are on tokens.",
        _definitions_table(rows, pruners),
    ]
    shown = _samples(sweep, rows)
    if shown:
        parts += [f"The first test sentences, seed {min(row['seed'] for row in rows)}:", *shown]
    return parts


def _definitions_table(rows: Sequence[Mapping[str, Any]], pruners: Sequence[str]) -> str:
    columns = {name: cells([_reweighted(row) for row in rows], name, pruners) for name in WEIGHTINGS}
    columns |= {header: cells(rows, column, pruners) for column, header in _OTHERS.items()}
    first = columns["BLEU-4"]
    lines = [
        [
            f"{compression:g}",
            pruner,
            *(f"{found[pruner, compression].mean:.2f}" for found in columns.values()),
        ]
        for compression in sorted({compression for _, compression in first})
        for pruner in pruners
        if (pruner, compression) in first
    ]
    return markdown.table(["compression", "pruner", *columns], lines, left=2)


def _reweighted(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's coordinates and its BLEU under each of the weightings."""
    precisions = [row[f"bleu_precision_{n}"] for n in range(1, N_GRAM + 1)]
    scores = {
        name: weighted(precisions, row["bleu_brevity_penalty"], weights)
        for name, weights in WEIGHTINGS.items()
    }
    return {**{key: row[key] for key in ("pruner", "compression", "seed")}, **scores}


def _samples(sweep: SweepPaths, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table for each of the first sentences: source, reference, and what each network of the first seed makes of it."""
    seed = min(row["seed"] for row in rows)
    mine = sorted((row for row in rows if row["seed"] == seed), key=lambda row: row["compression"])
    found = {}
    for row in mine:
        path = sweep.run(row["run_id"]).samples
        if path.is_file():
            found[row["pruner"], row["compression"]] = json.loads(path.read_text(encoding="utf-8"))
    if not found:
        return []
    tables = []
    for index in range(min(_SAMPLES, *map(len, found.values()))):
        sample = next(iter(found.values()))[index]
        lines = [[name, markdown.cell(sample[name])] for name in ("source", "reference")]
        lines += [
            [
                f"{pruner} at {compression:g}",
                markdown.cell(textwrap.shorten(samples[index]["output"], _LETTERS, placeholder=" …")),
            ]
            for (pruner, compression), samples in found.items()
        ]
        tables.append(markdown.table(["", f"sentence {index + 1}"], lines, left=2))
    return tables
