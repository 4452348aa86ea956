"""Estimates of cost, worked by hand."""

import math

import pytest
from support.rows import run_record

from sweep.core.errors import UsageError
from sweep.launch.cost import Estimate, estimate, format_cost, require_consent
from sweep.store.run_record import RunRecord

RUN = run_record(threads=2)


def row(seconds, **changes):
    return RUN.to_json() | {"options": "{}", "seconds_total": seconds} | changes


def test_the_same_pruner_and_compression_decide_where_there_are_any():
    finished = [
        row(10.0),
        row(14.0),
        row(100.0, pruner="random"),
        row(500.0, compression=0.0),
        row(9.0, epochs=6),
    ]
    cost = estimate([RUN] * 4, finished)
    # two runs of mean 12, standard deviation sqrt(8); two threads each
    assert cost.core_seconds == pytest.approx(2 * 4 * 12)
    half = 1.96 * 2 * math.sqrt(8) * math.sqrt(4 + 16 / 2)
    assert (cost.low, cost.high) == (pytest.approx(96 - half), pytest.approx(96 + half))
    assert (cost.runs, cost.unknown, cost.samples, cost.longest) == (4, 0, 2, 12.0)
    assert cost.wall_seconds(cores=4) == 24
    assert cost.wall_seconds(cores=100) == 12, "no less than the longest run"


def test_next_come_the_compression_and_then_the_work():
    finished = [row(100.0, pruner="random"), row(500.0, compression=0.0)]
    assert estimate([RUN], finished).core_seconds == 2 * 100
    assert estimate([RUN], finished[1:]).core_seconds == 2 * 500
    nothing = estimate([RUN], [row(1.0, threads=1), row(1.0, options='{"a": 1}')])
    assert (nothing.unknown, nothing.core_seconds, nothing.wall_seconds(4)) == (1, 0.0, 0.0)
    assert estimate([RUN], [row(1.0, device="cuda")]).unknown == 1
    older = {key: value for key, value in RUN.to_json().items() if key != "device"}
    assert estimate([RunRecord.from_json(older)], finished).core_seconds == 2 * 100


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (Estimate(0, 0, 0, 0, 0, 0, 0), "expected: nothing to do"),
        (Estimate(3, 3, 0, 0, 0, 0, 0), "expected: unknown, no run of this kind has finished yet"),
        (Estimate(3, 0, 2, 90, 60, 120, 30),
         "expected: 1 min 30 s core time (1 min 00 s to 2 min 00 s), from 2 finished runs of the same kind"),
        (Estimate(3, 1, 2, 9000, 7200, 10800, 30),
         "expected: 2.5 h core time (2.0 h to 3.0 h), from 2 finished runs of the same kind; nothing is known of 1 of 3 runs"),
    ],
)  # fmt: skip
def test_in_words(cost, expected):
    assert format_cost(cost) == expected


def test_the_wall_time_where_it_is_known_who_works():
    cost = Estimate(3, 0, 1, 90, 60, 120, 30)
    assert format_cost(cost, cores=2) == (
        "expected: 1 min 30 s core time (1 min 00 s to 2 min 00 s), 45.0 s on 2 cores, from 1 finished run of the same kind"
    )


def test_gpu_time_is_counted_by_gpu():
    assert "2.5 h core time (2.0 h to 3.0 h), 5.0 h GPU time" in format_cost(
        Estimate(3, 0, 2, 9000, 7200, 10800, 30), gpus=2
    )


@pytest.mark.parametrize(("answer", "launched"), [("y", True), ("YES", True), ("", False), ("n", False)])
def test_a_dear_launch_asks_on_a_terminal(monkeypatch, answer, launched):
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr("builtins.input", lambda: answer)
    dear = Estimate(1, 0, 1, 7201, 0, 0, 0)
    if launched:
        require_consent(dear, 2, yes=False)
    else:
        with pytest.raises(UsageError, match="not launched"):
            require_consent(dear, 2, yes=False)
        require_consent(dear, 2, yes=True)
        require_consent(dear, 3, yes=False)


def test_nobody_is_asked_where_nobody_is():
    require_consent(Estimate(1, 0, 1, 1e9, 0, 0, 0), 2, yes=False)
