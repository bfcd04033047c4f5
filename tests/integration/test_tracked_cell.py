"""Cells followed by dashboards: each dashboard's own reader gives what the files of the cell hold."""

import json
import math
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import wandb

from peft_study.config.compose import compose_cell
from peft_study.config.naming import name_of
from peft_study.report.read.cells import row_of
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import CellFolder
from peft_study.tracking import names
from tests.conftest import Command
from tests.integration.test_cell import LONG, QUICK, only_cell, start, wait_for
from tests.wandb_reader import final_summary, history_of, read_records, run_folders

CANARY = "canary-{}-8f2d1c7a94"


@pytest.fixture(autouse=True)
def own_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A W&B without a key."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    wandb.teardown()


def read_result(folder: CellFolder) -> RunResult:
    result = folder.read_result()
    assert result is not None
    return result


def recorded_history(folder: CellFolder) -> list[names.Values]:
    return list(names.history(folder.read_steps(), folder.read_usage()))


def assert_run_equals_folder(folder: CellFolder) -> dict[str, list[Any]]:
    """Compare the latest W&B run of a cell with the files of the cell. Return its records."""
    result = read_result(folder)
    records = read_records(run_folders(folder.path)[-1])
    assert history_of(records) == recorded_history(folder)
    assert [record["item"]["_step"] for record in records["history"]] == list(range(len(records["history"])))
    summary = final_summary(records)
    expected = json.loads(json.dumps(names.summary_values(result)))
    assert {name: summary.get(name) for name in expected} == expected
    config = {entry: value for entry, value in records["run"][0]["config"]["update"].items() if entry != "_wandb"}
    again = names.result_of(config, summary)
    # Paths are not sent, so a reader takes the hash of the settings from the summary.
    row = row_of(again, None, "x") | {"settings": summary[names.SETTINGS]}
    assert row == row_of(result, None, "x")
    return records


@pytest.mark.parametrize(
    ("settings", "code", "status"),
    [
        (["method=lora"], 0, Status.ok),
        (["method=zero-shot"], 0, Status.ok),
        (["method=full", "method.learning_rate=1e30"], 1, Status.diverged),
        (["method=lora", "seed=3"], 1, Status.failed),
    ],
    ids=["trained", "prompting", "diverged", "failed"],
)
def test_a_run_of_wandb_equals_the_folder(
    settings: list[str], code: int, status: Status, command: Command, small_data: Path, tmp_path: Path
) -> None:
    cell = ["model=tiny-llama", f"dataset.path={small_data}", "tracking=wandb", *QUICK, *settings]
    folder = CellFolder(tmp_path / "multirun" / "single" / name_of(compose_cell(cell)))
    if status is Status.failed:
        # The weights cannot be written where a file stands, which is known after the training.
        (folder.path / "adapter").touch()

    ended = command(*cell)

    assert ended.code == code, ended.err
    assert read_result(folder).status is status
    records = assert_run_equals_folder(folder)
    first, last = records["run"][0], records["run"][-1]
    assert (first["run_group"], first["display_name"]) == ("single", folder.path.name)
    assert first["job_type"] == settings[0].partition("=")[2]
    assert records["exit"][0].get("exit_code", 0) == (0 if status is Status.ok else 1)
    assert last.get("notes") == read_result(folder).reason
    assert (str(status) in last["tags"]) == (status is not Status.ok)
    # Memory and speed are sampled while the cell runs.
    rows = history_of(records)
    assert any("memory/process_gb" in row for row in rows)
    if status is Status.ok:
        assert any("generate/prompts" in row and row["throughput/tokens_per_second"] > 0 for row in rows)


@pytest.mark.slow
def test_a_cell_that_was_killed_resumes_in_its_run(command: Command, small_data: Path, tmp_path: Path) -> None:
    cell = [*LONG, f"dataset.path={small_data}", "tracking=[wandb,jsonl]"]
    process = start(tmp_path, *cell)
    wait_for(lambda: list((tmp_path / "multirun").glob("*/*/checkpoints/checkpoint-6/complete")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    assert command(*cell).code == 0

    folder = only_cell(tmp_path / "multirun")
    records = assert_run_equals_folder(folder)
    assert len({run.name.rpartition("-")[2] for run in run_folders(folder.path)}) == 1
    steps = [row["train/step"] for row in history_of(records) if "train/loss" in row]
    assert steps == sorted(set(steps))
    seconds = [row["cost/seconds"] for row in history_of(records)]
    assert seconds == sorted(seconds)
    assert [row["values"] for row in jsonl_events(folder, "row")] == recorded_history(folder)


def jsonl_events(folder: CellFolder, kind: str) -> list[dict[str, Any]]:
    events = map(json.loads, (folder.path / "dashboard.jsonl").read_text().splitlines())
    return [event for event in events if event["event"] == kind]


def numbers_of(rows: list[names.Values], name: str) -> list[float]:
    return [row[name] for row in rows if name in row]


def test_every_dashboards_own_reader_gives_the_values_of_the_files(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    mlflow = pytest.importorskip("mlflow")
    cell = ["model=tiny-llama", f"dataset.path={small_data}", *QUICK, "tracking=[wandb,tensorboard,mlflow,jsonl]"]

    ended = command(*cell, "tracking.predictions=2", "tracking.artifacts=adapter")

    assert ended.code == 0, ended.err
    folder = only_cell(tmp_path / "multirun")
    rows, summary = recorded_history(folder), names.summary_values(read_result(folder))
    logged = {name for row in rows for name in row} - {"train/step", "cost/seconds"}
    scores = {name: value for name, value in summary.items() if type(value) in (int, float)}
    assert {"train/loss", "memory/train_peak_gb", "throughput/tokens_per_second"} <= logged

    accumulator = events.EventAccumulator(str(folder.path / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    for name in logged:
        # TensorBoard stores single precision.
        assert [event.value for event in accumulator.Scalars(name)] == pytest.approx(numbers_of(rows, name), rel=1e-6)
    losses = accumulator.Scalars("train/loss")
    assert [event.step for event in losses] == [row["train/step"] for row in rows if "train/loss" in row]
    assert accumulator.Scalars("summary/metrics/em@1")[0].value == pytest.approx(summary["metrics/em@1"])
    settings, columns = table_of_runs(accumulator)
    assert {name: settings[name].string_value for name in ("method", "status")} == {"method": "lora", "status": "ok"}
    assert {"summary/metrics/em@10", "summary/memory/peak_gb"} <= set(columns) & set(accumulator.Tags()["scalars"])

    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("peft-study").experiment_id])
    assert run.info.run_name == folder.path.name
    assert run.info.status == "FINISHED"
    assert run.data.params["method.name"] == "lora"
    assert "dataset.path" not in run.data.params
    for name in logged:
        history = client.get_metric_history(run.info.run_id, name.replace("@", "_at_"))
        assert sorted(metric.value for metric in history) == sorted(numbers_of(rows, name))
    for name, value in scores.items():
        assert run.data.metrics[f"summary/{name}".replace("@", "_at_")] == value
    stored = client.download_artifacts(run.info.run_id, "weights/adapter/adapter_model.safetensors")
    weights = (folder.path / "adapter" / "adapter_model.safetensors").read_bytes()
    assert Path(stored).read_bytes() == weights

    assert [event["values"] for event in jsonl_events(folder, "row")] == rows
    assert len(jsonl_events(folder, "prediction")) == 2
    results = {event["values"]["name"]: event["values"] for event in jsonl_events(folder, "artifact")}
    assert results["results"]["lineage"]["weights_digest"] == results["weights"]["sha256"]

    records = assert_run_equals_folder(folder)
    assert final_summary(records)["predictions"]["nrows"] == 2
    artifacts = {artifact["type"]: artifact for artifact in records["artifact"]}
    assert {"weights", "results"} <= set(artifacts)
    lineage = json.loads(artifacts["weights"]["metadata"])
    assert lineage["data_fingerprint"] == read_result(folder).data["fingerprint"]
    assert lineage["sha256"] == results["weights"]["sha256"]


def table_of_runs(accumulator: Any) -> tuple[Mapping[str, Any], list[str]]:
    """The settings of the run's row in TensorBoard's table HParams, and the tags of the table's metrics."""
    from tensorboard.plugins.hparams.metadata import parse_experiment_plugin_data, parse_session_start_info_plugin_data

    content = accumulator.PluginTagToContent("hparams")
    start = parse_session_start_info_plugin_data(content["_hparams_/session_start_info"])
    experiment = parse_experiment_plugin_data(content["_hparams_/experiment"])
    return start.hparams, [info.name.tag for info in experiment.metric_infos]


def test_artifacts_are_equal_if_their_content_is(command: Command, small_data: Path, tmp_path: Path) -> None:
    cell = ["model=tiny-llama", f"dataset.path={small_data}", *QUICK, "tracking=[wandb,jsonl]"]
    digests, manifests = [], []
    for place in ("a", "b"):
        assert command(*cell, f"output_dir={place}", "tracking.artifacts=adapter").code == 0
        folder = only_cell(tmp_path / place)
        records = read_records(run_folders(folder.path)[-1])
        manifests.append({artifact["type"]: artifact["digest"] for artifact in records["artifact"]})
        values = [event["values"] for event in jsonl_events(folder, "artifact")]
        digests.append({value["name"]: value["sha256"] for value in values})

    # W&B makes no new version of an artifact with the same digest. Seconds differ, and so do results.
    assert manifests[0]["weights"] == manifests[1]["weights"]
    assert digests[0]["weights"] == digests[1]["weights"]
    assert digests[0]["results"] != digests[1]["results"]


def test_secrets_and_paths_are_nowhere_in_what_dashboards_write(
    command: Command, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {place: CANARY.format(place) for place in ("environment", "override", "path", "netrc")}
    monkeypatch.setenv("LAB_API_TOKEN", secrets["environment"])
    (tmp_path / "home").mkdir(exist_ok=True)
    netrc = tmp_path / "home" / "netrc"
    netrc.write_text(f"machine example.org login me password {secrets['netrc']}\n")
    netrc.chmod(0o600)
    data = tmp_path / secrets["path"] / "data"
    shutil.copytree(small_data, data)
    cell = ["model=tiny-llama", "method=zero-shot", f"dataset.path={data}", *QUICK, "tracking=[wandb,jsonl]"]

    override = [f"+model.architecture.hub_token={secrets['override']}"]
    override.append(f"+model.architecture.note=see {secrets['environment']}")
    ended = command(*cell, *override, "tracking.predictions=2", "tracking.artifacts=adapter")

    assert ended.code == 0, ended.err
    folder = only_cell(tmp_path / "multirun").path
    written = [path for path in (folder / "wandb").rglob("*") if path.is_file()] + [folder / "dashboard.jsonl"]
    assert any(path.suffix == ".wandb" for path in written)
    for path in written:
        leaked = [place for place, secret in secrets.items() if secret.encode() in path.read_bytes()]
        assert not leaked, f"{leaked} in {path.name}"


def test_several_trackers_and_options_compose(command: Command, tmp_path: Path) -> None:
    refused: Mapping[str, list[str]] = {
        "tracking.trackers.wandbb": ["+tracking.trackers.wandbb={}"],
        "tracking.trackers.jsonl.x": ["tracking=jsonl", "+tracking.trackers.jsonl.x=1"],
        "tracking.predictions": ["tracking=jsonl", "tracking.predictions=-1"],
    }
    for setting, overrides in refused.items():
        ended = command("model=tiny-llama", *overrides)
        assert ended.code == 2
        assert setting in ended.err


def test_a_refused_cell_of_a_sweep_is_in_the_run_list(command: Command, small_data: Path, tmp_path: Path) -> None:
    ended = command(
        *("--multirun", "model=tiny-llama", "method=icl", "method.num_examples=0", f"dataset.path={small_data}"),
        *("seed=1,2", "tracking=jsonl"),
    )

    assert ended.code == 2
    files = list(tmp_path.glob("multirun/*/*/result.json"))
    assert len(files) == 2
    for file in files:
        folder = CellFolder(file.parent)
        (finish,) = jsonl_events(folder, "finish")
        assert finish["values"]["status"] == "infeasible"
        assert finish["values"]["reason"] == read_result(folder).reason


def test_a_loss_that_is_not_a_number_is_left_out_as_in_the_file() -> None:
    assert "train/loss" not in names.step_values({"step": 1, "loss": None})
    assert math.isnan(names.step_values({"step": 1, "loss": math.nan})["train/loss"])


def test_a_dashboard_that_breaks_never_fails_the_cell(command: Command, small_data: Path, tmp_path: Path) -> None:
    cell = ["model=tiny-llama", "method=zero-shot", f"dataset.path={small_data}", "tracking=wandb", *QUICK]
    assert command(*cell).code == 0
    folder = only_cell(tmp_path / "multirun").path
    shutil.rmtree(folder / "wandb")
    (folder / "wandb").write_text("a file where W&B wants a folder")
    (folder / "result.json").unlink()

    ended = command(*cell)

    assert ended.code == 0
    assert "WandbTracker stopped tracking" in ended.err
