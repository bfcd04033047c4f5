"""Places for cells: cores, free memory, GPUs."""

import os
from pathlib import Path
from typing import Any

import pytest

from peft_study.config.schema import Device, HardwareConfig
from peft_study.errors import UserError
from peft_study.results import limits
from peft_study.sandbox import cgroups, cores
from peft_study.sweep import machine
from peft_study.sweep.machine import Slot, slots_for


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    monkeypatch.setattr(machine, "free_host_bytes", lambda: 100.0e9)
    monkeypatch.setattr(machine, "visible_gpus", lambda: ["0", "GPU-1", "5"])


def slots(gpus: Any, at_once: int | None, gpus_per_cell: int = 1, device: Device = Device.auto) -> list[Slot]:
    return slots_for([HardwareConfig(gpus=gpus, cells_at_once=at_once, gpus_per_cell=gpus_per_cell, device=device)])


@pytest.mark.parametrize(
    ("gpus", "at_once", "expected"),
    [
        ("auto", None, [Slot("0", 2), Slot("GPU-1", 2), Slot("5", 2)]),
        ("auto", 1, [Slot("0", 8)]),
        ([1, 2], None, [Slot("GPU-1", 4), Slot("5", 4)]),
        ("2,0", None, [Slot("5", 4), Slot("0", 4)]),
        (1, None, [Slot("GPU-1", 8)]),
        ("none", 2, [Slot(None, 4), Slot(None, 4)]),
        ("none", None, [Slot(None, 1)] * 8),
    ],
)
def test_slots(gpus: Any, at_once: int | None, expected: list[Slot]) -> None:
    assert slots(gpus, at_once) == expected


@pytest.mark.parametrize(
    ("gpus", "per_cell", "expected"),
    [("auto", 2, [Slot("0,GPU-1", 4)]), ("auto", 3, [Slot("0,GPU-1,5", 2)]), ("none", 4, [Slot(None, 1)] * 2)],
)
def test_slots_of_cells_with_several_gpus(gpus: Any, per_cell: int, expected: list[Slot]) -> None:
    assert slots(gpus, None, per_cell) == expected


def test_more_gpus_a_cell_than_there_are_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        slots("auto", None, 4)
    assert caught.value.where == "hardware.gpus_per_cell"


def test_cells_on_the_cpu_are_as_many_as_memory_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_host_bytes", lambda: 5.0e9)
    assert slots("auto", None, device=Device.cpu) == [Slot(None, 4)] * 2
    monkeypatch.setattr(machine, "free_host_bytes", lambda: 0.5e9)
    assert slots("none", None) == [Slot(None, 8)]


def test_the_memory_of_a_container_limits_the_cells_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_host_bytes", limits.free_host_bytes)
    monkeypatch.setattr(limits, "host_limit_bytes", lambda: 10**9)
    assert slots("auto", None, device=Device.cpu) == [Slot(None, 8)]


@pytest.mark.parametrize(
    ("gpus", "at_once", "setting", "wrong"),
    [
        ([3], None, "hardware.gpus", "3"),
        ("first", None, "hardware.gpus", "'first'"),
        ([], None, "hardware.gpus", "[]"),
        ([0, 0], None, "hardware.gpus", "[0, 0]"),
        ("auto", 4, "hardware.cells_at_once", "4"),
        ("none", 0, "hardware.cells_at_once", "0"),
    ],
)
def test_what_a_machine_cannot_give_is_refused(gpus: Any, at_once: int | None, setting: str, wrong: str) -> None:
    with pytest.raises(UserError) as caught:
        slots(gpus, at_once)
    assert caught.value.where == setting
    assert caught.value.what.startswith(f"{setting} must ")
    assert caught.value.what.endswith(f"got {wrong}")


def test_a_slot_hides_other_gpus_and_keeps_a_persons_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Slot("3", 4).environment() == {
        "CUDA_VISIBLE_DEVICES": "3",
        "OMP_NUM_THREADS": "4",
        "PEFT_STUDY_CORES": "4",
    }
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert Slot(None, 4).environment() == {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "PEFT_STUDY_CORES": "4",
    }


@pytest.mark.parametrize(
    ("quota", "expected"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", None), ("9900000 100000", None)]
)
@pytest.mark.parametrize("group", ["", "system.slice/job_7/step_0"])
def test_a_containers_quota_bounds_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, expected: int | None, group: str
) -> None:
    monkeypatch.undo()
    set_group(monkeypatch, tmp_path, f"0::/{group}")
    # The quota of a group holds for the groups below it, too.
    (tmp_path / group.rpartition("/")[0] / "cpu.max").write_text(quota)
    assert cores.available_cores() == (expected or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(("quota", "expected"), [("150000", 2), ("50000", 1), ("-1", None)])
def test_a_quota_of_the_first_version_of_cgroups_bounds_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, expected: int | None
) -> None:
    monkeypatch.undo()
    set_group(monkeypatch, tmp_path, "3:cpu:/slurm/job_7\n2:memory:/")
    folder = tmp_path / "cpu" / "slurm" / "job_7"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu.cfs_period_us").write_text("100000")
    assert cores.available_cores() == (expected or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PEFT_STUDY_CORES": "1"}, 1),
        ({"PEFT_STUDY_CORES": "999"}, None),
        ({"PEFT_STUDY_CORES": "0"}, None),
        ({"PEFT_STUDY_CORES": "all"}, None),
        ({}, None),
        ({"SLURM_JOB_ID": "5", "SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "2"}, 1),
        ({"SLURM_JOB_ID": "5", "SLURM_CPUS_ON_NODE": "1"}, 1),
        ({"SLURM_JOB_ID": "5", "SLURM_CPUS_ON_NODE": "72(x2)"}, None),
        # Left by a shell, outside of any job.
        ({"SLURM_CPUS_PER_TASK": "1"}, None),
    ],
)
def test_a_cell_keeps_to_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], expected: int | None
) -> None:
    monkeypatch.undo()
    set_group(monkeypatch, tmp_path, "0::/")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cores.available_cores() == (expected or len(os.sched_getaffinity(0)))


def set_group(monkeypatch: pytest.MonkeyPatch, root: Path, membership: str) -> None:
    """Put this process into a control group of a file system that is a folder."""
    group = root / membership.rpartition(":/")[2]
    if membership.startswith("0::"):
        group.mkdir(parents=True, exist_ok=True)
    file = root / "membership"
    file.write_text(membership + "\n" if membership else "")
    monkeypatch.setattr(cgroups, "_ROOT", root)
    monkeypatch.setattr(cgroups, "_MEMBERSHIP", file)


def test_gpus_are_asked_of_the_driver_and_hidden_ones_stay_hidden(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 0\necho 1\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-abc")
    assert machine.visible_gpus() == ["1", "GPU-abc"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    driver.write_text("#!/bin/sh\nexit 9\n")
    assert machine.visible_gpus() == []
    driver.unlink()
    assert machine.visible_gpus() == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([{"gpus": [1, 2]}, {"gpus": [1, 2]}], [Slot("GPU-1", 4), Slot("5", 4)]),
        ([{"device": Device.cpu, "cells_at_once": 2}] * 3, [Slot(None, 4)] * 2),
        ([{"device": Device.cpu}, {"cells_at_once": None}], [Slot("0", 2), Slot("GPU-1", 2), Slot("5", 2)]),
        ([], [Slot(None, 8)]),
    ],
)
def test_a_sweep_goes_by_what_its_cells_say(settings: list[dict[str, Any]], expected: list[Slot]) -> None:
    assert slots_for([HardwareConfig(name="auto", **each) for each in settings]) == expected


@pytest.mark.parametrize(
    ("settings", "where"),
    [([{"gpus": "auto"}, {"gpus": [1]}], "hardware.gpus"), ([{}, {"cells_at_once": 1}], "hardware.cells_at_once")],
)
def test_cells_that_disagree_about_the_sweep_are_refused(settings: list[dict[str, Any]], where: str) -> None:
    with pytest.raises(UserError, match="must have one value in all cells") as caught:
        slots_for([HardwareConfig(name="auto", **each) for each in settings])
    assert caught.value.where == where
