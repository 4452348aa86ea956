"""Slurm's answers about jobs: what is read out of them, and what is no answer."""

from pathlib import Path

import pytest

from sweep.executors.slurm import commands, submission
from sweep.executors.slurm.commands import Limits, SlurmUnavailable, ask_table
from sweep.executors.slurm.manifest import Manifest
from sweep.executors.slurm.queue import Job, Queue, Wanted, query

TOKEN = "s-0123"
SINCE = "2026-01-01T00:00:00"
BY_NAME, BY_ID = "JOBID|NAME|STATE|REASON\n", "JOBID|STATE|REASON|COMMAND\n"
ACCOUNTED = "JobID|JobName|State\n"
BANNER = "*** Maintenance on Friday: all jobs end | see https://hpc.example/motd ***\n"
HERE = Path("/results/s/arrays/0001-001")


@pytest.fixture
def slurm(monkeypatch):
    """What commands answer, by `squeue -n`, `squeue -j` and `sacct`; and the list of those asked for."""
    answers = {"squeue -n": BY_NAME, "squeue -j": BY_ID, "sacct": ACCOUNTED}
    asked = []

    def ask(*command):
        kind = command[0] + (" -j" if "-j" in command else " -n" if "-n" in command else "")
        asked.append((kind, *command))
        if answers[kind] is None:
            raise SlurmUnavailable(f"{command[0]}: down")
        return answers[kind]

    monkeypatch.setattr(commands, "ask", ask)
    return answers, asked


def kinds(asked):
    return [kind for kind, *_ in asked]


def test_one_query_answers_for_all(slurm):
    answers, asked = slurm
    answers["squeue -n"] += (
        "7_0|s-0123|RUNNING|None\n7_1|s-0123|PENDING|JobArrayTaskLimit\n"
        "8|t-4|PENDING|(launch failed)\n9_[2-5]|t-5|PENDING|Priority\n"
    )
    found = query({TOKEN: Wanted({0, 1}, "7"), "t-4": Wanted({0}, "8")}, SINCE)
    assert found.jobs == {
        (TOKEN, 0): Job("7_0", "RUNNING"),
        (TOKEN, 1): Job("7_1", "PENDING", "JobArrayTaskLimit"),
        ("t-4", None): Job("8", "PENDING", "(launch failed)"),
    }
    assert found.job("t-4", 0).job_id == "8"
    assert kinds(asked) == ["squeue -n"], "one query answers for all where nothing is lacking"


def test_the_cancelled_rest_of_an_array_is_one_record(slurm):
    """Of an array of five, the first task ran; then all were cancelled."""
    answers, _ = slurm
    answers["squeue -n"] += f"7|{TOKEN}|CANCELLED|None\n7_0|{TOKEN}|CANCELLED|None\n"
    found = query({TOKEN: Wanted(range(5), "7")}, SINCE)
    assert [found.job(TOKEN, index).job_id for index in range(5)] == ["7_0", "7", "7", "7", "7"]
    answers["squeue -n"] = BY_NAME
    answers["sacct"] += f"7_0|{TOKEN}|TIMEOUT\n7_[1-4]|{TOKEN}|CANCELLED by 0\n"
    found = query({TOKEN: Wanted(range(5), "7")}, SINCE)
    assert [found.job(TOKEN, index).state for index in range(5)] == ["TIMEOUT", *["CANCELLED"] * 4]


def test_a_job_that_was_renamed_is_found_by_its_id(slurm):
    answers, asked = slurm
    answers["squeue -j"] += f"7_0|RUNNING|None|{HERE}/submission_file_1.sh\n"
    found = query({TOKEN: Wanted({0}, "7", HERE)}, SINCE)
    assert found.job(TOKEN, 0) == Job("7_0", "RUNNING")
    assert kinds(asked) == ["squeue -n", "squeue -j"]
    assert "7,7" in asked[1], "of one id alone Slurm makes an error when the job is gone"


def test_the_job_of_a_stranger_who_was_given_the_id_is_not_taken(slurm):
    """A cluster that was installed again counts from 1."""
    answers, _ = slurm
    answers["squeue -j"] += "7_0|RUNNING|None|/home/else/train.sh\n8|PENDING|None|(null)\n"
    assert query({TOKEN: Wanted({0}, "7", HERE), "t-4": Wanted({0}, "8", HERE)}, SINCE).jobs == {}


def test_accounting_shows_out_of_memory_by_the_step(slurm):
    answers, asked = slurm
    answers["sacct"] += (
        f"7_0|{TOKEN}|FAILED\n7_0.batch|batch|FAILED\n7_0.0|python|OUT_OF_MEMORY\n"
        f"7_1|{TOKEN}|CANCELLED by 0\n7_2|{TOKEN}|RUNNING\n"
    )
    # what the accounting still takes for running, though the queue has forgotten it, is not known to be
    jobs = {(TOKEN, 0): Job("7_0", "OUT_OF_MEMORY"), (TOKEN, 1): Job("7_1", "CANCELLED")}
    assert query({TOKEN: Wanted({0, 1, 2})}, SINCE).jobs == jobs
    answers["squeue -n"] += f"7_0|{TOKEN}|FAILED|None\n"
    assert query({TOKEN: Wanted({0})}, SINCE).jobs == jobs
    assert kinds(asked) == ["squeue -n", "sacct"] * 2


def test_nothing_is_asked_about_nothing(slurm):
    assert query({}, "") == Queue()
    assert slurm[1] == []


def test_without_accounting_the_queue_is_all(slurm):
    slurm[0]["sacct"] = None
    assert query({TOKEN: Wanted({0}, "7")}, SINCE) == Queue({}, "")


@pytest.mark.parametrize("kind", ["squeue -n", "squeue -j"])
@pytest.mark.parametrize("answer", [None, "", BANNER, "7_0|s-0123|RUNNING|None\n", "\x00" * 40])
def test_what_has_no_header_is_no_answer(slurm, kind, answer):
    """A wrapper that says that the cluster is down, and ends well, must not make lost jobs of all."""
    slurm[0][kind] = answer
    found = query({TOKEN: Wanted({0}, "7", HERE)}, SINCE)
    assert (found.jobs, "squeue" in found.problem) == ({}, True)


def test_lines_of_a_site_are_not_jobs(slurm):
    answers, _ = slurm
    answers["squeue -n"] = BANNER + BY_NAME + BANNER + f"7_0|{TOKEN}|RUNNING|None\n\n" + "a|b|c|d\n" + BANNER
    answers["sacct"] = BANNER + ACCOUNTED + f"7_1|{TOKEN}|TIMEOUT\n" + BANNER
    found = query({TOKEN: Wanted({0, 1})}, SINCE)
    assert found.jobs == {(TOKEN, 0): Job("7_0", "RUNNING"), (TOKEN, 1): Job("7_1", "TIMEOUT")}


@pytest.mark.parametrize("before", ["", BANNER])
def test_the_id_of_a_job_whose_answer_was_lost(monkeypatch, before):
    manifest = Manifest(TOKEN, 1, [["a"]], code="/code", created_at=SINCE)
    for answer, found in (("ARRAY_JOB_ID\n7\n7\n", "7"), ("ARRAY_JOB_ID\n", "8")):
        answers = {"squeue": before + answer, "sacct": before + "JobID\n8_0\n"}
        monkeypatch.setattr(commands, "ask", lambda command, *_, answers=answers: answers[command])
        assert submission.find(manifest) == found
    monkeypatch.setattr(commands, "ask", lambda *_: BANNER)
    with pytest.raises(
        SlurmUnavailable, match=r"squeue did not answer with a table, but '\*\*\* Maintenance"
    ):
        submission.find(manifest)


def test_existing_jobs_are_counted_without_the_banner(monkeypatch):
    monkeypatch.setattr(commands, "ask", lambda *_: BANNER + "JOBID\n1_0\n1_1\n2\n" + BANNER)
    assert Limits(jobs=10).room(100) == 6
    assert Limits(jobs=4).room(100) == 0


def test_the_last_cell_may_contain_the_separator(monkeypatch):
    monkeypatch.setattr(commands, "ask", lambda *_: "JOBID|COMMAND\n1_0|/a|b c\n2_[1-3%2]|x\n3.batch|\n")
    assert ask_table("JOBID|COMMAND", "squeue") == [["1_0", "/a|b c"], ["2_[1-3%2]", "x"], ["3.batch", ""]]
