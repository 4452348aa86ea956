"""Every generator of the process is seeded from the run, saved with it, and never inherited."""

import random

import numpy as np
import pytest
import torch

from sweep.run.checkpoint import Checkpoint
from sweep.run.seeds import random_state, seed_everything, seed_for_data, seed_python, set_random_state


def draws():
    return [random.random(), float(np.random.rand()), torch.rand(1).item()]


def test_one_seed_gives_one_stream_of_each_generator_and_another_seed_another():
    seed_everything(3, "train")
    first = draws()
    draws()
    seed_everything(3, "train")
    assert draws() == first
    seed_everything(4, "train")
    assert not set(draws()) & set(first)


def test_torch_is_seeded_as_it_was_before_the_others_were():
    """Its numbers are those of the reference runs. SHA-256 of b"3/train", the first 8 bytes, halved."""
    seed_everything(3, "train")
    assert torch.initial_seed() == 0x53810D0284A57995 >> 1


def test_data_is_prepared_with_the_same_numbers_for_every_run():
    seed_everything(1, "init")
    seed_for_data("toy")
    first = draws()
    seed_everything(2, "init")
    seed_for_data("toy")
    assert draws() == first


def test_scoring_does_not_disturb_torch():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    seed_python(0, "prune", "mine")
    assert torch.equal(torch.rand(3), wanted)


def test_a_checkpoint_holds_the_state_of_every_generator(tmp_path):
    """Also in the middle of a pair of normal numbers, of which the second is kept."""
    seed_everything(1, "train")
    draws(), random.gauss(0, 1), np.random.randn()
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {})
    checkpoint.save(random_state("cpu"))
    following = [*draws(), random.gauss(0, 1), np.random.randn()]
    seed_everything(9, "elsewhere")
    set_random_state("cpu", checkpoint.load(pytest.fail))
    assert [*draws(), random.gauss(0, 1), np.random.randn()] == following


def test_a_checkpoint_of_an_older_version_has_the_state_of_torch_alone():
    torch.manual_seed(3)
    state = {"rng": torch.get_rng_state()}
    wanted = torch.rand(5)
    set_random_state("cpu", state)
    assert torch.equal(torch.rand(5), wanted)
