"""Profiles: what people write, and the sbatch scripts that come of it."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from support.workplace import ROOT

from sweep.config.grid import Grid
from sweep.core.errors import UsageError
from sweep.executors.slurm.profile import Profile
from sweep.executors.slurm.sbatch import check_directory, parameters, text
from sweep.store.layout import ArrayPaths

SHIPPED = sorted((ROOT / "slurm").glob("*.yaml"))


def loaded(tmp_path, content):
    path = tmp_path / "profile.yaml"
    path.write_text(content)
    return Profile.load(path)


def script(profile, directory=Path("/results/s/arrays/0001-001"), tasks=3, threads=2, concurrent=None):
    settings = parameters(profile, "s-0123", threads, Path("/results/s/code/abc d"), concurrent)
    return text(profile, ArrayPaths(directory), tasks, settings)


@pytest.mark.parametrize(
    ("written", "minutes"),
    [
        ("90", 90),
        ("1:30:00", 90),
        ("10:00:00", 600),
        ("1-00:00:00", 1440),
        ("2-12", 3600),
        ("0:00:30", 1),
        ("5:00", 5),
    ],
)
def test_times_as_slurm_writes_them(tmp_path, written, minutes):
    """Also without quotes, where YAML 1.1 would read 10:00:00 as the number 36000."""
    assert loaded(tmp_path, f"time: {written}").time == minutes


@pytest.mark.parametrize(
    ("written", "megabytes"), [("4GB", 4096), ("4G", 4096), ("1.5 GB", 1536), ("512", 512), ("1TB", 1048576)]
)
def test_memory(tmp_path, written, megabytes):
    assert loaded(tmp_path, f"memory: {written}").memory == megabytes


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("partitoin: x", r"unknown key 'partitoin' \(did you mean 'partition'\?\)"),
        ("time: soon", r"time = 'soon': write minutes, H:MM:SS or D-HH:MM:SS"),
        ("memory: lots", "memory = 'lots': write megabytes"),
        ("gpus: -1", "gpus = '-1'"),
        ("setup: module load x", "setup"),
        ("- a\n- b", "must be a mapping"),
        ("a: [", "line 1: not valid YAML"),
        ('env: {"A=1; touch X; B": v}', r"'A=1; touch X; B' is not the name of an environment variable"),
        ('env: {"": v}', "'' is not the name of an environment variable"),
        ('env: {A: "a\\0b"}', "the value of A has a zero byte"),
        ('partition: "a\\n#SBATCH --wrap=x"', "it has a line break"),
        ('exclude: ["a\\nb"]', "it has a line break"),
        ('container: "a\\rb"', "it has a line break"),
    ],
)
def test_mistakes_are_named(tmp_path, written, complaint):
    with pytest.raises(UsageError, match=complaint) as caught:
        loaded(tmp_path, written)
    assert "\n" not in str(caught.value)


def test_the_shipped_profiles_are_valid():
    assert [path.stem for path in SHIPPED] == ["cpu", "gpu", "preemptible"]
    cpu, gpu, preemptible = map(Profile.load, SHIPPED)
    assert (cpu.account, cpu.qos, cpu.gpus) == (None, None, 0)
    assert (gpu.gpus, gpu.time, gpu.memory) == (1, 720, 32768)
    assert preemptible.requeue


@pytest.mark.parametrize("name", ["cpu", "preemptible"])
def test_the_profiles_for_cpus_fit_the_nodes_of_the_cluster_for_trying_out(name):
    script = (ROOT / "slurm/dev/cluster.sh").read_text()
    (megabytes,) = re.findall(r"MEMORY=\$\{MEMORY:-(\d+)\}", script)
    memory = Profile.load(ROOT / f"slurm/{name}.yaml").memory
    assert memory is not None
    assert memory <= int(megabytes)


@pytest.mark.process
def test_the_script_has_everything_once():
    profile = Profile.checked(
        {
            "partition": "low", "account": "a", "qos": "q", "gpus": "2", "memory": "2GB", "time": "30", "constraint": "x&y",
            "modules": ["cuda/12"], "setup": ["source my.sh"], "env": {"A": "it's"}, "container": "apptainer exec i.sif",
            "python": "python3",
        },
        "profile",
    )  # fmt: skip
    lines = script(profile, concurrent=5).splitlines()
    flags = dict(
        re.match(r"#SBATCH --([a-z-]+)(?:=(.*))?", line).groups() for line in lines if line[:8] == "#SBATCH "
    )
    assert flags == {
        "partition": "low", "account": "a", "qos": "q", "gpus-per-node": "2", "mem": "2048MB", "time": "30",
        "constraint": "'x&y'", "array": "0-2%3", "cpus-per-task": "2", "nodes": "1", "job-name": "s-0123", "requeue": None,
        "signal": "USR2@90", "open-mode": "append", "output": "/results/s/arrays/0001-001/%A_%a_0_log.out",
    }  # fmt: skip
    setup = lines[lines.index("# setup") + 1 : lines.index("# command") - 1]
    assert setup == [
        "set -euo pipefail",
        "set +u; module load cuda/12; set -u",
        "export A='it'\"'\"'s'",
        "source my.sh",
        "export PYTHONPATH='/results/s/code/abc d'${PYTHONPATH:+:$PYTHONPATH}",
    ]
    (command,) = [line for line in lines if line.startswith("srun")]
    assert (
        "--cpus-per-task=2 apptainer exec i.sif python3 -P -u -m sweep.executors.slurm.on_node.entrypoint /results"
        in command
    )
    checked = subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, capture_output=True)
    assert checked.stderr == ""


def test_cpus_of_the_profile_and_no_requeue():
    found = script(Profile(cpus=6, requeue=False), tasks=1)
    assert "#SBATCH --cpus-per-task=6" in found
    assert "#SBATCH --no-requeue" in found
    assert "--array" not in found, "a single run is a plain job"


def test_the_warning_leaves_a_short_job_most_of_its_time():
    assert "--signal=USR2@30" in script(Profile(time=2))


def test_a_grid_overrides_the_profile_for_a_task(tmp_path):
    path = tmp_path / "grid.yaml"
    fields = "tasks: [toy]\npruners: [random]\ncompressions: [1]\nseeds: [0]\nslurm: {toy: {time: 10:00:00, cpus: 2}}\n"
    path.write_text(fields)
    grid = Grid.load(str(path))
    profile = Profile(time=5, partition="p").overridden(grid.slurm["toy"], "the grid")
    assert (profile.time, profile.cpus, profile.partition) == (600, 2, "p")
    assert Grid.parse(grid.dump(), "again").slurm == grid.slurm
    assert yaml.safe_load(grid.dump())["slurm"] == {"toy": {"time": "10:00:00", "cpus": "2"}}
    with pytest.raises(UsageError, match=r"the grid: unknown key 'tiem' \(did you mean 'time'\?\)"):
        Profile().overridden({"tiem": "1"}, "the grid")


@pytest.mark.parametrize("name", ["50%a", "back\\slash", "two\nlines"])
def test_directories_that_slurm_cannot_log_into_are_refused(name):
    with pytest.raises(UsageError, match="--results or --name"):
        check_directory(Path("/results", name))
    check_directory(Path('/results/it\'s a directory with "quotes" and ünïcode'))


def test_jobs_at_a_time():
    assert "--array=0-8%5" in script(Profile(), tasks=9, concurrent=5)


@pytest.mark.process
def test_a_dry_run_prints_the_scripts_and_needs_no_slurm(work, grid, tmp_path):
    work.environment["PATH"] = str(tmp_path)
    profile = tmp_path / "profile.yaml"
    profile.write_text("partition: low\n")
    done = work("--grid", grid(seeds="0-4"), "--dry-run", "--profile", profile, "--max-concurrent", 4)
    assert done.returncode == 0, done.stderr
    assert "MaxArraySize = 1001 is a guess" in done.stdout
    assert "#SBATCH --array=0-9%4" in done.stdout
    assert "#SBATCH --partition=low" in done.stdout
    assert "10 runs; nothing was started" in done.stdout
    assert not work.results.exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            ["--local", "--max-concurrent", "3"],
            "error: --max-concurrent 3: works only without --local, on Slurm",
        ),
        (
            ["--local", "--retries", "3"],
            "error: --retries 3: works only without --local, on Slurm; leave it out",
        ),
        (
            ["--local", "--retries", "0"],
            "error: --retries 0: works only without --local, on Slurm; leave it out",
        ),
        (["--local", "--no-smoke"], "error: --no-smoke: works only without --local, on Slurm; leave it out"),
        (["--local", "--wait"], "error: --wait: works only without --local, on Slurm; leave it out"),
        (["--retries", "-1"], "error: --retries -1: must be at least 0"),
        (["--slots", "3"], "error: --slots 3: works only with --local; leave it out"),
        (["--max-concurrent", "0"], "error: --max-concurrent 0: must be at least 1"),
        (["--profile", "no.yaml"], "error: --profile no.yaml: no such file; the shipped ones are in slurm/"),
    ],
)
def test_options_that_do_not_fit(work, grid, options, complaint):
    done = work("--grid", grid(), *options)
    assert (done.returncode, done.stderr[: len(complaint)]) == (2, complaint)


@pytest.mark.process
def test_without_slurm_a_launch_says_so(work, grid, tmp_path):
    work.environment["PATH"] = str(tmp_path)
    done = work.process("--grid", grid())
    assert done.returncode == 3
    assert done.stderr == "error: scontrol: no such command here; use a machine of the cluster, or --local\n"
