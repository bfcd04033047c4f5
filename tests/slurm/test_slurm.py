"""`hydra/launcher=slurm` with a real Slurm: every end of a job becomes a truthful record and exit code."""

import random
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.slurm.cluster import SLURM, Sweep, slurm, start_now, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]

# Python imports this when the process of a cell starts: a training that takes memory, or that does not end.
FAULT = """
import os, sys, time
if "peft_study.sweep.child" in sys.orig_argv:
    import peft_study.cell.run
    real = peft_study.cell.run.train
    def train(*arguments, seed, **named):
        if seed == int(os.environ.get("FAULTY_SEED", "1")):
            if os.environ["FAULT"] == "memory":
                held = [b"x" * 10**9 for _ in range(4)]
            while os.environ["FAULT"] == "sleep":
                time.sleep(0.1)
        return real(*arguments, seed=seed, **named)
    peft_study.cell.run.train = train
"""


@pytest.fixture
def faulty(tmp_path: Path) -> tuple[str, ...]:
    """Settings of the launcher with which the trainings of seed 1 meet FAULT."""
    folder = tmp_path / "fault"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FAULT)
    return (f"hydra.launcher.setup=['export PYTHONPATH={folder}:$PYTHONPATH']",)


def test_eight_cells_are_those_of_the_local_launcher(tmp_path: Path) -> None:
    arguments = ("method=zero-shot,lora", "seed=1,2,3,4")
    local, cluster = Sweep(tmp_path / "local", arguments), Sweep(tmp_path / "slurm", arguments)
    code, printed = cluster.run(*SLURM)

    assert code == 0, printed
    assert "8 of 8 cells done" in printed
    assert {result["provenance"]["threads"] for result in cluster.results.values()} == {1}
    assert local.run()[0] == 0
    assert len(cluster.files()) == 8 + 4 + 4
    assert cluster.files() == local.files()

    jobs = cluster.jobs
    assert len({job.partition("_")[0] for job in jobs.values()}) == 1
    began = time.monotonic()
    code, printed = cluster.run(*SLURM)
    assert code == 0
    assert time.monotonic() - began < 30
    assert "8 of 8 cells done" in printed
    assert "submitted" not in printed
    assert cluster.jobs == jobs


def test_a_diverged_cell_and_a_refused_cell_are_told(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, ("method=lora", "method.learning_rate=0.004,1e30", "seed=1"))
    code, printed = sweep.run(*SLURM)

    assert code == 1
    assert sorted(result["status"] for result in sweep.results.values()) == ["diverged", "ok"]
    assert "diverged: " in printed
    assert "1 of 2 cells done" in printed
    assert "Traceback" not in printed

    code, printed = Sweep(tmp_path / "refused", ("method=lora", "seed=1")).run(
        *SLURM, "hydra.launcher.partition=nowhere"
    )
    assert code == 2
    assert "invalid partition" in printed
    assert "Traceback" not in printed


def test_a_cancelled_cell_is_preempted_and_the_others_are_waited_for(tmp_path: Path, faulty: tuple[str, ...]) -> None:
    sweep = Sweep(tmp_path, ("method=lora", "seed=1,2,3"))
    process = sweep.start(*SLURM, *faulty, "hydra.launcher.array_parallelism=2", FAULT="sleep")
    wait_until(lambda: any("_s1-" in name for name in sweep.results))
    name = next(name for name in sweep.results if "_s1-" in name)
    wait_until(lambda: "load" in sweep.results[name]["phases"])
    third = next(job for cell, job in sweep.jobs.items() if "_s3-" in cell)
    slurm("scancel", third)  # pending, unless the second cell has ended already
    slurm("scancel", sweep.jobs[name])
    printed, _ = process.communicate(timeout=600)

    assert process.returncode == 1, printed
    statuses = {cell.split("_s")[1][0]: result["status"] for cell, result in sweep.results.items()}
    assert statuses == {"1": "preempted", "2": "ok", "3": "preempted"}, printed
    assert "SIGTERM" in sweep.results[name]["reason"]
    assert "preempted" in sweep.cell(name).joinpath("log.txt").read_text()
    assert "1 of 3 cells done" in printed
    assert "Traceback" not in printed


def test_the_first_failure_stops_the_sweep(tmp_path: Path, faulty: tuple[str, ...]) -> None:
    rates = "method.learning_rate=1e30,0.004"
    sweep = Sweep(tmp_path, ("method=lora", rates, "seed=1,2", "stop_on_failure=true"))
    code, printed = sweep.run(*SLURM, *faulty, "hydra.launcher.array_parallelism=2", FAULT="sleep")

    assert code == 1, printed
    statuses = {cell.split("_s")[1][0]: result["status"] for cell, result in sweep.results.items()}
    assert statuses == {"1": "preempted", "2": "diverged"}, printed
    assert len(sweep.results) == 2
    assert "2 cells not started" in printed
    assert "0 of 4 cells done" in printed
    assert not slurm("squeue", "--noheader").strip()


def test_a_cell_that_exceeds_its_memory_is_oom(tmp_path: Path, faulty: tuple[str, ...]) -> None:
    sweep = Sweep(tmp_path, ("method=lora", "seed=1,2", "hardware.oom_retries=1"))
    code, printed = sweep.run(*SLURM, *faulty, FAULT="memory")

    assert code == 1, printed
    statuses = {cell.split("_s")[1][0]: result["status"] for cell, result in sweep.results.items()}
    assert statuses == {"1": "oom", "2": "ok"}, printed
    result = next(result for result in sweep.results.values() if result["status"] == "oom")
    assert "the kernel ended the process" in result["reason"]
    assert [attempt["status"] for attempt in result["attempts"]] == ["oom", "oom"]


def test_a_cell_over_its_time_limit_is_preempted(tmp_path: Path, faulty: tuple[str, ...]) -> None:
    sweep = Sweep(tmp_path, ("method=lora", "seed=1", "hardware.requeues=0"))
    limit = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=60")
    code, printed = sweep.run(*SLURM, *faulty, *limit, FAULT="sleep")

    assert code == 1, printed
    (result,) = sweep.results.values()
    assert result["status"] == "preempted", result["reason"]
    assert "timed-out" in result["reason"]
    assert "0 of 1 cells done" in printed
    assert "Traceback" not in printed


def test_a_requeued_cell_resumes(tmp_path: Path) -> None:
    arguments = ("method=lora", "seed=1", "training.epochs=12")
    sweep, local = Sweep(tmp_path / "slurm", arguments), Sweep(tmp_path / "local", arguments)
    process = sweep.start(*SLURM)
    wait_until(lambda: list(sweep.folder.glob("multirun/*/*/checkpoints/*")))
    ((name, job),) = sweep.jobs.items()
    slurm("scontrol", "requeue", job)
    wait_until(lambda: sweep.results[name]["status"] == "preempted")
    while process.poll() is None:
        start_now(job)
        time.sleep(1)
    printed, _ = process.communicate()

    assert process.returncode == 0, printed
    assert sweep.results[name]["status"] == "ok"
    assert local.run()[0] == 0
    assert sweep.files() == local.files()


def test_a_killed_launcher_leaves_jobs_that_the_same_command_waits_for(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, ("method=lora", "seed=1,2", "training.epochs=60"))
    process = sweep.start(*SLURM)
    jobs = wait_until(lambda: sweep.jobs)
    process.kill()
    process.communicate()

    process = sweep.start(*SLURM)
    assert process.stdout is not None
    assert any("jobs in the queue" in line for line in iter(process.stdout.readline, ""))
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, printed
    assert f"scancel {next(iter(jobs.values())).partition('_')[0]}" in printed
    assert sweep.jobs == jobs

    code, printed = sweep.run(*SLURM)
    assert code == 0, printed
    assert "2 of 2 cells done" in printed
    assert sweep.jobs == jobs


MOMENTS = 20


def test_cells_that_are_warned_at_any_moment_end_as_undisturbed_ones(tmp_path: Path) -> None:
    seeds = ",".join(map(str, range(1, MOMENTS + 1)))
    # Long enough that the moments below fall into each phase.
    settings = ("training.epochs=15", "dataset.max_new_tokens=24", "dataset.test_limit=60", "generation.batch_size=2")
    arguments = ("method=lora", f"seed={seeds}", *settings)
    sweep, local = Sweep(tmp_path / "slurm", arguments), Sweep(tmp_path / "local", arguments)
    process = sweep.start(*SLURM)
    generator = random.Random(20)
    phases = ["train", "save", "generate"]
    left = {seed: (phases[seed % 3], generator.uniform(0.0, 0.6)) for seed in range(1, MOMENTS + 1)}
    warned: dict[str, float] = {}
    while process.poll() is None:
        time.sleep(0.02)
        for name, job in sweep.jobs.items():
            seed = int(name.rpartition("_s")[2].partition("-")[0])
            folder = next(iter(sweep.folder.glob(f"multirun/*/{name}")), None)
            if name in warned:
                if time.monotonic() - warned[name] > 5:
                    warned[name] = time.monotonic()
                    start_now(job)
            elif folder is not None and _has_reached(folder, left[seed][0]):
                time.sleep(left[seed][1])
                slurm("scancel", "--signal=USR2", job)
                warned[name] = time.monotonic()
    printed, _ = process.communicate()

    assert process.returncode == 0, printed
    assert {result["status"] for result in sweep.results.values()} == {"ok"}
    logs = {name: sweep.cell(name).joinpath("log.txt").read_text() for name in warned}
    ends = {name: log.count("the cell ended: preempted") for name, log in logs.items()}
    assert set(ends.values()) <= {0, 1}, ends  # 0: the cell was done before the signal came
    assert sum(ends.values()) >= MOMENTS // 2
    assert local.run()[0] == 0
    assert sweep.files() == local.files()


def _has_reached(folder: Path, phase: str) -> bool:
    match phase:
        case "train":
            return (folder / "metrics.jsonl").exists()
        case "save":
            return any(folder.glob("checkpoints/*"))
    return any(folder.glob("predictions.jsonl.partial")) or (folder / "adapter").exists()


def test_slurm_accepts_what_the_documentation_shows(tmp_path: Path) -> None:
    blocks = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text().split("```yaml\n")[1:]
    recipe = next(block.partition("```")[0] for block in blocks if "slurm" in block)
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    # This machine has neither the account nor the partition of the example.
    kept = [line for line in recipe.splitlines() if not line.startswith(("partition", "account", "constraint"))]
    (tmp_path / "hydra" / "launcher" / "mycluster.yaml").write_text("\n".join(kept) + "\n")
    sweep = Sweep(tmp_path, ("method=zero-shot", "seed=1"), ("--config-dir", str(tmp_path)))
    code, printed = sweep.run("hydra/launcher=mycluster", "hydra.launcher.timeout_min=30", "hydra.launcher.setup=[]")
    assert code == 0, printed
    assert subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout == ""


SUBMITIT = (
    *("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"),
    "hydra.launcher.timeout_min=60",
)


@pytest.mark.skipif(find_spec("hydra_plugins.hydra_submitit_launcher") is None, reason="needs hydra-submitit-launcher")
def test_hydras_own_launcher_of_slurm_tells_the_truth(tmp_path: Path) -> None:
    arguments = ("method=lora", "seed=1", "method.learning_rate=0.004,1e30", "training.epochs=12")
    sweep, local = Sweep(tmp_path / "slurm", arguments), Sweep(tmp_path / "local", arguments)
    process = sweep.start(*SUBMITIT)
    # The first job has the first of the two rates. The other cell diverges, and has checkpoints for a moment as well.
    (warned,) = wait_until(
        lambda: [
            name
            for name, result in sweep.results.items()
            if result["config"]["method"]["learning_rate"] < 1 and any(sweep.cell(name).glob("checkpoints/*"))
        ]
    )
    (submitted,) = sweep.folder.glob("multirun/*/.submitit/*_0/*_submitted.pkl")
    job = submitted.name.removesuffix("_submitted.pkl")
    slurm("scancel", "--signal=USR2", job)
    while process.poll() is None:
        start_now(job)
        time.sleep(1)
    printed, _ = process.communicate()

    assert process.returncode == 1, printed
    assert sorted(result["status"] for result in sweep.results.values()) == ["diverged", "ok"], printed
    assert "1 of 2 cells done" in printed
    assert sweep.cell(warned).joinpath("log.txt").read_text().count("the cell ended: preempted") == 1
    assert local.run()[0] == 1
    assert sweep.files() == local.files()
    code, printed = sweep.run(*SUBMITIT, "method.learning_rate=0.004")
    assert (code, "1 of 1 cells done before" in printed) == (0, True)
