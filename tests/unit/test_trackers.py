"""Trackers never fail the cell they watch, and never carry a secret out of it."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from peft_study.config.checks import problems
from peft_study.config.compose import compose_cell
from peft_study.config.schema import TrackingConfig, WandbMode
from peft_study.console.redaction import REDACTED, redact
from peft_study.results.schema import RunResult
from peft_study.tracking.base import CellStart, Row, Tracker, Trackers
from peft_study.tracking.content import public_config
from peft_study.tracking.mlflow import MlflowTracker
from peft_study.tracking.wandb import create_tracker
from peft_study.tracking.wandb_run.identity import run_id
from tests.report_cells import result

CELL = CellStart("cell-1", "demo", "tiny-llama", "lora", "minipy", "none", 1, Path("multirun/demo/cell-1"))
HEX_KEY = "0123456789abcdef0123456789abcdef01234567"


class Recorder:
    """Writes down its calls, and raises in the one named."""

    def __init__(self, raises_in: str = "", error: BaseException | None = None) -> None:
        self.calls: list[str] = []
        self._raises_in = raises_in
        self._error = error or OSError("disk full")

    def start(self, cell: CellStart) -> None:
        self._note("start")

    def phase(self, name: str, total: int | None) -> None:
        self._note("phase")

    def progress(self, done: int) -> None:
        self._note("progress")

    def step(self, step: int, values: Row, usage: Row) -> None:
        self._note("step")

    def restore(self, steps: Sequence[Row], usages: Sequence[Row]) -> None:
        self._note("restore")

    def usage(self, usage: Row) -> None:
        self._note("usage")

    def finish(self, result: RunResult) -> None:
        self._note("finish")

    def close(self) -> None:
        self._note("close")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._raises_in:
            raise self._error


CALLS: dict[str, Callable[[Tracker], None]] = {
    "start": lambda tracker: tracker.start(CELL),
    "phase": lambda tracker: tracker.phase("train", 3),
    "progress": lambda tracker: tracker.progress(1),
    "restore": lambda tracker: tracker.restore([], []),
    "step": lambda tracker: tracker.step(1, {"loss": 1.0}, {"step": 1, "phase": "train", "seconds": 0.5}),
    "usage": lambda tracker: tracker.usage({"prompts": 1, "phase": "generate", "seconds": 0.5}),
    "finish": lambda tracker: tracker.finish(result()),
    "close": lambda tracker: tracker.close(),
}
EVERY_CALL = list(CALLS)


@pytest.mark.parametrize("raises_in", list(CALLS))
def test_a_tracker_that_raises_is_dropped_and_said_once(raises_in: str, caplog: pytest.LogCaptureFixture) -> None:
    broken, healthy = Recorder(raises_in), Recorder()
    trackers = Trackers([broken, healthy])
    with caplog.at_level(logging.WARNING):
        for call in CALLS.values():
            call(trackers)
        trackers.close()
    assert healthy.calls == [*EVERY_CALL, "close"]
    assert broken.calls == [*EVERY_CALL[: EVERY_CALL.index(raises_in) + 1], "close"]
    assert [record.message for record in caplog.records] == ["Recorder stopped tracking: disk full"]


def test_an_interrupt_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        Trackers([Recorder("progress", KeyboardInterrupt())]).progress(1)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"api_key": "abc"}, {"api_key": REDACTED}),
        ({"hub": {"HF_TOKEN": "abc"}}, {"hub": {"HF_TOKEN": REDACTED}}),
        ({"clientSecret": ["a", "b"]}, {"clientSecret": REDACTED}),
        ({"db_password": 12345}, {"db_password": REDACTED}),
        ({"token": None, "password": ""}, {"token": None, "password": ""}),
        ({"max_new_tokens": 64, "num_virtual_tokens": 20}, {"max_new_tokens": 64, "num_virtual_tokens": 20}),
        (
            {"tokenizer": "byte-level", "use_fast_tokenizer": True},
            {"tokenizer": "byte-level", "use_fast_tokenizer": True},
        ),
        ({"tokenizer_token": "abc"}, {"tokenizer_token": REDACTED}),
        ({"note": f"use {HEX_KEY} here"}, {"note": f"use {REDACTED} here"}),
        ({"note": "hf_abcdefghijklmnop"}, {"note": REDACTED}),
        ({"note": "wandb_v1_abcdefghijklmnop"}, {"note": REDACTED}),
        ({"url": "https://user:hunter2@host/x"}, {"url": f"https://{REDACTED}@host/x"}),
        ({"path": Path("https://user:hunter2@host/x")}, {"path": f"https:/{REDACTED}@host/x"}),
        ({"url": "https://hunter2@host/x"}, {"url": f"https://{REDACTED}@host/x"}),
        ({"url": "http://host/x?Token=ab&step=1"}, {"url": f"http://host/x?Token={REDACTED}&step=1"}),
        ({"source": "org/mask-generation-model-large"}, {"source": "org/mask-generation-model-large"}),
        ({"trace": "in hf_hub_download"}, {"trace": "in hf_hub_download"}),
        ({"token_lengths": {"bin": 8, "prompt": {"8": 3}}}, {"token_lengths": {"bin": 8, "prompt": {"8": 3}}}),
        ({"token": {"value": "abc"}}, {"token": REDACTED}),
        ({"revision": HEX_KEY}, {"revision": HEX_KEY}),
        ({"digest": HEX_KEY + "0" * 24}, {"digest": HEX_KEY + "0" * 24}),
        (
            {"list": [{"k": ("hf_abcdefghijklmnop", 1, True, 0.5, None)}]},
            {"list": [{"k": [REDACTED, 1, True, 0.5, None]}]},
        ),
        ({"path": Path("a/b"), 3: "x"}, {"path": "a/b", "3": "x"}),
    ],
)
def test_redact(config: dict[Any, Any], expected: dict[str, Any]) -> None:
    assert redact(config) == expected


def test_redact_knows_the_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "correct-horse-battery-staple")
    assert redact({"command": "x --with correct-horse-battery-staple"}) == {"command": f"x --with {REDACTED}"}


def test_redact_leaves_its_argument_alone() -> None:
    config = {"nested": {"api_key": "abc"}, "targets": ["q_proj"]}
    redact(config)
    assert config == {"nested": {"api_key": "abc"}, "targets": ["q_proj"]}


@pytest.mark.parametrize(
    ("group", "setting", "name"),
    [
        ("model", "source", "codellama/CodeLlama-7b-hf"),
        ("model", "retriever", "thenlper/gte-small"),
        ("method", "retriever", "bm25"),
        ("dataset", "path", None),
    ],
)
def test_dashboards_show_names_and_no_local_folders(group: str, setting: str, name: str | None, tmp_path: Path) -> None:
    shown = [public_config({group: {setting: value}})[group] for value in (name, str(tmp_path), "~/folder")]
    assert shown == [{setting: name}, {}, {}]


def test_the_run_id_follows_the_cell_and_suits_wandb() -> None:
    def named(cell_id: str, study: str = "demo", *, resumed: bool = False) -> str:
        return run_id(CellStart(cell_id, study, "m", "lora", "d", "none", 1, Path("anywhere"), resumed=resumed))

    assert named("a/b:c#1") == named("a/b:c#1", resumed=True)
    assert len({named("a"), named("b"), named("a", "other")}) == 3
    assert named("a/b:c#1").isalnum()


@pytest.mark.parametrize(
    ("mode", "disabled"), [(WandbMode.auto, "true"), (WandbMode.online, "1"), (WandbMode.offline, "TRUE")]
)
def test_a_disabled_tracker_writes_nothing(
    mode: WandbMode, disabled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DISABLED", disabled)
    tracker = create_tracker(TrackingConfig(mode=mode), {}, tmp_path)
    for call in CALLS.values():
        call(tracker)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("trackers", "project", "refused"),
    [
        ({"wandb": {}}, "a/b", True),
        ({"wandb": {}, "mlflow": {}}, "what?", True),
        ({"wandb": {}}, "", True),
        ({"wandb": {}}, "a project", False),
        ({"mlflow": {}}, "/Users/me/a", False),
        ({}, "a/b", False),
    ],
)
def test_a_project_that_wandb_does_not_accept_is_refused(trackers: dict[str, Any], project: str, refused: bool) -> None:
    cell = compose_cell(["model=tiny-llama"])
    cell.tracking.trackers, cell.tracking.project = trackers, project
    assert [problem.where for problem in problems(cell)] == (["tracking.project"] if refused else [])


def test_an_mlflow_server_that_fails_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # MLflow repeats a request to a server that cannot be reached for minutes, and the cell waits.
    mlflow = pytest.importorskip("mlflow")
    requests = []

    def fail(*arguments: object, **_: object) -> None:
        requests.append(arguments)
        raise mlflow.exceptions.MlflowException("no server")

    for request in ("get_experiment_by_name", "create_experiment"):
        monkeypatch.setattr(mlflow.MlflowClient, request, fail)

    with pytest.raises(mlflow.exceptions.MlflowException):
        MlflowTracker(TrackingConfig(), "http://127.0.0.1:9", tmp_path).start(CELL)

    assert len(requests) == 1
