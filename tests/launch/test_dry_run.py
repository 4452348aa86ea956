"""A dry run shows what `sweep status` shows."""

import json
from dataclasses import replace

import pytest
from support.command import LAUNCH

from sweep.store.submissions import latest_submission

pytestmark = pytest.mark.process


def test_stale_runs_are_stale_in_a_dry_run(copied, command):
    """A launch that found other data was interrupted before its runs were made again."""
    sweep, run_ids = copied
    shown = command(*LAUNCH, "--dry-run")[1]
    assert [line.split() for line in shown.splitlines()[:2]] == [["done", run_id] for run_id in run_ids]
    before = latest_submission(sweep, run_ids[0])
    data = {task: replace(stamp, data_hash="other") for task, stamp in before.data.items()}
    replace(before, data=data).save(sweep)
    states = [json.loads(line)["state"] for line in command("status", "grid", "--json")[1].splitlines()]
    assert states == ["stale", "stale"]
    shown = command(*LAUNCH, "--dry-run")[1]
    assert [line.split() for line in shown.splitlines()[:2]] == [["stale", run_id] for run_id in run_ids]
