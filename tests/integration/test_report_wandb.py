"""Rows from W&B by its own client, against a server on this machine that speaks as much of its language as is asked."""

import gzip
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import wandb

from peft_study.errors import UserError
from peft_study.report.read import wandb_runs
from peft_study.report.read.rows import load
from peft_study.results.schema import RunResult
from peft_study.tracking.content import public_config
from peft_study.tracking.names import summary_values
from tests.report_cells import result, study

PLACES = {"folder", "source"}
"""Columns that say where a row was read."""


class Server(BaseHTTPRequestHandler):
    """Answers the queries of `wandb.Api().runs(...)`, a run a page."""

    runs: ClassVar[list[dict[str, Any]]] = []
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        query = json.loads(body)
        self.asked.append(query["query"])
        self._send({"data": self._answer(query["query"], query.get("variables") or {})})

    def _answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "1", "entity": "a-lab", "username": "somebody", "email": "", "flags": "{}"}
        if "query Runs" not in query:
            return {"viewer": viewer | {"teams": {"edges": []}}}
        if (variables["entity"], variables["project"]) != ("a-lab", "peft-study"):
            return {"project": None}
        place = int(variables["cursor"] or 0)
        page = self.runs[place : place + 1]
        return {
            "project": {
                "internalId": "1",
                "runCount": len(self.runs),
                "readOnly": False,
                "runs": {
                    "edges": [{"node": node, "cursor": str(place + 1)} for node in page],
                    "pageInfo": {"endCursor": str(place + 1), "hasNextPage": place + 1 < len(self.runs)},
                },
            }
        }

    def _send(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def node(record: RunResult, state: str = "finished", **summary: Any) -> dict[str, Any]:
    """A run as W&B's server gives it, of what the tracker sends."""
    config = {name: {"value": value} for name, value in public_config(record.config).items()}
    return {
        "id": record.cell_id,
        "name": record.cell_id[:8],
        "displayName": record.cell_id,
        "state": state,
        "group": record.study,
        "config": json.dumps(config | {"_wandb": {"value": {"cli_version": "0"}}}),
        "summaryMetrics": json.dumps(summary_values(record) | {"_runtime": 3, "train/loss": 0.1} | summary),
        "systemMetrics": "{}",
        "createdAt": "2026-01-01T00:00:00",
        "heartbeatAt": "2026-01-01T00:00:00",
        "user": {"name": "somebody", "username": "somebody"},
        "tags": [],
        "projectId": "1",
        "sweepName": None,
        "jobType": None,
        "commit": None,
        "readOnly": False,
        "description": None,
        "notes": None,
        "historyLineCount": 0,
        "historyKeys": {},
    }


@pytest.fixture(autouse=True)
def own_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A W&B that nobody configured and that ends with the test."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_SERVICE", "WANDB_ENTITY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(sys, "exit", sys.exit)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    monkeypatch.setattr(Server, "runs", [])
    monkeypatch.setattr(Server, "asked", [])
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{running.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    yield Server
    running.shutdown()
    running.server_close()


def test_a_run_gives_the_row_that_its_folder_gives(server: type[Server], tmp_path: Path) -> None:
    record = result(metrics={"em@1": 0.25, "em@10": None}, intervals={"em@1": [0.1, 0.4]})
    server.runs.append(node(record))

    found = load(["wandb://a-lab/peft-study"])

    assert found.problems == ()
    of_folder = load([study(tmp_path / "study", record)]).frame
    pd.testing.assert_frame_equal(found.frame.drop(columns=PLACES), of_folder.drop(columns=PLACES))
    assert found.frame["source"].tolist() == ["wandb://a-lab/peft-study"]
    assert set(found.frame) == set(of_folder)


def test_every_page_is_read_and_what_is_no_cell_is_listed(server: type[Server]) -> None:
    server.runs += [node(result(seed=seed)) for seed in range(3)]
    server.runs.append(node(result()) | {"name": "other", "config": "{}"})

    found = load(["wandb://a-lab/peft-study"])

    assert found.frame["seed"].tolist() == [0.0, 1.0, 2.0]
    (problem,) = found.problems
    assert problem.where == "wandb://a-lab/peft-study/other"
    assert "config must have model and method" in problem.what
    assert sum("query Runs" in query for query in server.asked) == 4


@pytest.mark.parametrize(
    ("state", "status"), [("crashed", "running"), ("running", "running"), ("failed", "failed"), ("killed", "preempted")]
)
def test_a_run_without_a_result_has_the_status_that_wandb_knows(state: str, status: str, server: type[Server]) -> None:
    without = node(result(), state)
    server.runs.append(without | {"summaryMetrics": json.dumps({"status": "running", "train/loss": 0.1})})

    assert load(["wandb://a-lab/peft-study"]).frame["status"].tolist() == [status]


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        ({"memory/train_peak_gb": "many"}, "cannot be read"),
        ({"provenance/schema_version": "new"}, "cannot be read"),
        ({"trainable_parameters": 3}, "earlier version"),
    ],
)
def test_a_run_that_no_cell_wrote_so_is_listed_and_the_others_are_read(
    summary: dict[str, Any], said: str, server: type[Server]
) -> None:
    server.runs += [node(result(seed=1), **summary), node(result(seed=2))]

    read = load(["wandb://a-lab/peft-study"])

    assert read.frame["seed"].tolist() == [2.0]
    (problem,) = read.problems
    assert said in problem.what


def test_a_cells_folder_stands_before_its_run(server: type[Server], tmp_path: Path) -> None:
    server.runs.append(node(result()))

    found = load(["wandb://a-lab/peft-study", study(tmp_path / "study", result())])

    assert found.frame["source"].tolist() == [str(tmp_path / "study")]
    assert [problem.where for problem in found.problems] == [f"wandb://a-lab/peft-study: {result().cell_id}"]


@pytest.mark.parametrize("source", ["wandb://", "wandb://a-lab", "wandb://a-lab/", "wandb://a-lab/project/run"])
def test_an_address_that_names_no_project_is_refused(source: str) -> None:
    with pytest.raises(UserError, match="entity and a project"):
        load([source])


def test_a_project_that_is_not_there_is_named(server: type[Server]) -> None:
    with pytest.raises(UserError, match="other") as refused:
        load(["wandb://a-lab/other"])

    assert refused.value.where == "wandb://a-lab/other"


def test_an_empty_project_is_a_problem(server: type[Server]) -> None:
    assert [problem.what for problem in load(["wandb://a-lab/peft-study"]).problems] == ["the project has no runs"]


def test_without_a_key_it_says_how_to_get_one_and_never_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")

    with pytest.raises(UserError, match="No API key") as refused:
        load(["wandb://a-lab/peft-study"])

    assert "wandb login" in str(refused.value)


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setattr(wandb_runs, "REQUEST_SECONDS", 60)
        began = time.monotonic()

        with pytest.raises(UserError, match="did not answer within 1 s"):
            wandb_runs.load_runs("wandb://a-lab/peft-study", silence_seconds=1.0)

        assert time.monotonic() - began < 5
