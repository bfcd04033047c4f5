"""A cell that was killed and resumed is one run of each dashboard, with every row once. Their own readers say so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peft_study.config.schema import TrackingConfig
from peft_study.results.schema import Status
from peft_study.tracking import names
from peft_study.tracking.base import CellStart
from peft_study.tracking.registry import create_trackers
from tests.report_cells import result

STEPS = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.5}, {"step": 2, "validation_loss": 2.75}]
USAGES = [
    {"step": 1, "phase": "train", "seconds": 1.0, "process_bytes": 10**9, "tokens_per_second": 500.0},
    {"step": 2, "phase": "train", "seconds": 2.0, "process_bytes": 2 * 10**9, "tokens_per_second": 400.0},
    {"step": 2, "phase": "train", "seconds": 2.5, "process_bytes": 2 * 10**9},
    {"prompts": 4, "phase": "generate", "seconds": 3.0, "process_bytes": 10**9, "tokens_per_second": 90.0},
]
READ = ("train/loss", "validation/loss", "memory/process_gb", "throughput/tokens_per_second", "generate/prompts")
EXPECTED = {name: [row[name] for row in names.history(STEPS, USAGES) if name in row] for name in READ}


def read_jsonl(folder: Path) -> dict[str, list[float]]:
    events = map(json.loads, (folder / "dashboard.jsonl").read_text().splitlines())
    rows = [event["values"] for event in events if event["event"] == "row"]
    return {name: [row[name] for row in rows if name in row] for name in READ}


def read_tensorboard(folder: Path) -> dict[str, list[float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return {name: [event.value for event in accumulator.Scalars(name)] for name in READ}


def mlflow_run() -> tuple[Any, Any]:
    """Return MLflow's client, and the only run."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=Path("mlruns").resolve().as_uri())
    experiment = client.get_experiment_by_name("peft-study")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def read_mlflow(folder: Path) -> dict[str, list[float]]:
    client, run = mlflow_run()
    assert run.info.status == "FINISHED"
    assert run.data.tags["status"] == "ok"
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in READ}
    return {name: [metric.value for metric in metrics] for name, metrics in histories.items()}


def read_trackio(folder: Path) -> dict[str, list[float]]:
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = SQLiteStorage.get_runs("peft-study")
    rows = SQLiteStorage.get_logs("peft-study", run)
    assert rows[-1]["summary/status"] == "ok"
    assert [row["step"] for row in rows] == list(range(len(rows)))
    return {name: [row[name] for row in rows if name in row] for name in READ}


READERS: dict[str, Callable[[Path], dict[str, list[float]]]] = {
    "jsonl": read_jsonl,
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "trackio": read_trackio,
}


def started(name: str, folder: Path, *, resumed: bool) -> Any:
    """Return the tracker of a name that follows the cell."""
    (tracker,) = create_trackers(TrackingConfig(trackers={name: {}}), folder)
    config = result().config
    tracker.start(CellStart("cell-1", "demo", "tiny-llama", "lora", "minipy", "none", 1, folder, config, resumed))
    return tracker


@pytest.mark.parametrize("name", READERS)
def test_a_resumed_cell_is_one_run_with_every_row_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if name != "jsonl":
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    folder = tmp_path / "cell"
    folder.mkdir()

    killed = started(name, folder, resumed=False)
    killed.step(1, {"loss": 3.0}, USAGES[0])
    # The step behind the last checkpoint is repeated, with the same loss.
    killed.step(2, {"loss": 2.5}, USAGES[1])
    killed.close()  # what a process that is killed cannot do, but a second run of one process has to
    resumed = started(name, folder, resumed=True)
    resumed.restore(STEPS[:1], USAGES[:1])
    resumed.step(2, {"loss": 2.5}, USAGES[1])
    resumed.step(2, {"validation_loss": 2.75}, USAGES[2])
    resumed.usage(USAGES[3])
    resumed.finish(result(status=Status.ok))
    resumed.close()

    assert READERS[name](folder) == EXPECTED
    assert capfd.readouterr().out == ""


def test_a_run_of_mlflow_that_succeeds_after_an_interrupt_keeps_no_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    started("mlflow", tmp_path, resumed=False).finish(result(status=Status.preempted))
    _, interrupted = mlflow_run()
    assert interrupted.data.tags["reason"] == "it ended otherwise"

    started("mlflow", tmp_path, resumed=True).finish(result(status=Status.ok))

    _, succeeded = mlflow_run()
    assert succeeded.info.run_id == interrupted.info.run_id
    assert succeeded.data.tags["status"] == "ok"
    assert "reason" not in succeeded.data.tags
