"""What is recorded next to a result is noted where it cannot be had."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sweep.core.signals import Stopped
from sweep.run.diagnostics import examples, join_notes, measured, padding_waste
from sweep.run.result_row import weights_hash


def fail(error):
    raise error


def test_what_fails_is_noted_and_what_stops_the_run_stops_it():
    assert measured("x is not known", lambda: 3) == (3, None)
    assert measured("x is not known", lambda: fail(OSError("no\nroom"))) == (
        None,
        "x is not known: OSError: no room",
    )
    for error in (Stopped("SIGTERM"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            measured("x is not known", lambda error=error: fail(error))


@pytest.mark.parametrize(
    "rows", [[{"source": torch.ones(1)}], [{"source": "\ud800"}], [{"source": object()}]]
)
def test_samples_that_no_file_can_hold(rows):
    samples, note = examples(
        SimpleNamespace(samples=lambda model, split: rows), None, SimpleNamespace(test=[])
    )
    assert samples == ()
    assert note.startswith("no samples: ")


def test_samples_and_padding_that_are_there():
    rows = [{"source": "ä"}]
    task = SimpleNamespace(samples=lambda model, split: rows)
    assert examples(task, None, SimpleNamespace(test=[])) == (rows, None)
    assert json.dumps(rows, ensure_ascii=False).encode()
    assert padding_waste(lambda: SimpleNamespace(padding_waste=0.25)) == (0.25, None)
    assert padding_waste(list) == (None, None)
    assert padding_waste(lambda: SimpleNamespace(padding_waste="much"))[0] is None


def test_notes_are_joined_once_each():
    assert join_notes(None, "a", "b", "a", "") == "a; b"
    assert join_notes(None) is None


class Counting(nn.Linear):
    """Keeps something in its state that is not a tensor."""

    def get_extra_state(self):
        return {"calls": 3}

    def set_extra_state(self, state):
        pass


def test_the_hash_of_weights_leaves_out_what_is_no_tensor():
    torch.manual_seed(0)
    plain, counting = nn.Linear(2, 2), Counting(2, 2)
    counting.load_state_dict(plain.state_dict() | {"_extra_state": None})
    assert weights_hash(counting) == weights_hash(plain)
