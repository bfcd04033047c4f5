"""Real W&B runs: written offline and read back with W&B's own reader, or sent to a server on this machine."""

import dataclasses
import json
import pwd
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from peft_study.config.schema import TrackingConfig, WandbMode
from peft_study.results.schema import Status
from peft_study.tracking import wandb as tracking
from peft_study.tracking.base import CellStart, Trackers
from peft_study.tracking.names import summary_values
from peft_study.tracking.wandb import WandbTracker
from peft_study.tracking.wandb_run.identity import run_id
from peft_study.tracking.wandb_run.service import has_key
from tests.report_cells import result
from tests.wandb_reader import final_summary, history_of, read_records, run_folders
from tests.wandb_server import WandbServer

KEY = "0123456789abcdef0123456789abcdef01234567"
SECRETS = {
    "WANDB_API_KEY": KEY,
    "HF_TOKEN": "hf_plantedplantedplanted",
    "MY_SERVICE_PASSWORD": "planted-password-of-the-environment",
}
RESULT = result(metrics={f"em@{k}": k / 30 for k in range(1, 11)}, intervals={"em@10": [0.2, 0.4]})
SUMMARY = json.loads(json.dumps(summary_values(RESULT)))
STEPS = [
    {"step": 10, "loss": 2.5, "learning_rate": 1e-4},
    {"step": 20, "loss": 2.25, "validation_loss": 2.75},
]
USAGES = [
    {"step": 10, "phase": "train", "seconds": 1.5, "peak_bytes": 2_500_000_000},
    {"step": 20, "phase": "train", "seconds": 2.5},
    {"prompts": 8, "phase": "generate", "seconds": 3.5, "peak_bytes": 1_500_000_000},
]
HISTORY = [
    {
        "train/step": 10,
        "train/loss": 2.5,
        "train/learning_rate": 1e-4,
        "cost/seconds": 1.5,
        "memory/train_peak_gb": 2.5,
    },
    {"train/step": 20, "train/loss": 2.25, "validation/loss": 2.75, "cost/seconds": 2.5},
    {"cost/seconds": 3.5, "memory/generate_peak_gb": 1.5, "generate/prompts": 8},
]
CONFIG: dict[str, Any] = {
    "model": {"name": "tiny-llama", "revision": "f" * 40},
    "method": {"target_modules": ["q_proj", "v_proj"], "rank": 8},
    "generation": {"max_new_tokens": 64},
    "hub": {"token": "planted-token-of-the-config", "header": f"Bearer {SECRETS['HF_TOKEN']}"},
}


def cell(folder: Path, name: str = "lora-tiny-1234abcd", *, resumed: bool = False) -> CellStart:
    return CellStart(name, "demo", "tiny-llama", "lora", "minipy", "nf4", 1, folder, CONFIG, resumed)


def track(tracker: WandbTracker | Trackers, start: CellStart, status: str = "ok") -> None:
    tracker.start(start)
    tracker.phase("train", 20)
    tracker.step(10, {"loss": 2.5, "learning_rate": 1e-4}, USAGES[0])
    tracker.step(20, {"loss": 2.25, "validation_loss": 2.75}, USAGES[1])
    tracker.usage(USAGES[2])
    tracker.finish(dataclasses.replace(RESULT, status=Status(status), reason=None if status == "ok" else "why"))
    tracker.close()


@pytest.fixture(autouse=True)
def own_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A W&B that nobody configured and that ends with the test; yields what it said."""
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_SERVICE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(tracking, "_warned", set())
    monkeypatch.setattr(tracking, "_unreachable", set())
    notes: list[str] = []
    monkeypatch.setattr(tracking.logger, "warning", notes.append)
    # W&B replaces both when its service starts.
    monkeypatch.setattr(sys, "exit", sys.exit)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    wandb.teardown()
    yield notes
    wandb.teardown()


def tracker(mode: str = "auto", *, init_seconds: float = 10.0, finish_seconds: float = 10.0) -> WandbTracker:
    return WandbTracker(
        TrackingConfig(entity="a-lab", mode=WandbMode(mode)),
        init_timeout_seconds=init_seconds,
        store_timeout_seconds=6.0,
        finish_timeout_seconds=finish_seconds,
    )


def test_an_offline_run_reads_back_as_it_was_given(tmp_path: Path, own_wandb: list[str]) -> None:
    track(tracker(), cell(tmp_path / "cell"))
    (run_folder,) = run_folders(tmp_path / "cell")
    records = read_records(run_folder)

    summary = final_summary(records)
    assert {name: summary[name] for name in SUMMARY} == SUMMARY
    assert summary["train/loss"] == {"min": 2.25, "last": 2.25}
    assert summary["validation/loss"] == {"min": 2.75, "last": 2.75}

    run = records["run"][0]
    assert run["project"] == "peft-study"
    assert run["entity"] == "a-lab"
    assert run["run_group"] == "demo"
    assert run["job_type"] == "lora"
    assert run["display_name"] == "lora-tiny-1234abcd"
    assert sorted(run["tags"]) == ["lora", "minipy", "nf4", "tiny-llama"]
    config = run["config"]["update"]
    assert config["method"] == CONFIG["method"]
    assert config["model"] == CONFIG["model"]
    assert config["generation"] == CONFIG["generation"]
    assert "hub" not in config, "a group that is not on the list"
    assert history_of(records) == HISTORY
    axes = {metric["name"]: metric.get("step_metric") for metric in records["metric"]}
    assert axes["train/loss"] == axes["validation/loss"] == "train/step"
    assert axes["memory/train_peak_gb"] == axes["throughput/tokens_per_second"] == "cost/seconds"


@pytest.mark.parametrize(("status", "exit_code"), [("ok", 0), ("oom", 1), ("preempted", 1)])
def test_the_run_ends_as_the_cell_did(status: str, exit_code: int, tmp_path: Path, own_wandb: list[str]) -> None:
    subject = tracker("offline")
    track(subject, cell(tmp_path), status)
    records = read_records(run_folders(tmp_path)[0])
    assert records["exit"][0].get("exit_code", 0) == exit_code
    assert final_summary(records)["status"] == status
    assert (status in records["run"][-1]["tags"]) == (status != "ok")
    assert records["run"][-1].get("notes") == (None if status == "ok" else "why")


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_no_secret_is_in_any_byte_that_is_written(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_wandb: list[str]
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setattr(sys, "argv", [sys.argv[0], "tracking.api_key=planted-token-of-the-command-line"])
    start = cell(tmp_path / "cell")
    planted = {"command": f"x {SECRETS['MY_SERVICE_PASSWORD']}", "plain": SECRETS["WANDB_API_KEY"]}
    track(tracker(mode, init_seconds=1.0), dataclasses.replace(start, config=CONFIG | planted))
    wandb.teardown()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in written)
    planted_texts = [*SECRETS.values(), "planted-token-of-the-config", "planted-token-of-the-command-line"]
    for path in written:
        for secret in planted_texts:
            assert secret.encode() not in path.read_bytes(), f"{secret} is in {path}"
    assert not any(secret in note for note in own_wandb for secret in planted_texts)


def test_two_cells_of_one_process_are_two_runs(tmp_path: Path, own_wandb: list[str]) -> None:
    first, second = tracker(), tracker()
    first.start(cell(tmp_path / "a", "first"))
    second.start(cell(tmp_path / "b", "second"))
    second.step(1, {"loss": 2.0}, {})
    first.step(1, {"loss": 1.0}, {})
    first.finish(RESULT)
    second.finish(RESULT)
    found = {}
    for folder in ("a", "b"):
        (run_folder,) = run_folders(tmp_path / folder)
        records = read_records(run_folder)
        found[records["run"][0]["display_name"]] = [record["item"]["train/loss"] for record in records["history"]]
    assert found == {"first": [1.0], "second": [2.0]}
    assert len(own_wandb) == 1
    assert "offline" in own_wandb[0]


def test_a_resumed_cell_writes_its_whole_history_into_the_same_run(tmp_path: Path, own_wandb: list[str]) -> None:
    track(tracker(), cell(tmp_path), "preempted")
    subject = tracker()
    subject.start(cell(tmp_path, resumed=True))
    subject.restore(STEPS, USAGES[:2])
    subject.usage(USAGES[2])
    subject.finish(RESULT)
    first, second = (read_records(folder) for folder in run_folders(tmp_path))
    assert first["run"][0]["run_id"] == second["run"][0]["run_id"]
    assert history_of(first) == history_of(second) == HISTORY
    assert [record["item"]["_step"] for record in second["history"]] == [0, 1, 2]


def test_nothing_is_printed(tmp_path: Path, own_wandb: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    track(tracker(), cell(tmp_path))
    wandb.teardown()
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_cannot_be_made_drops_the_tracker_only(
    tmp_path: Path, own_wandb: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    track(Trackers([tracker()]), cell(tmp_path / "file" / "cell"))
    assert [record.message.split(":")[0] for record in caplog.records] == ["WandbTracker stopped tracking"]


@pytest.mark.parametrize(
    ("wandb_mode", "mode", "runs"),
    [("offline", "auto", 1), ("dryrun", "auto", 1), ("disabled", "auto", 0), ("disabled", "offline", 1)],
)
def test_the_environment_decides_where_the_mode_is_auto(
    wandb_mode: str, mode: str, runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_wandb: list[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", wandb_mode)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    track(tracker(mode), cell(tmp_path))
    assert len(run_folders(tmp_path)) == runs
    assert own_wandb == []


@pytest.mark.parametrize("mode", ["online", "auto"])
def test_without_a_key_it_never_asks_for_one(mode: str, tmp_path: Path, own_wandb: list[str]) -> None:
    track(tracker(mode), cell(tmp_path))
    assert len(run_folders(tmp_path)) == 1
    assert len(own_wandb) == 1
    assert "no key" in own_wandb[0]


def test_an_account_without_a_home_folder_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_account(_: int) -> None:
        raise KeyError

    for name in ("HOME", "NETRC"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", no_account)

    assert not has_key(wandb.Settings())


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize(("server", "key_in"), [("closed", "environment"), ("silent", "netrc")])
def test_an_unreachable_server_makes_the_run_an_offline_one(
    server: str, key_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_wandb: list[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if server == "silent":
            listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", f"http://{address}")
        if key_in == "environment":
            monkeypatch.setenv("WANDB_API_KEY", KEY)
        else:
            (tmp_path / "home" / "netrc").write_text(f"machine {address} login user password {KEY}\n")
            (tmp_path / "home" / "netrc").chmod(0o600)
        began = time.monotonic()
        track(tracker(init_seconds=1.0), cell(tmp_path / "first"))
        first_seconds = time.monotonic() - began
        began = time.monotonic()
        track(tracker(init_seconds=1.0), cell(tmp_path / "second", "second"))
        second_seconds = time.monotonic() - began
        wandb.teardown()
    assert first_seconds < 10
    assert second_seconds < 1, "the process should have remembered that the server cannot be reached"
    for name in ("first", "second"):
        (run_folder,) = run_folders(tmp_path / name)
        assert history_of(read_records(run_folder)) == HISTORY
    assert len(own_wandb) == 1
    assert address in own_wandb[0]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A stand-in for W&B's server, with a key."""
    with WandbServer() as listening:
        monkeypatch.setenv("WANDB_BASE_URL", listening.address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield listening


def test_a_reachable_server_gets_the_run(server: WandbServer, tmp_path: Path, own_wandb: list[str]) -> None:
    start = cell(tmp_path)
    track(tracker(finish_seconds=5.0), start)
    wandb.teardown()
    assert own_wandb == []
    (run,) = server.store.runs
    assert run.name == run_id(start)
    assert (run.attributes["groupName"], run.attributes["jobType"]) == ("demo", "lora")
    assert run.history[1]["validation/loss"] == 2.75
    assert run.summary["metrics/em@10"] == SUMMARY["metrics/em@10"]
    assert SECRETS["HF_TOKEN"].encode() not in b"".join(server.bodies)


def test_a_server_lost_in_the_middle_bounds_the_end(server: WandbServer, tmp_path: Path, own_wandb: list[str]) -> None:
    subject = tracker(finish_seconds=1.0)
    subject.start(cell(tmp_path))
    server.die()
    subject.step(1, {"loss": 1.0}, {})
    began = time.monotonic()
    subject.finish(RESULT)
    assert time.monotonic() - began < 10
    assert len(own_wandb) == 1
    assert "peft-study sync" in own_wandb[0]
