"""Which cells run again (`retry`), and a sweep that ends with its first failure (`stop_on_failure`)."""

import json
from pathlib import Path

import pytest

from peft_study.cell.attempt import new_result
from peft_study.cell.retries import RETRIED, keeps_result
from peft_study.cli.status.command import main as show_status
from peft_study.config.compose import compose_cell
from peft_study.config.schema import Retry
from peft_study.results.attempts import Attempt
from peft_study.results.schema import FAILURES, RunResult, Status
from peft_study.results.store import CellFolder
from peft_study.sweep.command import plan_command
from tests.conftest import QUICK, Command
from tests.integration.test_sweep import faults, results_of

__all__ = ["faults"]

ENDS = {1: Status.failed, 2: Status.oom, 3: Status.diverged, 4: Status.preempted}
"""How the cells of the seeds ended before."""
ZERO_SHOT = ["model=tiny-llama", "method=zero-shot", "dataset.limit=2", *QUICK]


def leave_results(*overrides: str) -> None:
    """Leave a result for each seed of `ENDS`."""
    for planned in plan_command([*overrides, f"seed={','.join(map(str, ENDS))}"]):
        result = new_result(planned.cell, planned.folder)
        result.status, result.reason = ENDS[planned.cell.seed], "it did"
        CellFolder(planned.folder).write_result(result)


def test_a_sweep_leaves_out_what_retry_does_not_name(command: Command, small_data: Path, tmp_path: Path) -> None:
    cells = [*ZERO_SHOT, f"dataset.path={small_data}"]
    leave_results(*cells)

    # An earlier failure that is left out does not stop the sweep either.
    settings = ["retry=failed", "stop_on_failure=true", "hardware.cells_at_once=2"]
    ended = command("--multirun", *cells, "seed=2,3,1,4", *settings)

    ends = {seed: result.status for seed, result in results_of(tmp_path).items()}
    assert ends == {1: Status.ok, 2: Status.oom, 3: Status.diverged, 4: Status.ok}
    assert ended.code == 1
    assert "2 of 4 cells done" in ended.err
    assert "oom before: it did" in ended.err
    assert "diverged before: it did" in ended.err


def test_a_single_cell_that_retry_leaves_out_says_so(command: Command, small_data: Path) -> None:
    cell = [*ZERO_SHOT, f"dataset.path={small_data}"]
    leave_results(*cell)

    ended = command(*cell, "seed=3", "retry=oom")

    assert ended.code == 1
    assert "retry=all runs it again" in ended.err
    assert command(*cell, "seed=3", "retry=oom", "rerun=true").code == 0


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("retry", Retry)
def test_every_status_has_a_rule(status: Status, retry: Retry) -> None:
    cell = compose_cell(["model=tiny-llama", f"retry={retry}"])
    result = RunResult("a", "b", status)

    assert keeps_result(cell, result) == (status is Status.ok or (status in FAILURES and status not in RETRIED[retry]))
    cell.rerun = True
    assert not keeps_result(cell, result)


@pytest.mark.parametrize(("attempts", "left_alone"), [(1, False), (10, False), (11, True)])
def test_a_cell_with_attempts_left_is_interrupted_whatever_retry_says(attempts: int, left_alone: bool) -> None:
    cell = compose_cell(["model=tiny-llama", "retry=none", "training.micro_batch_size=8", "training.memory=auto"])
    ran_out = Attempt(status="oom", phase="generate", prompts_at_once=8, killed=True)
    result = RunResult("a", "b", Status.oom, attempts=[ran_out] * attempts)

    assert keeps_result(cell, result) is left_alone


@pytest.mark.usefixtures("faults")
def test_the_first_failure_stops_the_sweep(
    command: Command, small_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = ["training.epochs=400", "training.evaluations_per_epoch=1", "dataset.max_new_tokens=4"]
    sweep = ["--multirun", "model=tiny-llama", "hardware.cells_at_once=2", f"dataset.path={small_data}", *slow]

    ended = command(*sweep, "seed=7,2,8,9", "stop_on_failure=true")

    results = results_of(tmp_path)
    assert {seed: result.status for seed, result in results.items()} == {2: Status.failed, 7: Status.preempted}
    assert ended.code == 1
    assert "2 cells not started" in ended.err
    assert "0 of 4 cells done" in ended.err
    assert f"{results[2].cell_id}: failed: RuntimeError: a fault of the test" in ended.err
    assert f"{results[7].cell_id}: preempted: " in ended.err
    assert len(list(tmp_path.glob("multirun/*/*/"))) == 2
    assert show_status(["multirun", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["states"] == {"failed": 1, "preempted": 1, "waiting": 2}


@pytest.mark.usefixtures("faults")
def test_a_stopped_sweep_counts_the_cells_that_were_done_before(command: Command, small_data: Path) -> None:
    cells = ["model=tiny-llama", f"dataset.path={small_data}", *QUICK, "hardware.cells_at_once=1"]
    assert command(*cells, "seed=8").code == 0
    (waiting,) = plan_command([*cells, "seed=9"])
    interrupted = new_result(waiting.cell, waiting.folder)
    interrupted.status = Status.preempted
    CellFolder(waiting.folder).write_result(interrupted)

    ended = command("--multirun", *cells, "seed=2,9,8", "stop_on_failure=true")

    assert ended.code == 1
    assert "1 of 3 cells done" in ended.err
    assert "1 waiting cells" in ended.err
    assert "1 cells not started" in ended.err
    assert "error:" not in ended.err  # the launcher did not fail


def test_other_launchers_cannot_stop(command: Command, tmp_path: Path) -> None:
    ended = command("--multirun", "hydra/launcher=basic", "stop_on_failure=true", "seed=1,2", *ZERO_SHOT)

    assert ended.code == 2
    assert "stop_on_failure" in ended.err
    assert not list(tmp_path.iterdir())
