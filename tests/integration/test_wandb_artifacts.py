"""Files of cells on the stand-in for W&B's server, and cells that an agent of a W&B sweep started."""

import dataclasses
import time
from pathlib import Path

import pytest
import wandb

from peft_study.cli.main import dispatch
from peft_study.cli.sync import send
from peft_study.cli.sync.replay import replay
from peft_study.config.schema import Artifacts, TrackingConfig
from peft_study.results.predictions import Prediction
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import CellFolder
from peft_study.tracking.base import CellStart
from peft_study.tracking.wandb import create_tracker
from peft_study.tracking.wandb_run.files import ARTIFACT_CHARACTERS_AT_MOST, artifact_name
from peft_study.tracking.wandb_run.identity import AGENT_RUN, run_id
from tests.tracked_child import CONFIG, PLACE
from tests.wandb_server import Fault, Kind, WandbServer, always

WEIGHTS = {"adapter/adapter_model.safetensors": b"weights" * 1000, "adapter/adapter_config.json": b"{}"}
RECORDS = ("result.json", "predictions.jsonl", "metrics.jsonl", "usage.jsonl")
AGENT = {
    "WANDB_SWEEP_ID": "a-sweep",
    "WANDB_RUN_ID": "agents-run",
    "WANDB_PROJECT": "b-project",
    "WANDB_ENTITY": "b-lab",
}


pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "PAUSES_SECONDS", (0.05, 0.05))


def sync(folder: Path, *options: str) -> int:
    return dispatch(["sync", str(folder), "--timeout", "5", *options])


def trained(path: Path, artifacts: Artifacts = Artifacts.none, predictions: int = 0) -> Path:
    """Write the folder of a cell that ended."""
    folder = CellFolder(path)
    settings = PLACE | {"artifacts": str(artifacts), "predictions": predictions}
    folder.append_usage({"step": 1, "phase": "train", "seconds": 0.5})
    folder.append_step(1, {"loss": 0.5})
    folder.write_predictions([Prediction("test-0", "sort", "sorted(x)", ["sorted(x)"], [True])])
    folder.write_result(RunResult(path.name, "demo", Status.ok, config=CONFIG | {"tracking": settings}))
    for name, content in WEIGHTS.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(content)
    return path


def track_online(path: Path, *, resumed: bool = False, timeout_seconds: float = 20.0) -> None:
    """Track a cell that ends, as `python -m peft_study` does."""
    folder = CellFolder(path)
    result = folder.read_result()
    assert result is not None
    settings = result.config["tracking"]
    config = TrackingConfig(
        project=settings["project"],
        entity=settings["entity"],
        predictions=settings["predictions"],
        artifacts=Artifacts(settings["artifacts"]),
        timeout_seconds=timeout_seconds,
    )
    start = CellStart.of_result(result, path, resumed=resumed)
    replay(create_tracker(config, {}, path), start, folder.read_steps(), folder.read_usage(), result)


def stored(server: WandbServer) -> dict[str, dict[str, bytes]]:
    """Files of the committed artifacts by type."""
    artifacts = [artifact for artifact in server.store.artifacts if artifact.committed]
    assert len({artifact.type for artifact in artifacts}) == len(artifacts), "a version was stored twice"
    return {artifact.type: artifact.files for artifact in artifacts}


@pytest.mark.parametrize("way", ["online", "sync"])
@pytest.mark.parametrize("choice", [Artifacts.none, Artifacts.results, Artifacts.adapter])
def test_the_server_gets_the_files_that_the_setting_names_once(
    choice: Artifacts, way: str, server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = trained(tmp_path / "a-cell", choice, predictions=5)
    if way == "online":
        track_online(folder)
    else:
        assert sync(folder) == 0
    files = stored(server)
    assert "predictions.table.json" in files.pop("run_table")
    expected = {} if choice is Artifacts.none else {"results": {name: (folder / name).read_bytes() for name in RECORDS}}
    assert files == expected | ({"weights": WEIGHTS} if choice is Artifacts.adapter else {})

    # A sync asks the server, which has everything.
    (folder / "wandb" / "synced.json").unlink(missing_ok=True)
    before = len(server.requests)
    capfd.readouterr()
    assert sync(folder) == 0
    assert "0 sent, 1 there before" in capfd.readouterr().err
    assert {"UpsertBucket", "CreateArtifact"}.isdisjoint(server.requests[before:])


@pytest.mark.parametrize("refused", ["CreateArtifact", "CommitArtifact"])
def test_files_that_the_server_refuses_are_said_and_sent_later(
    refused: str,
    server: WandbServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = trained(tmp_path / "a-cell", Artifacts.adapter, predictions=5)
    server.faults = always(Fault(Kind.status, 403), refused)
    track_online(folder)
    assert "files were not stored" in caplog.text
    assert sync(folder) == 1
    assert "1 not sent" in capfd.readouterr().err
    server.faults = always(None)
    assert sync(folder) == 0
    assert stored(server).keys() == {"run_table", "weights", "results"}
    assert len(server.store.runs) == 1


@pytest.mark.parametrize("request_name", ["ArtifactType", "CreateArtifact", "PUT", "ArtifactByID"])
def test_files_cost_a_cell_a_bounded_time(request_name: str, server: WandbServer, tmp_path: Path) -> None:
    folder, seconds = trained(tmp_path / "a-cell", Artifacts.adapter, predictions=5), 5.0
    server.faults = always(Fault(Kind.hang), request_name)
    began = time.monotonic()
    track_online(folder, timeout_seconds=seconds)
    wandb.teardown()
    assert time.monotonic() - began < seconds + 1


def test_a_changed_result_becomes_a_new_version(server: WandbServer, tmp_path: Path) -> None:
    folder = trained(tmp_path / "a-cell", Artifacts.adapter)
    assert sync(folder) == 0
    result = CellFolder(folder).read_result()
    assert result is not None
    CellFolder(folder).write_result(dataclasses.replace(result, metrics={"em@1": 0.5}))
    assert sync(folder) == 0
    assert [(artifact.type, artifact.index) for artifact in server.store.artifacts] == [
        *(("weights", 0), ("results", 0), ("results", 1))
    ]


def test_a_long_name_of_an_artifact_keeps_the_hash_of_the_cell() -> None:
    names = {artifact_name("results", f"{'model' * 40}-{digest}") for digest in ("0123abcd", "4567cdef")}
    assert len(names) == 2
    assert all(len(name) <= ARTIFACT_CHARACTERS_AT_MOST for name in names)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_cell_of_a_sweeps_agent_has_one_run(
    mode: str, server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(tmp_path / "a-cell", Artifacts.results)
    for name, value in (AGENT | {"WANDB_MODE": mode}).items():
        monkeypatch.setenv(name, value)
    wandb.teardown()
    track_online(folder)
    for name in AGENT:
        monkeypatch.delenv(name)
    wandb.teardown()
    assert sync(folder) == 0
    # The same command without an agent resumes the cell.
    monkeypatch.setenv("WANDB_MODE", "online")
    track_online(folder, resumed=True)
    places = [(run.entity, run.project, run.name, run.creations) for run in server.store.runs]
    assert places == [("b-lab", "b-project", "agents-run", 1)]


def test_a_cell_that_succeeds_after_an_interrupt_keeps_no_reason(server: WandbServer, tmp_path: Path) -> None:
    folder = trained(tmp_path / "a-cell")
    result = CellFolder(folder).read_result()
    assert result is not None
    CellFolder(folder).write_result(dataclasses.replace(result, status=Status.preempted, reason="a signal"))
    track_online(folder)
    (run,) = server.store.runs
    assert (run.summary["reason"], run.attributes["notes"]) == ("a signal", "a signal")

    CellFolder(folder).write_result(result)
    track_online(folder, resumed=True)

    assert (run.summary["status"], run.summary.get("reason"), run.attributes["notes"]) == ("ok", None, "resumed")


def test_sync_in_the_shell_of_an_agent_keeps_to_the_runs_of_the_cells(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [trained(tmp_path / "cells" / f"cell-{number}") for number in range(2)]
    for name, value in AGENT.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()
    assert sync(tmp_path / "cells") == 0
    results = [CellFolder(folder).read_result() for folder in folders]
    expected = [
        run_id(CellStart.of_result(result, folder, resumed=True))
        for result, folder in zip(results, folders, strict=True)
        if result
    ]
    assert [run.name for run in server.store.runs] == expected


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": 1}', "null"])
def test_a_damaged_record_of_an_agents_run_does_not_count(content: str, server: WandbServer, tmp_path: Path) -> None:
    folder = trained(tmp_path / "a-cell")
    (folder / "wandb").mkdir()
    (folder / "wandb" / AGENT_RUN).write_text(content)
    assert sync(folder) == 0
    assert [run.project for run in server.store.runs] == [PLACE["project"]]
