"""`python -m peft_study plan`: what is known of a sweep before and after it ran."""

import json
from pathlib import Path

import pytest

from peft_study.cell.attempt import new_result
from peft_study.cli.plan import main
from peft_study.results.schema import PhaseCost, Status
from peft_study.results.store import CellFolder
from peft_study.sweep.command import plan_command

SWEEP = ["model=tiny-llama", "method=lora,full", "quantization=none,nf4", "seed=1,2"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def leave(status: Status, *overrides: str, seconds: float = 10.0) -> None:
    """Leave the result of a cell that ended so."""
    (planned,) = plan_command(overrides)
    result = new_result(planned.cell, planned.folder)
    result.status, result.reason = status, "it did" if status is Status.failed else None
    result.phases = {"train": PhaseCost(seconds, 1, None), "generate": PhaseCost(seconds / 2, 1, None)}
    CellFolder(planned.folder).write_result(result)


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert isinstance(record, dict)
    return record


def test_every_cell_has_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    leave(Status.ok, "model=tiny-llama", "method=lora", "quantization=none", "seed=1")
    leave(Status.failed, "model=tiny-llama", "method=lora", "quantization=nf4", "seed=1")
    leave(Status.preempted, "model=tiny-llama", "method=lora", "quantization=nf4", "seed=2")
    leave(Status.running, "model=tiny-llama", "method=full", "quantization=none", "seed=1")

    record = planned(capsys, *SWEEP)

    cells = record["cells"]
    assert isinstance(cells, list)
    states = {(cell["method"], cell["quantization"], cell["seed"]): cell["state"] for cell in cells}
    assert states == {
        ("lora", "none", 1): "done",
        ("lora", "none", 2): "new",
        ("lora", "nf4", 1): "failed",
        ("lora", "nf4", 2): "interrupted",
        ("full", "none", 1): "interrupted",
        ("full", "none", 2): "new",
        ("full", "nf4", 1): "infeasible",
        ("full", "nf4", 2): "infeasible",
    }
    reasons = {cell["state"]: cell["reason"] for cell in cells}
    assert reasons["failed"] == "it did"
    assert "quantization.bits must be" in reasons["infeasible"]
    assert not list(Path("multirun").glob("*/*full*nf4*")), "a plan leaves nothing behind"


def test_a_rerun_counts_as_work(capsys: pytest.CaptureFixture[str]) -> None:
    leave(Status.ok, "model=tiny-llama", "method=zero-shot", seconds=10.0)

    totals = planned(capsys, "model=tiny-llama", "method=zero-shot", "rerun=true")["totals"]

    assert isinstance(totals, dict)
    assert (totals["states"], totals["seconds_left"]) == ({"new": 1}, 15.0)


@pytest.mark.parametrize(("retry", "seconds"), [("failed", 15.0), ("none", None)])
def test_a_failure_that_is_not_retried_is_no_work(
    capsys: pytest.CaptureFixture[str], retry: str, seconds: float | None
) -> None:
    leave(Status.ok, "model=tiny-llama", "method=zero-shot", "seed=1", seconds=10.0)
    leave(Status.failed, "model=tiny-llama", "method=zero-shot", "seed=2", seconds=10.0)

    totals = planned(capsys, "model=tiny-llama", "method=zero-shot", "seed=2", f"retry={retry}")["totals"]

    assert isinstance(totals, dict)
    assert (totals["states"], totals["seconds_left"]) == ({"failed": 1}, seconds)


def test_time_is_that_of_cells_alike_in_any_study(capsys: pytest.CaptureFixture[str]) -> None:
    leave(Status.ok, "model=tiny-llama", "seed=1", "study.name=one", seconds=10.0)
    leave(Status.ok, "model=tiny-llama", "seed=2", "study.name=one", seconds=20.0)
    leave(Status.ok, "model=tiny-llama", "seed=3", "study.name=other", seconds=60.0)

    record = planned(capsys, "model=tiny-llama", "method=lora,ia3", "seed=4,5", "study.name=new")

    cells, totals = record["cells"], record["totals"]
    assert isinstance(cells, list)
    assert isinstance(totals, dict)
    assert {(cell["method"], cell["predicted_seconds"]) for cell in cells} == {("lora", 30.0), ("ia3", None)}
    assert totals["seconds_left"] == 60.0
    assert totals["cells_of_unknown_time"] == 2


def test_the_table_takes_seeds_together_and_marks_what_is_above_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["model=codellama-34b-python", "quantization=none,nf4", "seed=1,2"]
    # A cell with an explicit micro-batch is replayed once. test_policy.py covers the search for a division.
    assert main([*sweep, "hardware.memory_budget_gb=40", "training.micro_batch_size=1"]) == 0

    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines() if line.startswith("codellama")]
    assert [(row[1], row[-6], row[-5]) for row in rows] == [("lora", "2", "26,738,688"), ("lora", "2", "26,738,688")]
    assert rows[0][-4].endswith("!")
    assert not rows[1][-4].endswith("!")
    assert "2 above hardware.memory_budget_gb" in printed.out
    assert all(line.startswith("predicting memory: ") for line in printed.err.splitlines())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["model=nosuch"], "model has no option 'nosuch'"),
        (["+study=table3", "method=zero-shot"], "study table3 has no cell with method=zero-shot"),
    ],
)
def test_a_wrong_command_is_explained(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(arguments)

    printed = capsys.readouterr()
    assert code == 2
    assert says in printed.err
    assert "Traceback" not in printed.err


def test_what_telling_a_difference_needs_follows_from_the_points(capsys: pytest.CaptureFixture[str]) -> None:
    few, many = (
        str(planned(capsys, "model=tiny-llama", "dataset=minipy", f"--points={points}")["needed"]) for points in (8, 1)
    )

    assert "minipy (1,000 test samples) 2 seeds" in few
    assert "more samples than it has" in many


@pytest.mark.parametrize("points", ["0", "-1", "100", "nan"])
def test_points_that_are_no_difference_are_refused(points: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model=tiny-llama", f"--points={points}"]) == 2
    assert "--points" in capsys.readouterr().err
