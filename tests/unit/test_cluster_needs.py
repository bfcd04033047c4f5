"""What cells ask of a cluster, and what Slurm's listings mean."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from peft_study.cell.attempt import new_result
from peft_study.config.compose import compose_cell
from peft_study.config.naming import folder_of
from peft_study.results.schema import PhaseCost, Status
from peft_study.results.store import RESULT, CellFolder
from peft_study.sweep.cluster import slurm_jobs
from peft_study.sweep.cluster import slurm_queue as queue
from peft_study.sweep.cluster.needs import Limits, Need, needs_of
from peft_study.sweep.cluster.slurm_queue import JobEnd, Partition, Queued
from peft_study.sweep.cluster.slurm_submit import Submission, remember, submitted_before
from peft_study.sweep.ends import outcome_of
from peft_study.sweep.outcomes import record_death
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.records import recorded_outcome


def planned(tmp_path: Path, *overrides: str) -> PlannedCell:
    cell = compose_cell(["model=tiny-llama", "method=lora", f"output_dir={tmp_path}", *overrides])
    return PlannedCell(overrides, cell, folder_of(cell), None)


def leave(cell: PlannedCell, status: Status) -> None:
    result = new_result(cell.cell, cell.folder)
    result.status, result.started_at = status, "2026-01-01T00:00:00+00:00"
    CellFolder(cell.folder).write_result(result)


@pytest.mark.parametrize(
    ("overrides", "limits", "expected"),
    [
        ([], Limits(memory_gb=3), Need(4, 1, 3, 240, 3)),
        (["hardware=cpu"], Limits(memory_gb=3), Need(2, 0, 3, 240, 3)),
        (["hardware.gpus_per_cell=2"], Limits(memory_gb=3), Need(8, 2, 3, 240, 3)),
        ([], Limits(memory_gb=3, has_gpus=False), Need(2, 0, 3, 240, 3)),
        (["hardware.device=cuda"], Limits(memory_gb=3, has_gpus=False), Need(4, 1, 3, 240, 3)),
        (["hardware.requeues=0"], Limits(9, 8, 2, 30), Need(8, 2, 9, 30, 0)),
        ([], Limits(memory_gb=3, minutes_if_unknown=99, most_minutes=60), Need(4, 1, 3, 60, 3)),
        ([], Limits(memory_gb=3, minutes=0, most_minutes=60), Need(4, 1, 3, 0, 3)),
    ],
)
def test_settings_have_priority_over_predictions(
    tmp_path: Path, overrides: list[str], limits: Limits, expected: Need
) -> None:
    assert needs_of([planned(tmp_path, *overrides)], limits) == [expected]


def test_a_time_limit_follows_from_finished_replicates(tmp_path: Path) -> None:
    for seed, seconds in ((1, 3000.0), (2, 3600.0), (3, 9000.0)):
        replicate = planned(tmp_path, f"seed={seed}")
        result = new_result(replicate.cell, replicate.folder)
        result.status, result.phases = Status.ok, {"train": PhaseCost(seconds, None, None)}
        CellFolder(replicate.folder).write_result(result)

    (same, other) = needs_of(
        [planned(tmp_path, "seed=4"), planned(tmp_path, "method.learning_rate=1")], Limits(memory_gb=3)
    )
    assert (same.minutes, other.minutes) == (130, 240)  # twice an hour, and 10 minutes


def test_memory_follows_from_the_predicted_peak(tmp_path: Path) -> None:
    tiny, llama = planned(tmp_path, "hardware=cpu"), planned(tmp_path, "model=codellama-7b", "dataset=conala")
    (on_cpu, on_gpu) = needs_of([tiny, llama], Limits())
    assert 3 <= on_cpu.memory_gb <= 4
    assert 6 + 13 <= on_gpu.memory_gb <= 30  # the weights have 13.5 GB in bf16


def test_a_cell_without_a_gpu_needs_the_memory_of_a_cell_on_the_cpu(tmp_path: Path) -> None:
    model = ("model=codegen-350m-mono", "method=full", "training.micro_batch_size=1")
    automatic, on_cpu = planned(tmp_path, *model), planned(tmp_path, *model, "hardware=cpu")
    for limits in (Limits(has_gpus=False), Limits(gpus=0)):
        assert needs_of([automatic], limits) == needs_of([on_cpu], limits)


def test_divided_weights_are_whole_in_the_memory_of_the_machine(tmp_path: Path) -> None:
    model = ("model=codellama-7b", "dataset=conala", "hardware.gpus_per_cell=2")
    copied, divided = (planned(tmp_path, *model, f"hardware.shard_weights={value}") for value in ("false", "true"))
    (copied_need,), (divided_need,) = needs_of([copied], Limits()), needs_of([divided], Limits())
    assert divided_need.memory_gb == copied_need.memory_gb >= 2 * (6 + 13)


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("1:00:00", 60), ("2-00:30:00", 2910), ("30:00", 30), ("infinite", None), ("n/a", None), ("", None)],
)
def test_times_of_sinfo_are_read(limit: str, minutes: int | None) -> None:
    assert queue._minutes(limit) == minutes


SINFO = "debug*|(null)|1:00:00\ngpu|gpu:a100:4(S:0-1)|7-00:00:00\n"
SQUEUE = """15_0 15 0 RUNNING None
15_1 15 1 PENDING JobArrayTaskLimit
16 16 N/A PENDING PartitionTimeLimit
99 99 N/A RUNNING None
"""


def programs(monkeypatch: pytest.MonkeyPatch, folder: Path, **output: str) -> None:
    """Put programs on the PATH that print fixed texts, as Slurm 22.05 prints them."""
    for name, text in output.items():
        (folder / f"{name}.txt").write_text(text)
        (folder / name).write_text(f"#!/bin/sh\nexec /bin/cat {folder / name}.txt\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_the_queue_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs(monkeypatch, tmp_path, squeue=SQUEUE, sinfo=SINFO)
    jobs = queue.queued_jobs(["15_0", "15_1", "15_2", "16"])

    assert jobs == {
        "15_0": Queued("RUNNING", "None"),
        "15_1": Queued("PENDING", "JobArrayTaskLimit"),
        "16": Queued("PENDING", "PartitionTimeLimit"),
    }
    assert [job for job, entry in jobs.items() if entry.blocked] == ["16"]
    assert queue.partition_of(None) == Partition(has_gpus=False, minutes=60)
    (tmp_path / "sinfo.txt").write_text(SINFO.splitlines()[1])
    assert queue.partition_of("gpu") == Partition(has_gpus=True, minutes=10080)


def test_without_slurms_commands_nothing_is_assumed_to_have_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(queue.SlurmUnreachableError):
        queue.queued_jobs(["15"])
    assert queue.ends_of(["15"]) == {"15": JobEnd("15", None)}
    assert queue.partition_of(None) == Partition()


@pytest.mark.parametrize(
    ("sacct", "status"),
    [
        ("COMPLETED\nCOMPLETED\n", Status.failed),
        ("FAILED\nFAILED\nOUT_OF_MEMORY\n", Status.oom),
        ("CANCELLED by 0\nCANCELLED\n", Status.preempted),
        ("TIMEOUT\nCANCELLED\n", Status.preempted),
        ("NODE_FAIL\n", Status.preempted),
        ("\n", Status.failed),
    ],
)
def test_the_end_of_a_job_is_the_status_of_a_cell_without_a_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sacct: str, status: Status
) -> None:
    programs(monkeypatch, tmp_path, sacct=sacct)
    assert queue.ends_of(["15_2"])["15_2"].status is status


def test_jobs_are_remembered(tmp_path: Path) -> None:
    assert submitted_before(tmp_path) == {}
    remember(tmp_path, {"a": "15_0", "b": "15_1"})
    remember(tmp_path, {"b": "16"})
    assert submitted_before(tmp_path) == {"a": "15_0", "b": "16"}
    (tmp_path / "jobs.json").write_text("[")
    assert submitted_before(tmp_path) == {}


@pytest.mark.parametrize(
    ("code", "exhausted", "status"),
    [
        (-9, None, "failed"),
        (-9, "the kernel ended the process", "oom"),
        (-15, None, "preempted"),
        (138, None, "preempted"),
        (7, None, "failed"),
    ],
)
def test_a_dead_process_is_recorded(tmp_path: Path, code: int, exhausted: str | None, status: str) -> None:
    cell = planned(tmp_path)
    folder = CellFolder(cell.folder)
    folder.write_result(new_result(cell.cell, cell.folder))
    (cell.folder / "output.txt").write_text("starting\n\nlibgomp: Thread creation failed\n")
    outcome = outcome_of(cell, code, None, exhausted=exhausted)

    assert str(outcome.status) == status
    assert json.loads((cell.folder / RESULT).read_text())["status"] == status
    if code > 0:
        assert "libgomp: Thread creation failed" in str(outcome.reason)


def test_a_record_of_a_living_process_stays(tmp_path: Path) -> None:
    cell = planned(tmp_path)
    folder = CellFolder(cell.folder)
    folder.write_result(new_result(cell.cell, cell.folder))
    with folder.locked():
        record_death(cell, Status.failed, "Slurm job 15 left the queue")
        assert recorded_outcome(cell).status is Status.running
    record_death(cell, Status.failed, "Slurm job 15 left the queue")
    outcome = recorded_outcome(cell)
    assert outcome.status is Status.failed
    assert "Slurm job 15" in str(outcome.reason)


@pytest.mark.parametrize("state", [None, "PENDING", "CANCELLED"])
def test_a_failure_on_slurm_cancels_the_other_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    failed, running, waiting = cells = [planned(tmp_path, f"seed={seed}", "rerun=true") for seed in (1, 2, 3)]
    jobs = {cell.folder.name: str(number) for number, cell in enumerate(cells)}

    leave(failed, Status.failed)
    leave(running, Status.running)
    cancelled: list[str] = []

    def cancel(numbers: Sequence[str]) -> None:
        cancelled.extend(numbers)
        leave(running, Status.preempted)

    # The jobs come from an earlier command. Slurm's accounting is late (PENDING), or missing (None).
    monkeypatch.setattr(slurm_jobs, "submitted_before", lambda _: jobs)
    monkeypatch.setattr(slurm_jobs, "cancel_jobs", cancel)
    still = {"1": Queued("RUNNING", "None"), "2": Queued("PENDING", "Resources")}
    looks = iter([{"0": Queued("RUNNING", "None")} | still, still, {}])
    monkeypatch.setattr(slurm_jobs, "queued_jobs", lambda _: next(looks))
    ends = {"0": "FAILED", "1": state, "2": state}
    monkeypatch.setattr(slurm_jobs, "ends_of", lambda numbers: {job: JobEnd(job, ends[job]) for job in numbers})

    outcomes = slurm_jobs.run_jobs(cells, Limits(memory_gb=3), Submission(tmp_path), 0.0, stop_on_failure=True)

    assert cancelled == ["1", "2"]
    assert [outcome.status for outcome in outcomes] == [Status.failed, Status.preempted, None]
    assert [outcome.started for outcome in outcomes] == [True, True, False]
    assert not (waiting.folder / RESULT).exists()


@pytest.mark.parametrize("earlier", [Status.ok, Status.failed])
def test_a_job_that_ends_before_its_cell_is_not_the_earlier_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: Status
) -> None:
    cell = planned(tmp_path, "rerun=true")
    leave(cell, earlier)
    monkeypatch.setattr(slurm_jobs, "submit", lambda cells, *_: {cells[0].folder.name: "15"})
    monkeypatch.setattr(slurm_jobs, "queued_jobs", lambda _: {})
    monkeypatch.setattr(slurm_jobs, "ends_of", lambda _: {"15": JobEnd("15", "NODE_FAIL")})

    (outcome,) = slurm_jobs.run_jobs([cell], Limits(memory_gb=3), Submission(tmp_path), 0.0)

    assert (outcome.status, outcome.exit_code) == (Status.preempted, 1)
    assert "NODE_FAIL" in str(outcome.reason)
    assert recorded_outcome(cell).status is earlier
