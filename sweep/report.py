"""`report.md`: the tables and the figure of each task, beside the paper's numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from sweep import markdown, paper
from sweep.files import write_text
from sweep.paper import PAPER, Figures
from sweep.paths import SweepPaths
from sweep.plots import metric_against_compression
from sweep.report_translation import translation_section
from sweep.show import interval
from sweep.stats import Cells, Summary, cells, paired_differences
from sweep.status import STATES, RunStatus, counts, pruners_of, survey

FLOPS_TOLERANCE = 0.01
"""The paper rounds to two digits."""

_PAPERS_WAY = {"train_accuracy": "training accuracy", "bleu_paper": "BLEU against raw references"}
"""Other columns that the paper's figures may be, and what they are called here."""

Rows = Sequence[Mapping[str, Any]]


def write_report(sweep: SweepPaths) -> Path:
    """Write the report of the complete runs of `sweep` and return its path. Other runs are counted in it, never mixed in."""
    statuses = survey(sweep)
    rows = [status.row for status in statuses if status.state == "done" and status.row]
    parts = [f"# {sweep.name}", _completeness(statuses)]
    for task in dict.fromkeys(row["task"] for row in rows):
        parts += _task_section(
            sweep, task, [row for row in rows if row["task"] == task], pruners_of(statuses, task)
        )
    if rows:
        parts += ["## Where the numbers come from", _provenance(rows)]
    write_text(sweep.report_markdown, "\n\n".join(parts) + "\n")
    return sweep.report_markdown


def _completeness(statuses: Sequence[RunStatus]) -> str:
    number = counts(list(statuses))
    done = number.pop("done", 0)
    lines = [f"{done} of {len(statuses)} runs are complete."]
    lines += [f"- {count} {state}: {STATES[state]}" for state, count in number.items()]
    return "\n".join(lines)


def _task_section(sweep: SweepPaths, task: str, rows: Rows, pruners: Sequence[str]) -> list[str]:
    metric = rows[0]["metric"]
    published = PAPER.get(task)
    test = cells(rows, "test_metric", pruners)
    plot = sweep.plot(f"{task}_{metric}.png")
    metric_against_compression(
        plot, f"{task}: test {metric}", metric, test, pruners, published.metric if published else {}
    )
    parts = [f"## {task}", f"![test {metric} against compression](plots/{plot.name})"]
    parts += [f"Test {metric}: mean over n seeds ± half-width of the 95 % t-interval."]
    parts.append(_metric_table(test, pruners, published.metric if published else {}))
    if "random" in pruners and len(pruners) > 1:
        parts += [_paired_text(metric), _paired_table(rows, [p for p in pruners if p != "random"])]
    if any(row["train_accuracy"] is not None for row in rows):
        train = cells(rows, "train_accuracy", pruners)
        parts += ["Accuracy on the training rows after the last epoch:", _metric_table(train, pruners, {})]
    flops = cells(rows, "flops_remaining_paper", pruners)
    parts += [
        "FLOPs remaining: the fraction of the linear layers' operations that is left, (kept weights + biases) / "
        '(all weights + biases), positions not counted. The paper calls it "FLOP sparsity".',
        _metric_table(flops, pruners, published.flops_remaining if published else {}, digits=4, plain=True),
    ]
    parts += [
        "What the masks leave, mean over the runs: the fraction of weights kept, and on a live path from input to output; units "
        "without a live input or output; layers that kept nothing; scores equal to the threshold.",
        _masks_table(rows, pruners),
    ]
    if any(row["bleu_paper"] is not None for row in rows):
        parts += translation_section(sweep, rows, pruners)
    if published:
        parts += [f"### Beside {paper.TITLE}", _verdicts(published, rows, test, flops, pruners)]
    return parts


def _metric_table(
    found: Cells, pruners: Sequence[str], published: Figures, digits: int = 2, plain: bool = False
) -> str:
    in_paper = [pruner for pruner in pruners if any(name == pruner for name, _ in published)]
    header = ["compression", "density", *pruners, *(f"{pruner}, the paper" for pruner in in_paper)]
    lines = []
    for compression in sorted({compression for _, compression in found}):
        ours = [found.get((pruner, compression)) for pruner in pruners]
        shown = [f"{s.mean:.{digits}f}" if plain and s else interval(s, digits) for s in ours]
        theirs = [_number(published.get((pruner, compression))) for pruner in in_paper]
        lines.append([f"{compression:g}", f"{10**-compression:.3g}", *shown, *theirs])
    return markdown.table(header, lines)


def _masks_table(rows: Rows, pruners: Sequence[str]) -> str:
    columns = {"density": 4, "effective_density": 4, "dead_units": 1, "empty_layers": 1, "ties": 1}
    means = {
        column: cells((row for row in rows if row["compression"]), column, pruners) for column in columns
    }
    lines = []
    for compression in sorted({compression for _, compression in means["density"]}):
        for pruner in pruners:
            found = {column: means[column].get((pruner, compression)) for column in columns}
            if found["density"]:
                shown = ["–" if s is None else f"{s.mean:.{columns[name]}f}" for name, s in found.items()]
                lines.append([f"{compression:g}", pruner, *shown])
    return markdown.table(["compression", "pruner", *(name.replace("_", " ") for name in columns)], lines)


def _paired_text(metric: str) -> str:
    return (
        f"Difference to random in test {metric}, paired by seed (same initial weights, same batch order): mean ± half-width of "
        "the 95 % t-interval."
    )


def _paired_table(rows: Rows, pruners: Sequence[str]) -> str:
    columns = {pruner: paired_differences(rows, "test_metric", pruner, "random") for pruner in pruners}
    compressions = sorted({compression for column in columns.values() for compression in column})
    lines = [[f"{c:g}", *(_signed(columns[pruner].get(c)) for pruner in pruners)] for c in compressions]
    return markdown.table(["compression", *(f"{pruner} − random" for pruner in pruners)], lines)


def _signed(summary: Summary | None) -> str:
    text = interval(summary)
    return f"+{text}" if summary and summary.mean > 0 else text


def _verdicts(
    published: paper.PaperTask, rows: Rows, test: Cells, flops: Cells, pruners: Sequence[str]
) -> str:
    """Which of the paper's figures ours reproduce, and which not."""
    lines = []
    pairs = [
        (key, value, flops[key].mean) for key, value in published.flops_remaining.items() if key in flops
    ]
    apart = [
        f"{_cell(key)}: {value:g}, ours {ours:.4f}"
        for key, value, ours in pairs
        if abs(ours - value) > FLOPS_TOLERANCE
    ]
    lines.append(
        f"- FLOPs remaining ({published.flops_table}): {len(pairs) - len(apart)} of {len(pairs)} cells reproduced within "
        f"{FLOPS_TOLERANCE}{_listed(apart)}."
    )
    metric = rows[0]["metric"]
    sources = {f"test {metric}": test}
    for column, name in _PAPERS_WAY.items():
        if rows[0][column] is not None:
            sources[name] = cells(rows, column, pruners)
    for name, found in sources.items():
        # the dense network is one cell, whatever pruner it stands under
        dense = [key for key in published.metric if key[1] == 0 and key in found][1:]
        both = [
            (k, value, found[k]) for k, value in published.metric.items() if k in found and k not in dense
        ]
        testable = [(key, value, s.mean, s.half_width) for key, value, s in both if s.half_width is not None]
        inside = [_cell(key) for key, value, mean, half in testable if abs(value - mean) <= half]
        gaps = [value - summary.mean for _, value, summary in both]
        if gaps:
            outside = [_cell(key) for key, *_ in testable if _cell(key) not in inside]
            lines.append(
                f"- {metric[0].upper()}{metric[1:]} ({published.metric_table}) against our {name}: "
                f"{len(inside)} of {len(testable)} cells reproduced, lying inside our 95 % interval{_listed(inside)}; "
                f"not reproduced: {len(outside)}{_listed(outside)}; "
                f"the paper minus ours is {min(gaps):+.2f} to {max(gaps):+.2f}."
            )
    lines.append(
        "- The paper ran each cell once and gives no spread, so a difference inside our interval is not evidence of one."
    )
    return "\n".join(lines)


def _provenance(rows: Rows) -> str:
    def distinct(column: str) -> str:
        return ", ".join(dict.fromkeys("none" if row[column] is None else str(row[column]) for row in rows))

    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        row = next(row for row in rows if row["task"] == task)
        verified = "the published hash" if row["data_verified"] else "**not the published data**"
        lines.append(
            f"- {task}: {row['train_rows']:,} training and {row['test_rows']:,} test rows, {verified} ({row['data_hash'][:12]})"
        )
    ineffective = [row["run_id"] for row in rows if not row["mask_effective"]]
    lines += [
        "- masks effective (outputs unchanged when pruned weights are scrambled): "
        f"{len(rows) - len(ineffective)} of {len(rows)} runs{_listed(ineffective)}",
        f"- code {distinct('git_sha')} (uncommitted changes: {distinct('git_dirty')}); "
        f"prunesweep {distinct('prunesweep_version')}, torch {distinct('torch_version')}, Python {distinct('python_version')}",
        f"- {distinct('cpu')} ({distinct('cpu_capability')}), threads a run: {distinct('threads')}, GPU: {distinct('gpu')}",
        f"- {sum(row['attempt'] - 1 for row in rows)} attempts beyond the first, {sum(row['resumed'] for row in rows)} resumed",
        f"- median {median(row['seconds_total'] for row in rows):.1f} s a run, "
        f"of which training {median(row['seconds_train'] for row in rows):.1f} s",
    ]
    return "\n".join(lines)


def _cell(key: tuple[str, float]) -> str:
    return f"{key[0]} at {key[1]:g}"


def _listed(items: Sequence[str]) -> str:
    return f" ({'; '.join(items)})" if items else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
