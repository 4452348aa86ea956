"""Disks that are full, read-only or hold something else in a sweep's place: one line with the path and the fix."""

import os
import re
import shutil

import pytest
import torch
from support.command import LAUNCH, refused, snapshot, write_grid
from support.mounts import remount, small_disk
from support.workplace import science

import sweep
from sweep.core.errors import StorageError
from sweep.run.checkpoint import save_tensors


def test_a_results_directory_that_is_a_file(command, tmp_path):
    write_grid(tmp_path)
    (tmp_path / "results").write_text("mine")
    refused(command(*LAUNCH), r"cannot write .*/results/grid/\S+: Not a directory; .*use another directory")
    refused(command("status", "grid"), r"no sweep 'grid'")
    assert (tmp_path / "results").read_text() == "mine"


def test_files_where_directories_should_be(command, tmp_path):
    write_grid(tmp_path)
    sweep_directory = tmp_path / "results" / "grid"
    sweep_directory.mkdir(parents=True)
    (sweep_directory / "runs").write_text("mine")
    refused(command(*LAUNCH), r"/results/grid/runs/\S+: Not a directory")
    assert (sweep_directory / "runs").read_text() == "mine"


@pytest.mark.process
def test_a_read_only_results_directory(command, tmp_path, finished):
    write_grid(tmp_path, seeds=[0, 1])
    disk = tmp_path / "disk"
    with small_disk(disk, "4m"):
        shutil.copytree(finished.paths().directory, disk / "grid")
        before = snapshot(disk)
        remount(disk, "ro")
        place = ("--results", disk)
        message = r"cannot write {}/grid/\S+: Read-only file system; .*use another directory, then repeat"
        refused(command(*LAUNCH, *place), message.format(disk))
        refused(command(*LAUNCH, *place, "--seeds", "0-2"), message.format(disk))
        refused(command(*LAUNCH, *place, "--retry", "all"), message.format(disk))
        refused(command("report", "grid", *place), message.format(disk))
        refused(command("run", finished.run_ids()[0], "--again", *place), message.format(disk))
        code, out, err = command("status", "grid", *place)
        assert (code, err) == (0, "")
        assert re.search(r"^all +2 *$", out, re.M)
        assert len(sweep.load(disk / "grid")) == 2
        assert snapshot(disk) == before


def fill(disk, leave):
    """Fill a file system but for `leave` bytes; returns the file to delete."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    filler.write_bytes(b"x" * (room.f_bavail * room.f_bsize - leave))
    return filler


@pytest.mark.process
def test_a_disk_that_fills_up_during_a_run(tmp_path, finished, work):
    """The second run ends for want of room, and the third is not started; with room again the same command completes them."""
    grid = write_grid(tmp_path, seeds=[0, 1, 2])
    with small_disk(tmp_path / "disk", "2m") as disk:
        shutil.copytree(finished.paths().directory, disk / "grid", ignore=shutil.ignore_patterns("report"))
        work.results = disk
        first, second = work.run_ids()
        shutil.rmtree(work.paths().run(second).directory)
        kept = snapshot(work.paths().run(first).directory)
        filler = fill(disk, leave=44 * 1024)
        done = work("--grid", grid, "--local", "--slots", 1)
        assert done.returncode == 3
        full = (
            rf"cannot write \S+/{second}/\S+: .*No space left on device; make room, then repeat the command"
        )
        assert re.search(full, done.stdout), done.stdout
        assert f"the disk of {disk}/grid is full: 1 runs are not started" in done.stdout
        assert not any("Traceback" in text for text in (done.stdout, done.stderr))
        third = work.run_ids()[2]
        assert work.states() == {first: "done", second: "interrupted", third: "pending"}
        assert re.search(full, work.sweep("logs", second).stdout)
        assert snapshot(work.paths().run(first).directory) == kept

        filler.unlink()
        done = work("--grid", grid, "--local")
        assert done.returncode == 0, done.stderr
        assert snapshot(work.paths().run(first).directory) == kept
        assert not list(disk.rglob(".tmp-*"))
        numbers = [science(sweep.load(place / "grid").to_pylist()) for place in (disk, finished.results)]
        assert [row for row in numbers[0] if row["run_id"] != third] == numbers[1]


@pytest.mark.process
def test_a_disk_that_is_full_already(command, tmp_path, finished):
    write_grid(tmp_path, seeds=[0, 1])
    with small_disk(tmp_path / "disk", "2m") as disk:
        shutil.copytree(finished.paths().directory, disk / "grid", ignore=shutil.ignore_patterns("report"))
        before = snapshot(disk)
        filler = fill(disk, leave=0)
        full = rf"cannot write {disk}/grid/\S+: No space left on device; make room"
        refused(command(*LAUNCH, "--results", disk, "--seeds", "0-2"), full)
        refused(command("report", "grid", "--results", disk), full)
        assert command("status", "grid", "--results", disk)[0] == 0
        filler.unlink()
        assert snapshot(disk) == before


@pytest.mark.process
@pytest.mark.parametrize("numbers", [100, 5_000, 16_300, 100_000])
def test_tensors_that_do_not_fit_on_a_disk_are_named_as_such(tmp_path, numbers):
    """torch's own writer says `unexpected pos 576 vs 534`."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        path = disk / "checkpoint.pt"
        save_tensors(path, {"old": torch.ones(3)})
        fill(disk, leave=0)
        with pytest.raises(StorageError, match=r"cannot write .*checkpoint.pt: No space left on device"):
            save_tensors(path, {"a": torch.zeros(numbers), "b": [torch.zeros(300)] * 3})
        assert torch.equal(torch.load(path)["old"], torch.ones(3))
        assert sorted(os.listdir(disk)) == ["checkpoint.pt", "filler"]
