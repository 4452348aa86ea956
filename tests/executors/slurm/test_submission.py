"""Submitting without loss or doubles, with scripts in place of Slurm's commands."""

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.rows import run_record
from support.waiting import wait_for
from support.workplace import ROOT

from sweep.config.run_spec import RunSpec
from sweep.core.errors import StorageError
from sweep.executors.slurm import submission as submitting
from sweep.executors.slurm.commands import Limits, SlurmUnavailable, ask, plain_environment
from sweep.executors.slurm.executor import InvalidJob, JobPlan, PartialSubmission, SlurmExecutor, is_limit
from sweep.executors.slurm.job_status import reason, release_failed_starts
from sweep.executors.slurm.manifest import JobKind, Manifest, arrays, new_token, read_answer
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.queue import Job
from sweep.executors.slurm.sbatch import parameters
from sweep.executors.slurm.smoke_jobs import SmokeTests
from sweep.executors.slurm.submission import SubmissionRejected, reconcile, submit
from sweep.store.layout import SweepPaths
from sweep.store.status import RunStatus

pytestmark = pytest.mark.process

# A controller in a few lines. The file `says` controls what sbatch does, `jobs` is what it has accepted.
SBATCH = """#!/bin/bash
cd "$(dirname "$0")"
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
echo called >> calls
accept() { echo "$1" >> jobs; }
case $(cat says) in
    take) accept "$name"; echo "Submitted batch job $((100 + $(wc -l < jobs)))" ;;
    lose) accept "$name"; echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv" >&2; exit 1 ;;
    late) echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv" >&2; echo "$name" > late; exit 1 ;;
    drop) echo "sbatch: error: Batch job submission failed: Unable to contact slurm controller" >&2; exit 1 ;;
    refuse) accept "$name"  # Slurm lists what it has refused, as a job that failed
        echo "sbatch: error: Batch job submission failed: Invalid account or account/partition" >&2; exit 1 ;;
esac
"""
SQUEUE = """#!/bin/bash
cd "$(dirname "$0")"
[[ ! -e down ]] || { echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2; exit 1; }
while [[ $1 != -n ]]; do shift; done
touch jobs
[[ ${@: -1} == %i ]] && { echo JOBID; exit; }; echo ARRAY_JOB_ID
grep -nx -- "$2" jobs | while IFS=: read -r line _; do echo $((100 + line)); done
# what a controller that wakes up still had in its inbox arrives after the first query
[[ ! -e late ]] || { cat late >> jobs; rm late; }
"""
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
SACCT = '#!/bin/bash\necho "Slurm accounting storage is disabled" >&2; exit 1\n'


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    directory = tmp_path / "slurm bin"
    directory.mkdir()
    for name, script in {"sbatch": SBATCH, "squeue": SQUEUE, "sacct": SACCT, "srun": "#!/bin/sh\n"}.items():
        (directory / name).write_text(script)
        (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.setattr(submitting, "SETTLING_SECONDS", 0.0)
    return directory


@pytest.fixture
def array(tmp_path):
    array = SweepPaths(tmp_path / "my sweep").array(1, 1)
    array.directory.mkdir(parents=True)
    return array


def plan(tasks=2):
    return Manifest(new_token("my sweep"), 1, [[f"run{i}"] for i in range(tasks)], code="/code")


def submitted(array, manifest):
    return submit(array, manifest, Profile(), parameters(Profile(), manifest.token, 1, array.directory, None))


def accepted(slurm):
    return (slurm / "jobs").read_text().split() if (slurm / "jobs").exists() else []


@pytest.mark.parametrize("tasks", [1, 3])
def test_the_intent_is_on_disk_before_sbatch_and_the_answer_after(slurm, array, tasks):
    (slurm / "says").write_text("take")
    manifest = plan(tasks)
    assert submitted(array, manifest) == "101"
    assert Manifest.read(array.manifest) == manifest
    assert read_answer(array) == {"job_id": "101", "error": ""}
    assert accepted(slurm) == [manifest.token]
    names = [f"101_{i}_submitted.pkl" for i in range(tasks)] if tasks > 1 else ["101_submitted.pkl"]
    assert sorted(path.name for path in array.directory.glob("*.pkl")) == names


@pytest.mark.parametrize("says", ["lose", "late"])
def test_a_lost_acknowledgement_is_found_by_its_token(slurm, array, says):
    (slurm / "says").write_text(says)
    manifest = plan()
    assert submitted(array, manifest) == "101"
    assert accepted(slurm) == [manifest.token]
    assert (slurm / "calls").read_text() == "called\n", "sbatch is not called again on a guess"


def test_a_refusal_is_on_record(slurm, array):
    (slurm / "says").write_text("refuse")
    with pytest.raises(SubmissionRejected, match="Invalid account or account/partition"):
        submitted(array, plan())
    assert read_answer(array)["job_id"] is None
    assert "Invalid account" in read_answer(array)["error"]


def test_silence_is_no_answer_and_the_next_query_settles_it(slurm, array):
    (slurm / "says").write_text("lose")
    (slurm / "down").touch()
    manifest = plan()
    with pytest.raises(
        SlurmUnavailable, match="squeue: slurm_load_jobs error: Unable to contact slurm controller"
    ):
        submitted(array, manifest)
    assert read_answer(array) is None
    (slurm / "down").unlink()
    assert reconcile(array, manifest) == "101"
    assert reconcile(array, manifest) == "101", "the answer is kept"


def test_what_never_arrived_is_free_again(slurm, array):
    (slurm / "says").write_text("drop")
    with pytest.raises(SubmissionRejected, match="Unable to contact"):
        submitted(array, plan())
    assert read_answer(array)["job_id"] is None


def test_an_sbatch_that_outlives_its_launcher_is_waited_for(slurm, array):
    """It holds the lock of its array as its standard input, so that a launcher that is killed leaves the lock with it."""
    (slurm / "says").write_text("take")
    (slurm / "sbatch").write_text('#!/bin/bash\ntouch "$(dirname "$0")/waiting"\nexec sleep 600\n')
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "from sweep.store.layout import ArrayPaths\n"
        "from test_submission import plan, submitted\n"
        "submitted(ArrayPaths(Path(sys.argv[3])), plan())\n"
    )
    importable = [Path(__file__).parent, ROOT / "tests"]
    launcher = subprocess.Popen(
        [sys.executable, "-c", code, *importable, array.directory], cwd=ROOT, start_new_session=True
    )
    try:
        wait_for("sbatch", (slurm / "waiting").exists)
        launcher.kill()
        launcher.wait()
        ((_, manifest),) = arrays(SweepPaths(array.directory.parent.parent).arrays)
        with pytest.raises(SlurmUnavailable, match="is still running"):
            reconcile(array, manifest)
        assert read_answer(array) is None
    finally:
        os.killpg(launcher.pid, 9)
    wait_for("the array's lock", lambda: _free(array.lock))
    assert reconcile(array, manifest) is None


def _free(lock):
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_manifests_are_never_rewritten(array):
    plan().save(array)
    before = array.manifest.read_bytes()
    with pytest.raises(StorageError, match="exists already"):
        plan().save(array)
    assert array.manifest.read_bytes() == before
    assert json.loads(before)["tasks"] == [["run0"], ["run1"]]


@pytest.mark.parametrize("kind", JobKind)
def test_the_kind_of_a_manifest_is_two_booleans_on_disk(array, kind):
    manifest = replace(plan(), kind=kind)
    manifest.save(array)
    content = json.loads(array.manifest.read_text())
    assert (content["smoke"], content["follow"]) == (kind is JobKind.SMOKE_TEST, kind is JobKind.FOLLOW_UP)
    assert "kind" not in content
    assert Manifest.read(array.manifest) == manifest


def test_a_manifest_from_before_smoke_tests_is_of_runs_to_execute(array):
    plan().save(array)
    content = json.loads(array.manifest.read_text())
    for key in ("smoke", "follow", "after"):
        del content[key]
    array.manifest.write_text(json.dumps(content))
    assert Manifest.read(array.manifest).kind is JobKind.EXECUTE


@pytest.mark.parametrize("content", ["", "null", "[]", "{}", '{"token": "t", "unknown": 1}'])
def test_a_damaged_manifest_is_one_line(array, content):
    array.manifest.write_text(content)
    with pytest.raises(StorageError, match=r"cannot be read .*; launch again"):
        Manifest.read(array.manifest)


def test_tokens_are_names_that_squeue_takes():
    tokens = {new_token("it's, a sweep") for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("it_s__a_sweep-") and "," not in token for token in tokens)


def test_commands_do_not_see_the_job_that_a_launch_is_made_from(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "7")
    monkeypatch.setenv("SQUEUE_FORMAT", "%A")
    monkeypatch.setenv("SLURM_CONF", "/conf")
    environment = plain_environment()
    assert "SLURM_CPUS_PER_TASK" not in environment
    assert "SQUEUE_FORMAT" not in environment
    assert environment["SLURM_CONF"] == "/conf"


def test_a_machine_without_slurm_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        SlurmUnavailable, match="squeue: no such command here; use a machine of the cluster, or --local"
    ):
        ask("squeue")


def test_room_next_to_the_existing_jobs(slurm):
    (slurm / "scontrol").write_text(
        "#!/bin/sh\necho 'MaxArraySize            = 5'\necho 'MaxJobCount             = 8'\n"
    )
    (slurm / "scontrol").chmod(0o755)
    (slurm / "squeue").write_text("#!/bin/sh\nprintf 'JOBID\\n1_1\\n1_2\\n1_3\\n'\n")
    limits = Limits.ask()
    assert (limits.array_size, limits.jobs) == (4, 8)
    assert [limits.room(count) for count in (2, 5, 9)] == [2, 4, 4]


@pytest.mark.parametrize(
    ("message", "fewer_may_do"),
    [
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit sbatch: error: Batch job submission failed: "
            + POLICY,
            True,
        ),
        (
            "sbatch: error: AssocGrpSubmitJobsLimit sbatch: error: Batch job submission failed: " + POLICY,
            True,
        ),
        ("sbatch: error: Batch job submission failed: " + POLICY, True),
        (
            "sbatch: error: QOSMaxWallDurationPerJobLimit sbatch: error: Batch job submission failed: "
            + POLICY,
            False,
        ),
        ("sbatch: error: invalid partition specified: x", False),
        ("sbatch: error: Batch job submission failed: Invalid job array specification", True),
    ],
)
def test_which_rejections_are_of_a_count(message, fewer_may_do):
    assert is_limit(message) == fewer_may_do


def test_what_slurm_holds_after_a_failed_start_is_released_and_nothing_else(slurm):
    (slurm / "scontrol").write_text('#!/bin/bash\necho "$@" >> "$(dirname "$0")/asked"\n')
    (slurm / "scontrol").chmod(0o755)
    held, cause = reason(Job("7_2", "PENDING", "launch failed requeued held"))
    by_a_person, none = reason(Job("7_3", "PENDING", "JobHeldUser"))
    statuses = [
        RunStatus("a", run_record("a"), "pending", held, cause=cause, job="7_2"),
        RunStatus("b", run_record("b"), "pending", held, cause=cause, job="7_2"),  # two runs of one job
        RunStatus("c", run_record("c"), "pending", by_a_person, cause=none, job="7_3"),
        RunStatus("d", run_record("d"), "running", "job 7_4", job="7_4"),
    ]
    said = []
    release_failed_starts(statuses, said.append)
    assert (slurm / "asked").read_text() == "release 7_2\n"
    assert said == ["1 jobs released that Slurm held since it could not start them"]
    release_failed_starts(statuses[2:], said.append)
    assert (slurm / "asked").read_text() == "release 7_2\n"


GPU = {"memory": "8GB", "gpus": "1", "time": "5:00:00", "partition": "big", "setup": ["source gpuenv"]}
"""What a grid's `slurm` says of toy_translation in the tests below."""


@pytest.fixture
def roomy(slurm):
    """A cluster without jobs that takes everything; returns the directory of its commands."""
    (slurm / "says").write_text("take")
    (slurm / "squeue").write_text(
        '#!/bin/sh\nprintf "%s\\n" JOBID ARRAY_JOB_ID "JOBID|NAME|STATE|REASON" "JOBID|STATE|REASON|COMMAND"\n'
    )
    _holding(slurm, 10_000)
    return slurm


def _holding(slurm, jobs):
    (slurm / "scontrol").write_text(f"#!/bin/sh\necho 'MaxArraySize = 5'\necho 'MaxJobCount = {jobs}'\n")
    (slurm / "scontrol").chmod(0o755)


def asked(array):
    """What a job asks for, by the script that was submitted: each option, and its setup lines."""
    (script,) = array.directory.glob("*_submission.sh")
    lines = script.read_text().splitlines()
    options = dict(line[len("#SBATCH --") :].partition("=")[::2] for line in lines if line[:8] == "#SBATCH ")
    return options | {"setup": lines[lines.index("set -euo pipefail") + 1 : lines.index("# command") - 1]}


def in_smoke(sweep):
    """The smoke jobs by their id."""
    found = {read_answer(array)["job_id"]: (array, plan) for array, plan in arrays(sweep.directory / "smoke")}
    assert all(plan.kind is JobKind.SMOKE_TEST and plan.after == "" for _, plan in found.values())
    return found


def depended_on(sweep, array, manifest):
    """The smoke job that an array waits for: its files and its manifest."""
    job_id = asked(array)["dependency"].removeprefix("afterok:")
    smoke, plan = in_smoke(sweep)[job_id]
    assert sweep.directory / manifest.after == smoke.log(job_id)
    return smoke, plan


@pytest.mark.usefixtures("roomy")
def test_each_task_is_tried_with_its_own_resources(work, grid):
    path = grid(
        tasks={"toy": {"epochs": 0}, "toy_translation": {"epochs": 0}},
        seeds="0-5",
        slurm={"toy_translation": GPU},
    )
    done = work("--grid", path)
    assert done.returncode == 0, done.stderr
    sweep = work.paths()
    waited_for = {}
    for array, manifest in arrays(sweep.arrays):
        smoke, plan = depended_on(sweep, array, manifest)
        (task,) = {run_id.partition("-")[0] for (run_id,) in manifest.tasks}
        tried = [run_id.split("-")[:2] for run_id in plan.tasks[0]]
        assert tried == [[task, "random"], [task, "grasp"]]
        mine, its = asked(array), asked(smoke)
        assert its["time"] == "15"
        alone = {"time", "array", "output", "job-name", "dependency", "kill-on-invalid-dep", "signal"}
        assert {key: its[key] for key in its if key not in alone} == {
            key: mine[key] for key in mine if key not in alone
        }
        assert mine["kill-on-invalid-dep"] == "yes"
        waited_for.setdefault(task, []).append(its)
    assert [len(jobs) for jobs in waited_for.values()] == [3, 3], "arrays of four runs"
    wanted = ("partition", "gpus-per-node", "mem")
    gpu, cpu = waited_for["toy_translation"][0], waited_for["toy"][0]
    assert [gpu.get(key) for key in wanted] == ["big", "1", "8192MB"]
    assert "source gpuenv" in gpu["setup"]
    assert [cpu.get(key) for key in wanted] == [None] * 3
    assert "source gpuenv" not in cpu["setup"]
    assert sorted(in_smoke(sweep)) == ["101", "105"]
    assert "job 105: a smoke test, which the runs of toy_translation wait for" in done.stdout
    # Slurm knows of nothing any more: all is submitted again, tried out and not
    for options, count in ((), 4), (("--no-smoke",), 4):
        assert work("--grid", path, *options).returncode == 0
        assert len(in_smoke(sweep)) == count
    assert sum("dependency" in asked(array) for array, _ in arrays(sweep.arrays)) == 12


def runs(task, count, **changes):
    return [RunSpec.make(task, "random", 1, seed, changes).to_record() for seed in range(count)]


@pytest.fixture
def executor(tmp_path):
    """An executor that tries runs out, for toy and for toy_translation on a GPU."""

    def make(said, **options):
        sweep = SweepPaths(tmp_path / "my sweep")
        code = sweep.code / "abc"
        smoke = SmokeTests(sweep, 1, code, said.append)
        jobs = JobPlan(Profile(), {"toy_translation": GPU}, **options)
        return SlurmExecutor(sweep, 1, jobs, code, smoke=smoke, say=said.append)

    return make


@pytest.mark.usefixtures("roomy")
def test_runs_that_differ_in_threads_are_tried_together_and_those_that_lacked_memory_with_more(executor):
    one, two, lacked = runs("toy", 2), runs("toy", 2, threads=2, lr=0.5), runs("toy_translation", 3)
    made = executor([], by_run={lacked[1].id: {"memory": 16384, "exclude": ["n7"]}})
    made.execute([*one, *two, *lacked])
    sweep = made.sweep
    found = [
        (manifest.tasks, *depended_on(sweep, array, manifest)) for array, manifest in arrays(sweep.arrays)
    ]
    ids = [[[spec.id] for spec in specs] for specs in (one, two, [lacked[0], lacked[2]], [lacked[1]])]
    assert [tasks for tasks, _, _ in found] == ids
    assert [smoke.directory.name for _, smoke, _ in found] == ["0001-001", "0001-001", "0001-002", "0001-003"]
    assert [plan.tasks for _, _, plan in found] == [
        [[one[0].id]],
        [[one[0].id]],
        [[lacked[0].id]],
        [[lacked[1].id]],
    ]
    memories = [asked(smoke).get("mem") for _, smoke, _ in found]
    assert memories == [None, None, "8192MB", "16384MB"]
    assert asked(found[3][1])["exclude"] == "n7"


@pytest.mark.parametrize(
    ("objection", "error", "message"),
    [
        (
            f"QOSMaxSubmitJobPerUserLimit sbatch: error: {POLICY}",
            PartialSubmission,
            "^3 of 5 runs are submitted, for now",
        ),
        (
            "Invalid partition name specified",
            InvalidJob,
            "^Slurm rejects the smoke test of toy_translation: .*Invalid partition name specified; fix the profile",
        ),
    ],
)
def test_a_smoke_test_that_is_refused_keeps_back_those_that_would_wait_for_it(
    roomy, executor, objection, error, message
):
    refusal = f'grep -q partition=big "$1" && {{ echo "sbatch: error: {objection}" >&2; exit 1; }}'
    first, rest = SBATCH.split("\n", 1)
    (roomy / "sbatch").write_text(f"{first}\n{refusal}\n{rest}")
    said, wanted = [], [*runs("toy", 3), *runs("toy_translation", 2)]
    with pytest.raises(error, match=message):
        executor(said).execute(wanted)
    assert len(accepted(roomy)) == 2, "the other task's smoke job and array are there"
    assert [line.partition("  (")[0] for line in said] == [
        "job 101: a smoke test, which the runs of toy wait for",
        "job 102: 3 runs",
    ]


def test_no_smoke_test_without_room_for_a_job_that_waits_for_it(roomy, executor):
    _holding(roomy, 2)  # of which Slurm leaves the last place empty
    with pytest.raises(
        PartialSubmission, match=r"^0 of 3 runs are submitted.*the cluster holds MaxJobCount = 2 jobs"
    ):
        executor([]).execute(runs("toy", 3))
    assert accepted(roomy) == []
