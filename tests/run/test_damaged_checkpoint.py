"""A checkpoint that cannot be read costs time, not correctness."""

import re

import numpy as np
import pytest
import torch

from sweep.core.errors import StorageError
from sweep.run.checkpoint import Checkpoint


def test_a_damaged_checkpoint_is_told_of_and_costs_only_time(tmp_path):
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {"run": "a"})
    checkpoint.save({"weights": torch.zeros(1000)})
    content = checkpoint.path.read_bytes()
    for damaged in (b"", content[:100], content[:-50], content[:400] + b"x" * 50 + content[450:]):
        checkpoint.path.write_bytes(damaged)
        said = []
        assert checkpoint.load(said.append) is None
        (line,) = said
        assert re.fullmatch(
            r"checkpoint \S+checkpoint.pt cannot be read \(.+\); restarting from scratch", line
        )


@pytest.mark.parametrize("where", ["in a tensor", "in the list of parts"])
def test_a_checkpoint_with_one_wrong_byte_is_damaged(tmp_path, where):
    """torch.load takes both: it reads another number, and leaves a tensor unread whose part is marked as a directory."""
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {"run": "a"})
    checkpoint.save({"weights": torch.full((1000,), 0.5)})
    content = bytearray(checkpoint.path.read_bytes())
    if where == "in a tensor":
        content[content.index(np.float32(0.5).tobytes() * 10) + 402] ^= 0x10
    else:
        # the last entry named data/0, of 46 bytes before the name; the attributes are 8 bytes before its end
        content[content.rindex(b"archive/data/0") - 8] ^= 0x10
    checkpoint.path.write_bytes(content)
    assert torch.load(checkpoint.path)["state"]["weights"].shape == (1000,)
    said = []
    assert checkpoint.load(said.append) is None
    (line,) = said
    assert re.search(
        r"checkpoint.pt cannot be read \(BadZipFile: part '\S+/data/0' .*; restarting from scratch", line
    )


def test_a_checkpoint_that_the_system_does_not_give_out_is_an_error(tmp_path):
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {"run": "a"})
    checkpoint.path.mkdir()
    with pytest.raises(
        StorageError,
        match=r"cannot be read \(.*Is a directory.*\); make it readable or delete it, then repeat",
    ):
        checkpoint.load(print)
