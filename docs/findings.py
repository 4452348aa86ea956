"""Writes docs/findings.md: the paper's nine claims, and what the reference rows say of each. `python docs/findings.py`"""

from collections.abc import Sequence
from pathlib import Path

from sweep.core.atomic_files import write_text
from sweep.report.inputs import TaskResults, gather
from sweep.report.paper import PAPER
from sweep.report.paper_comparison import FLOPS_TOLERANCE
from sweep.report.stats import (
    Summary,
    drop_from_dense,
    format_interval,
    holm,
    paired_differences,
    sign_flip_p,
    smallest_p,
)
from sweep.report.summary import LEVEL, listed, verdicts
from sweep.report.translation import by_weighting
from sweep.store.layout import SweepPaths

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "results" / "reference"

Claim = tuple[str, list[str]]


def main() -> None:
    news, full, translation, on_cpu = map(load, ("ag_news", "ag_news_full", "multi30k", "multi30k_cpu"))
    write_text(ROOT / "docs" / "findings.md", page(news, translation, full, on_cpu))


def load(name: str) -> TaskResults | None:
    """The one task of a reference sweep; None where the sweep is not there."""
    directory = REFERENCE / name
    tasks = gather(SweepPaths(directory)).tasks if directory.is_dir() else []
    return tasks[0] if tasks else None


def page(
    news: TaskResults | None,
    translation: TaskResults | None,
    full: TaskResults | None,
    on_cpu: TaskResults | None,
) -> str:
    parts = [
        "# Findings",
        'What the reference runs say of the nine claims of "Assessing Pruning methods on NLP models". Written by '
        "`python docs/findings.py` from the rows under `results/reference/`. Numbers are means ± half-width of the 95 % "
        "t-interval over n seeds; differences are paired by seed; compression c leaves a fraction of 10⁻ᶜ of the weights.",
        "\n".join(basis(task) for task in (news, full, translation, on_cpu) if task),
    ]
    for number, (claim, answers) in enumerate(claims(news, translation, full), 1):
        parts += [f"## {number}. {claim}", "\n".join(f"- {answer}" for answer in answers)]
    return "\n\n".join(parts) + "\n"


def basis(task: TaskResults) -> str:
    name, row = task.sweep.name, task.rows[0]
    where = f"on a GPU ({row['gpu']})" if row["gpu"] else "on a CPU"
    data = "the published data" if row["data_verified"] else "**not the whole published data**"
    seeds = len({row["seed"] for row in task.rows})
    pruners = listed(sorted({row["pruner"] for row in task.rows}))
    return (
        f"- [{name}](../results/reference/{name}/report/report.md): {len(task.rows)} "
        f"run{'' if len(task.rows) == 1 else 's'} ({pruners}), up to {seeds} "
        f"seed{'' if seeds == 1 else 's'} a cell, {where}, "
        f"{row['train_rows']:,} training and {row['test_rows']:,} test rows, {data}."
    )


def claims(
    news: TaskResults | None, translation: TaskResults | None, full: TaskResults | None
) -> list[Claim]:
    pruned = translation if translation and any(row["compression"] for row in translation.rows) else None
    return [
        ("Accuracy falls as compression rises, for both methods", falls(news)),
        ("GraSP outperforms random, even at high compression", grasp_wins(news, full)),
        (
            "GraSP excels at capturing correlated features in classification",
            [
                "Not answered: no run measures what correlation a mask captures, and the paper does not either. The one "
                "consequence that can be measured, a higher accuracy than random's, is claim 2."
            ],
        ),
        ("Both reach similar FLOP sparsity", flops(news, pruned)),
        ("Translation barely changes with compression, and sometimes improves", stable(pruned)),
        ("GraSP is only marginally better than random on translation", marginal(pruned)),
        ("A BLEU near 25 may come from the uniform n-gram weights", weights(translation)),
        ("Translation is more sensitive to pruning than classification", sensitive(news, pruned)),
        ("Text is hurt more than images", images(news)),
    ]


def falls(task: TaskResults | None) -> list[str]:
    if task is None:
        return ["Not answered: no runs."]
    answers = [f"Dense: {format_interval(task.cells('test_metric')[task.pruners[0], 0.0])}."]
    drops = {p: drop_from_dense(task.rows, "test_metric", p) for p in task.pruners}
    usable = [(p, c) for p in drops for c, s in drops[p].items() if s.half_width is not None]
    adjusted = dict(zip(usable, holm([sign_flip_p(drops[p][c].values) for p, c in usable]), strict=True))
    for pruner, found in drops.items():
        answers.append(f"{pruner} against dense: {verdicts(found)}.")
        down = [c for c, s in found.items() if s.contains(0.0) is False and s.mean < 0]
        sure = [c for c in down if adjusted[pruner, c] <= LEVEL]
        seen = [
            f"at c = {listed([f'{c:g}' for c in some])}{how}"
            for some, how in (
                (sure, ""),
                ([c for c in down if c not in sure], " by the interval of that one comparison alone"),
            )
            if some
        ]
        unseen = [f"{c:g}" for c in found if c not in down]
        if seen:
            answers.append(
                f"So for {pruner} a fall is seen {', and '.join(seen)}"
                + (f"; not at {listed(unseen)}." if unseen else ".")
            )
        else:
            answers.append(f"So for {pruner} no fall is seen that the seeds could not make.")
    answers.append(
        f"Where nothing is added, the exact sign-flip test holds at {LEVEL:g} with Holm's correction over the {len(usable)} "
        "comparisons."
    )
    return answers


def grasp_wins(task: TaskResults | None, full: TaskResults | None) -> list[str]:
    if task is None:
        return ["Not answered: no runs."]
    differences = paired_differences(task.rows, "test_metric", "grasp", "random")
    answers = [f"grasp − random at c = {c:g}: {test(s)}." for c, s in differences.items()]
    answers.append(holds(list(differences.values())))
    paper = task.paper.metric if task.paper else {}
    rows = [(c, paper["grasp", c] - paper["random", c]) for c in differences if ("grasp", c) in paper]
    better = [f"c = {c:g} ({d:+.2f})" for c, d in rows if d > 0]
    answers.append(
        f"The paper's own table, one run a cell, has GraSP ahead at {listed(better)} only and behind elsewhere."
        if len(better) < len(rows)
        else "The paper's own table, one run a cell, has GraSP ahead everywhere."
    )
    if full:
        clear = []
        for pruner in full.compared_pruners:
            for c, s in paired_differences(full.rows, "test_metric", pruner, "random").items():
                if s.contains(0.0) is False:
                    clear.append(f"{pruner} at {c:g} ({signed(s)})")
        found = (
            f"have an interval that excludes zero: {listed(clear)}"
            if clear
            else "has an interval that excludes zero"
        )
        none = "" if clear else "none "
        answers.append(f"Of all pruners and compressions of `{full.sweep.name}`, {none}{found}.")
    return answers


def holds(differences: Sequence[Summary]) -> str:
    """The verdict over a table of differences: intervals, then the corrected test."""
    differences = list(differences)
    usable = [s for s in differences if s.half_width is not None]
    if not usable:
        return "One seed per cell: not answered, since a difference of one pair may be due to the seed."
    above = sum(s.contains(0.0) is False and s.mean > 0 for s in usable)
    below = sum(s.contains(0.0) is False and s.mean < 0 for s in usable)
    adjusted = holm([sign_flip_p(s.values) for s in usable])
    significant = sum(p <= LEVEL for p in adjusted)
    text = (
        f"{above} of {len(usable)} intervals lie above zero, {below} below; {significant} of the exact tests hold at {LEVEL:g} "
        "with Holm's correction"
    )
    if min(smallest_p(s.n) for s in usable) * len(usable) > LEVEL:
        text += f" (with n={max(s.n for s in usable)} none can)"
    verdict = "supported" if above == len(usable) else "not supported" if above == 0 else "supported in part"
    return f"{text}. The claim is {verdict}."


def flops(*tasks: TaskResults | None) -> list[str]:
    answers = []
    for task in filter(None, tasks):
        found = task.cells("flops_remaining_paper")
        gaps, apart = [], []
        for c in [c for c in task.compressions if c]:
            if ("grasp", c) in found and ("random", c) in found:
                gaps.append(abs(found["grasp", c].mean - found["random", c].mean))
        published = task.paper.flops_remaining if task.paper else {}
        for (pruner, c), value in published.items():
            if (pruner, c) in found and abs(found[pruner, c].mean - value) > FLOPS_TOLERANCE:
                apart.append(f"{pruner} at {c:g}: the paper {value:g}, ours {found[pruner, c].mean:.4f}")
        compared = sum(key in found for key in published)
        if gaps:
            same = f"largest difference {max(gaps):.4f}, at {len(gaps)} compression{'' if len(gaps) == 1 else 's'}"
            answers.append(
                f"{task.name}, the paper's count: GraSP against random, {same}: every method keeps the same number."
            )
        text = f"{compared - len(apart)} of the paper's {compared} cells that were run are reproduced within {FLOPS_TOLERANCE}"
        answers.append(f"{task.name}: {text}" + (f"; not: {'; '.join(apart)}." if apart else "."))
    return answers or ["Not answered: no runs."]


def stable(task: TaskResults | None) -> list[str]:
    if task is None:
        return ["Not answered: the reference has no pruned translation runs."]
    answers = []
    found = []
    for pruner in task.pruners:
        drops = drop_from_dense(task.rows, "test_metric", pruner)
        found += drops.values()
        for c, s in drops.items():
            cells = task.cells("test_metric")
            ours, dense = format_interval(cells[pruner, c]), cells[pruner, 0.0].mean
            answers.append(f"{pruner} at c = {c:g}: BLEU {ours}, dense {dense:.2f}: {signed(s)}.")
    usable = [s for s in found if s.half_width is not None]
    below = sum(s.contains(0.0) is False and s.mean < 0 for s in usable)
    above = sum(s.contains(0.0) is False and s.mean > 0 for s in usable)
    if usable:
        answers.append(
            f"{below} of {len(usable)} intervals lie below zero, {above} above. The claim is "
            f"{'supported' if not below else 'supported in part' if below < len(usable) / 2 else 'not supported'}."
        )
    ran = {c for c in task.compressions if c}
    paper = task.paper.metric if task.paper else {}
    lost = [f"c = {c:g}" for (p, c) in paper if p == "random" and c and c not in ran]
    if lost:
        answers.append(f"Not run: {listed(lost)}, where the paper sees its improvement.")
    if all(row["seed"] == task.rows[0]["seed"] for row in task.rows):
        answers.append("One seed per cell: no interval. A difference is that of one pair of runs.")
    return answers


def marginal(task: TaskResults | None) -> list[str]:
    if task is None:
        return ["Not answered: the reference has no pruned translation runs."]
    differences = paired_differences(task.rows, "test_metric", "grasp", "random")
    if not differences:
        return ["Not answered: no seed has both."]
    answers = [f"grasp − random in BLEU at c = {c:g}: {test(s)}." for c, s in differences.items()]
    answers.append(holds(list(differences.values())))
    if any(s.contains(0.0) is False and s.mean < -10 for s in differences.values()):
        answers.append(
            "Where GraSP is far behind, its mask leaves a network in which every position has the same vector: "
            "see [translation](translation.md#what-the-reference-runs-show)."
        )
    return answers


def weights(task: TaskResults | None) -> list[str]:
    if task is None:
        return ["Not answered: the reference has no translation runs."]
    answers = []
    found = by_weighting(task)
    for c in task.compressions:
        for pruner in task.pruners if c else task.pruners[:1]:
            if (pruner, c) in found["BLEU-4"]:
                values = ", ".join(f"{name} {cells[pruner, c].mean:.2f}" for name, cells in found.items())
                answers.append(f"{pruner if c else 'dense'} at c = {c:g}: {values}.")
    raw, tokens = task.cells("bleu_paper"), task.cells("test_metric")
    dense = (task.pruners[0], 0.0)
    if dense in raw:
        answers.append(
            f"The weights change the number considerably, and so does the reference it is compared with: the dense network has "
            f"{tokens[dense].mean:.2f} on tokens and {raw[dense].mean:.2f} against raw references, as in the paper "
            f"(the paper: {PAPER['multi30k'].metric['grasp', 0.0]:.2f})."
        )
    return answers


def sensitive(news: TaskResults | None, translation: TaskResults | None) -> list[str]:
    if news is None or translation is None:
        return ["Not answered: the reference has no pruned translation runs besides those of AG News."]
    answers = []
    compared: dict[float, dict[str, list[str]]] = {}
    for pruner in news.pruners:
        left, right = (drop_from_dense(task.rows, "test_metric", pruner) for task in (news, translation))
        dense = [task.cells("test_metric")[pruner, 0.0].mean for task in (news, translation)]
        for c in sorted(left.keys() & right.keys()):
            shares = [-100 * drops[c].mean / whole for drops, whole in zip((left, right), dense, strict=True)]
            answers.append(
                f"{pruner} at c = {c:g}: the metric loses {share(shares[0])} of the dense network's in classification, "
                f"{share(shares[1])} in translation (n={left[c].n} and {right[c].n})."
            )
            distinguishable = any(drops[c].contains(0.0) is False for drops in (left, right))
            verdict = ("more" if shares[1] > shares[0] else "less") if distinguishable else "neither"
            compared.setdefault(c, {}).setdefault(verdict, []).append(pruner)
    for c, verdicts_of in compared.items():
        found = [
            f"for {listed(verdicts_of[verdict])} {text}"
            for verdict, text in (
                ("more", "translation loses more"),
                ("less", "translation loses less"),
                ("neither", "neither loss is distinguishable from zero"),
            )
            if verdict in verdicts_of
        ]
        answers.append(f"At c = {c:g} {listed(found)}.")
    answers.append("These are shares of an accuracy and of a BLEU, which are not one scale.")
    answers.append(
        f"The networks differ in more than the task: {news.rows[0]['prunable']:,} prunable weights against "
        f"{translation.rows[0]['prunable']:,}, so the same compression leaves {10**-2:.0%} of 256 or of millions."
        if news.rows[0]["prunable"] == 256
        else f"The networks differ in more than the task: {news.rows[0]['prunable']:,} prunable weights against "
        f"{translation.rows[0]['prunable']:,}."
    )
    return answers


def share(percent: float) -> str:
    return f"{round(percent, 1) + 0.0:.1f} %".replace("-", "−")


IMAGES = {1.0: {"random": (80.03, 10.00), "grasp": (31.21, 10.55)}}
"""The paper's earlier image study, Table 1: top-1 at c = 0.05, its least, and at c = 1."""


def images(news: TaskResults | None) -> list[str]:
    answers = ["Not answered by our runs: there is no image task."]
    for c, pruners in IMAGES.items():
        for pruner, (least, value) in pruners.items():
            text = PAPER["ag_news"].metric
            answers.append(
                f"By the paper's own tables at c = {c:g}, {pruner} loses {least - value:.2f} points on images (from c = 0.05), "
                f"and {text[pruner, 0.0] - text[pruner, c]:.2f} on AG News (from dense)."
            )
            drops = drop_from_dense(news.rows, "test_metric", pruner) if news else {}
            if c in drops:
                answers.append(f"Ours on AG News, {pruner} at c = {c:g}: {signed(drops[c])} from dense.")
    return answers


def test(summary: Summary) -> str:
    """Interval first, then the exact test with the smallest p-value there is."""
    if summary.half_width is None:
        return signed(summary)
    return f"{signed(summary)}, p = {sign_flip_p(summary.values):.3g} (smallest possible {smallest_p(summary.n):.2g})"


def signed(summary: Summary) -> str:
    return format_interval(summary, signed=True)


if __name__ == "__main__":
    main()
