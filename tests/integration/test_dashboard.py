"""Dashboards as code: their specification, their server, and the report of what a project holds."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from peft_study.cli.dashboard.content import METHOD, MODEL
from peft_study.cli.main import dispatch
from peft_study.results.store import CellFolder
from peft_study.sweep.command import plan_command
from peft_study.tracking.names import summary_values
from tests.report_cells import result, study
from tests.wandb_server import Fault, Kind, WandbServer, always

STUDY = ("+study=quickstart", "method=lora,zero-shot")
TINY = (
    *("dataset.limit=40", "dataset.test_limit=4", "training.epochs=2", "training.evaluations_per_epoch=1"),
    *("dataset.max_new_tokens=4", "hardware=cpu", "quantization=none", "tracking=wandb"),
)


pytestmark = pytest.mark.usefixtures("server")


def specification(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert dispatch(["dashboard", "--project", "p", "--dry-run", *(arguments or STUDY)]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def values_of(node: Any, *keys: str) -> Iterator[Any]:
    """The values of some keys, anywhere in a specification."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in keys:
                yield from value if isinstance(value, list) else [value]
            yield from values_of(value, *keys)
    elif isinstance(node, list):
        for item in node:
            yield from values_of(item, *keys)


def panels_of(node: Any) -> list[Any]:
    return [panel for panel in values_of(node, "panels") if isinstance(panel, dict) and "viewType" in panel]


def metrics_in(specified: dict[str, Any]) -> set[str]:
    """The metrics that panels, columns and orders name, without the names of W&B's own."""
    names = set(values_of([panel["config"] for panel in panels_of(specified)], "metrics", "xAxis", "yAxis", "zAxis"))
    names |= {column for order in values_of(specified, "columnOrder") for column in [order] if "config:" not in column}
    names |= {key["name"] for key in values_of(specified, "key") if key["section"] == "summary"}
    return {name.removeprefix("summary:") for name in names if not name.startswith("run:")}


def test_a_specification_is_the_same_every_time_and_needs_no_server(
    server: WandbServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb_workspaces")
    monkeypatch.delenv("WANDB_API_KEY")

    first, second = specification(capsys), specification(capsys)

    assert first == second
    assert server.requests == []
    titles = [section["name"] for section in values_of(first["workspace"], "sections")]
    assert titles == [
        *("Leaderboard", "Scores with intervals", "Memory", "Training", "Quality against cost", "States of cells")
    ]
    assert {panel["viewType"] for panel in panels_of(first)} == {"Bar Chart", "Run History Line Plot", "Scatter Plot"}
    # The runs hold shares from 0 to 1, not percentages.
    assert not any("%" in title for title in values_of(first, "xAxisTitle"))
    ids = list(values_of(first, "__id__"))
    assert len(ids) == len(set(ids))


def test_the_library_reads_its_own_specification_back(capsys: pytest.CaptureFixture[str]) -> None:
    internal = pytest.importorskip("wandb_workspaces.workspaces.internal")

    read = internal.WorkspaceViewspec.model_validate(specification(capsys)["workspace"]["spec"])

    assert [len(section.panels) for section in read.section.panel_bank_config.sections] == [2, 3, 3, 3, 2, 1]
    assert read.section.run_sets[0].filters["filters"][0]["value"] == "quickstart"


def test_every_panel_names_a_metric_that_a_real_run_logged(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces")
    specified = specification(capsys)

    arguments = [*STUDY, *TINY, f"output_dir={tmp_path / 'cells'}", "tracking.mode=online", "tracking.project=p"]
    subprocess.run([sys.executable, "-m", "peft_study", *arguments], check=True, capture_output=True, timeout=500)

    assert len(server.store.runs) == 2
    logged = {name for run in server.store.runs for name in run.summary}
    logged |= {name for run in server.store.runs for row in run.history for name in row}
    # A cell on a CPU has no card.
    assert metrics_in(specified) - logged == {"memory/device_gb"}
    assert "memory/device_gb" in summary_values(result(device_bytes=25e9))
    for run in server.store.runs:
        assert run.attributes["groupName"] == "quickstart"
        for key in (METHOD, MODEL):
            group, name = key.split(".")
            assert run.config[group][name] in run.attributes["tags"]
    grouped = set(values_of([panel["config"] for panel in panels_of(specified)], "groupBy"))
    assert grouped == {"method.value.name", "model.value.name"}


def test_a_dashboard_is_made_once_and_then_updated(server: WandbServer, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb_workspaces")
    command = ["dashboard", "--project", "p"]
    assert dispatch([*command, *STUDY]) == 0
    assert dispatch([*command, *STUDY]) == 0
    assert dispatch([*command, "+study=demo", "method=lora"]) == 0

    stored = [(view.fields["displayName"], view.fields["type"], view.changes) for view in server.store.views]
    assert sorted(stored) == [
        ("peft-study demo", "project-view", 1),
        ("peft-study demo", "runs", 1),
        ("peft-study quickstart", "project-view", 2),
        ("peft-study quickstart", "runs", 2),
    ]
    assert server.store.created_projects == [("a-lab", "p")]
    capsys.readouterr()
    printed = specification(capsys)
    for kind, view in (("workspace", server.store.views[0]), ("report", server.store.views[1])):
        assert json.loads(view.fields["spec"]) == printed[kind]["spec"]


@pytest.mark.parametrize("fault", [Fault(Kind.hang), Fault(Kind.status, status=400)])
def test_a_server_that_does_not_answer_ends_the_command(
    fault: Fault, server: WandbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces")
    server.faults = always(fault)

    assert dispatch(["dashboard", "--project", "p", "--timeout", "3", *STUDY]) == 2
    assert "W&B" in capsys.readouterr().err


def test_several_models_have_a_section_each_in_the_report_alone(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb_workspaces")
    specified = specification(capsys, "+study=demo", "method=lora", "quantization=none")

    sections = [section["name"] for section in values_of(specified["workspace"], "sections")]
    assert not any("tiny" in name for name in sections)
    filtered = [
        row["value"] for row in values_of(specified["report"], "filters") if row.get("key", {}).get("name") == "tags"
    ]
    assert filtered == [["tiny-llama"], ["tiny-codegen"], ["tiny-t5"]]


def test_a_study_of_prompts_shows_no_training(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb_workspaces")
    metrics = metrics_in(specification(capsys, "+study=quickstart", "method=zero-shot,icl"))

    assert "metrics/em@1" in metrics
    assert not any(name.startswith("train/") or "train_" in name for name in metrics)


def test_an_agent_of_a_sweep_runs_the_cells_of_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """wandb's own functions make the command line, and a `python` in front of PATH prints what it gets."""
    assert dispatch(["dashboard", "--project", "p", "--entity", "a-lab", "--sweep", *STUDY, "seed=1,2"]) == 0
    sweep = yaml.safe_load(capsys.readouterr().out)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)

    got = []
    for value in sweep["parameters"]["cell"]["values"]:
        words = create_sweep_command_args({"args": {"cell": {"value": value}}})
        words["env"] = ["/usr/bin/env"]
        chunks = create_sweep_command(list(sweep["command"]))
        command = [word for chunk in chunks for word in words.get(chunk[2:-1], [chunk])]
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        got.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split())

    planned = [planned.overrides for planned in plan_command([*STUDY, "seed=1,2"])]
    tracked = ["tracking=wandb", "tracking.project=p", "tracking.entity=a-lab"]
    assert got == [["-m", "peft_study", *overrides, *tracked] for overrides in planned]
    assert (sweep["method"], sweep["entity"], sweep["project"]) == ("grid", "a-lab", "p")
    assert shlex.split(sweep["parameters"]["cell"]["values"][0]) == got[0][2:]


@pytest.mark.parametrize(
    ("tracking", "trackers"),
    [("none", ["wandb"]), ("jsonl", ["jsonl", "wandb"]), ("[jsonl,wandb]", ["jsonl", "wandb"])],
)
def test_a_sweep_keeps_the_other_trackers_of_its_cells(
    tracking: str, trackers: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--project", "a project, with a comma", "--sweep"]
    assert dispatch(["dashboard", *options, "model=tiny-llama", f"tracking={tracking}"]) == 0
    (value,) = yaml.safe_load(capsys.readouterr().out)["parameters"]["cell"]["values"]
    (planned,) = plan_command(shlex.split(value))
    assert sorted(planned.cell.tracking.trackers) == trackers
    assert planned.cell.tracking.project == "a project, with a comma"


@pytest.mark.parametrize("kind", ["--sweep", "--dry-run"])
def test_a_project_that_wandb_does_not_accept_is_refused(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    for project in ("a/b", "", "p" * 129):
        assert dispatch(["dashboard", "--project", project, kind, "model=tiny-llama"]) == 2
        assert "--project" in capsys.readouterr().err


def test_a_report_of_a_project_has_the_tables_of_the_folders(server: WandbServer, tmp_path: Path) -> None:
    cells = study(
        tmp_path / "cells",
        *(
            result(model, method, seed=seed, metrics={"em@1": 0.2 + seed / 70, "em@10": 0.4 + seed / 30})
            for model in ("tiny-llama", "tiny-t5")
            for method in ("lora", "ia3", "icl")
            for seed in (1, 2)
        ),
        result("tiny-codegen", "lora", intervals={"em@1": [0.1, 0.4]}, quantization="nf4"),
        result("tiny-codegen", "ia3", test_samples=3, memory_kind=None, train_peak_bytes=None),
    )
    for folder in cells.iterdir():
        store = CellFolder(folder)
        for step in (1, 2, 3):
            store.append_step(step, {"loss": 1 / step})

    assert dispatch(["sync", "--all", "--project", "p", "--entity", "a-lab", str(cells)]) == 0
    for name, source in (("of_folders", str(cells)), ("of_wandb", "wandb://a-lab/p")):
        assert dispatch(["report", source, "--out", str(tmp_path / name), "--no-samples"]) == 0

    tables = sorted(path.name for path in (tmp_path / "of_folders" / "tables").iterdir())
    assert len(tables) > 20
    for name in tables:
        of_folders, of_wandb = (tmp_path / kind / "tables" / name for kind in ("of_folders", "of_wandb"))
        assert of_wandb.read_bytes() == of_folders.read_bytes(), name
    assert (tmp_path / "of_wandb" / "claims.json").read_bytes() == (
        tmp_path / "of_folders" / "claims.json"
    ).read_bytes()
