"""Rows from folders: complete, typed, distinct, and never stopped by a damaged record."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from peft_study.errors import UserError
from peft_study.report.read.cells import COLUMNS, FLAGS, MAPPINGS, TEXTS
from peft_study.report.read.reference import paper_rows
from peft_study.report.read.rows import load
from peft_study.report.tables.paper import TABLES
from peft_study.results import folders
from peft_study.results.schema import SCHEMA_VERSION, MemoryKind, Status
from tests.report_cells import result, study, table_of, write

NUMBERS = [name for name in COLUMNS if name not in {*TEXTS, *FLAGS, *MAPPINGS}]


def test_a_row_says_what_the_record_says(tmp_path: Path) -> None:
    record = result(metrics={"em@1": 0.25, "em@10": None}, intervals={"em@1": [0.1, 0.4]}, quantization="nf4")
    folder = write(tmp_path, record)

    found = load([tmp_path])

    assert found.problems == ()
    (row,) = found.frame.to_dict("records")
    known = {
        "cell_id": record.cell_id,
        "folder": str(folder.resolve()),
        "status": "ok",
        "model": "tiny-llama",
        "size_class": "slm",
        "method": "lora",
        "kind": "adapter",
        "quantization": "nf4",
        "dataset": "minipy",
        "num_examples": 0.0,
        "seed": 1.0,
        "sampled": False,
        "test_samples": 100.0,
        "trainable_parameters": 61_440.0,
        "learning_rate": 1e-3,
        "epochs": 5.0,
        "train_seconds": 100.0,
        "train_peak_bytes": 2e9,
        "generate_peak_bytes": 1e9,
        "peak_bytes": 2e9,
        "memory_kind": "cuda_allocated",
        "leakage_share": 0.045,
        "execution_level": "A",
        "dirty": False,
        "schema_version": 1.0,
        "source": str(tmp_path),
        "em@1": 0.25,
        "em@1_low": 0.1,
        "em@1_high": 0.4,
    }
    assert {name: row[name] for name in known} == known
    assert row["reason"] is None
    assert math.isnan(row["em@10"])
    assert math.isnan(row["load_seconds"])


@pytest.mark.parametrize("make", [lambda folder: load([folder]).frame, lambda _: paper_rows()])
def test_columns_have_their_types_whatever_is_missing(make: Callable[[Path], pd.DataFrame], tmp_path: Path) -> None:
    frame = make(tmp_path)

    assert {*TEXTS, *FLAGS, *MAPPINGS} <= set(COLUMNS)
    assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert all(frame[name].dtype == "float64" for name in NUMBERS)
    assert all(frame[name].dtype == object for name in (*TEXTS, *FLAGS))
    assert frame["cell_id"].is_unique


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "invalid JSON"),
        ("", "invalid JSON"),
        ("[]", "must be a dict, got list"),
        ("{}", "schema_version must be"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}), "is newer than"),
        (json.dumps({"schema_version": 1, "cell_id": "x", "study": "y", "status": "best"}), "'best'"),
        ("[" * 200_000, "nested too deeply"),
        ("\ud800".encode("utf-8", "surrogatepass"), "invalid JSON"),
    ],
)
def test_what_cannot_be_read_is_listed_and_stops_nothing(content: str | bytes, reason: str, tmp_path: Path) -> None:
    write(tmp_path, result())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_bytes(content if isinstance(content, bytes) else content.encode())

    found = load([tmp_path])

    assert len(found.frame) == 1
    (problem,) = found.problems
    assert problem.where.endswith("broken/result.json")
    assert reason in problem.what


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"model": "a word", "method": None, "generation": []}},
        {"metrics": {"em@1": "0.5", "em@10": True, "status": 1.0, "codebleu": 10**400}},
        {"intervals": {"em@1": 3, "em@10": [0.1], "unknown": [0, 1]}},
        {"data": {"sizes": 3, "leakage": [1]}, "provenance": {"dirty": "yes", "device": {"a": 1}}},
        {"phases": {"train": {"seconds": None, "peak_bytes": "many", "reserved_bytes": None}}},
    ],
)
def test_odd_values_become_unknown(change: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, result()) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    found = load([tmp_path])

    assert len(found.frame) == 1
    assert all(found.frame[name].dtype == "float64" for name in NUMBERS)
    assert found.frame["status"].tolist() == ["ok"]


def test_every_state_is_a_row(tmp_path: Path) -> None:
    study(tmp_path, *(result(seed=seed, status=status) for seed, status in enumerate(Status)))

    frame = load([tmp_path]).frame

    assert sorted(frame["status"]) == sorted(str(status) for status in Status)
    assert frame.loc[frame["status"] == "oom", "reason"].tolist() == ["it ended otherwise"]


def test_a_cell_is_one_row_however_often_it_is_named(tmp_path: Path) -> None:
    study(tmp_path / "a", result(), result(seed=2))

    found = load([tmp_path, tmp_path / "a", tmp_path / "a" / result().cell_id])

    assert len(found.frame) == 2
    assert found.problems == ()


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({"status": Status.failed}, {}, "b"),
        ({}, {"status": Status.oom}, "a"),
        ({}, {"finished_at": "2026-02-01T00:00:00+00:00"}, "b"),
        ({}, {}, "a"),
    ],
)
def test_of_a_cell_run_twice_the_better_counts(
    first: dict[str, Any], second: dict[str, Any], kept: str, tmp_path: Path
) -> None:
    write(tmp_path / "a", result(**first))
    write(tmp_path / "b", result(**second))

    found = load([tmp_path])

    assert [Path(folder).parent.name for folder in found.frame["folder"]] == [kept]
    (problem,) = found.problems
    assert "the same cell as" in problem.what


def test_what_lies_in_a_cell_or_behind_a_dot_is_no_cell(tmp_path: Path) -> None:
    cell = write(tmp_path, result())
    write(cell / "checkpoints", result(seed=2))
    write(tmp_path / ".trash", result(seed=3))
    (tmp_path / "loop").symlink_to(tmp_path)

    assert load([tmp_path]).frame["seed"].tolist() == [1.0]
    assert load([cell / "result.json"]).frame["seed"].tolist() == [1.0]


def test_links_are_followed_and_each_folder_is_read_once(tmp_path: Path) -> None:
    cell = write(tmp_path / "scratch" / "study", result())
    named = tmp_path / "named"
    write(named, result(seed=2))
    (named / "a-link").symlink_to(tmp_path / "scratch" / "study")
    (named / "another").symlink_to(cell)
    (named / "round").symlink_to(named)
    (named / "itself").symlink_to("itself")
    (named / "nowhere").symlink_to(tmp_path / "none")

    found = load([named])

    assert sorted(found.frame["seed"]) == [1.0, 2.0]
    assert found.problems == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_cannot_be_listed_is_said(tmp_path: Path) -> None:
    write(tmp_path, result())
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)

    found = load([tmp_path])

    assert len(found.frame) == 1
    assert [problem.where for problem in found.problems] == [str(closed)]


def test_a_folder_that_goes_away_meanwhile_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that must not be listed, which the user that runs the tests may not know."""
    write(tmp_path, result())
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(folder: Path) -> Any:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(folders.os, "scandir", refuse)

    assert [problem.what for problem in load([tmp_path]).problems] == ["cannot be listed: Permission denied"]


@pytest.mark.timeout(20)
def test_a_pipe_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "cell").mkdir()
    os.mkfifo(tmp_path / "cell" / "result.json")

    assert [problem.what for problem in load([tmp_path]).problems] == ["not a regular file"]


@pytest.mark.parametrize("place", ["model", "method", "dataset", "quantization", "metric", "study", "cell_id"])
def test_half_a_surrogate_pair_is_a_question_mark(place: str, tmp_path: Path) -> None:
    record = result()
    if place == "metric":
        record.metrics["a\ud800b"] = 0.5
    elif place in {"study", "cell_id"}:
        setattr(record, place, "a\ud800b")
    else:
        record.config[place]["name"] = "a\ud800b"
    folder = tmp_path / "cell"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(record.to_json()))

    frame = load([tmp_path]).frame

    assert "a?b" in ([*frame] if place == "metric" else [frame[place].item()])
    assert [table_of(name, frame) for name in TABLES]


def test_nothing_is_no_error_and_no_folder_is_one(tmp_path: Path) -> None:
    found = load([tmp_path])
    assert found.frame.empty
    assert "no result.json" in found.problems[0].what

    with pytest.raises(UserError, match="no such folder"):
        load([tmp_path / "nowhere"])


def test_rows_tables_and_claims_need_neither_torch_nor_wandb() -> None:
    modules = ("read.rows", "read.reference", "read.wandb_runs", "tables.paper", "claims.paper", "tables.comparison")
    code = (
        "import importlib, sys\n"
        f"for name in {modules}: importlib.import_module('peft_study.report.' + name)\n"
        "print([name for name in ('torch', 'transformers', 'wandb', 'datasets', 'sklearn') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]

    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "[]\n"


def test_the_papers_rows_are_its_numbers() -> None:
    frame = paper_rows().set_index(["model", "method", "quantization", "dataset"]).sort_index()

    lora = frame.loc[("codellama-7b-python", "lora", "none", "conala")]
    assert (lora["em@1"], lora["em@10"], lora["codebleu_codexglue"]) == (0.175, 0.3628, 0.2427)
    assert lora["trainable_parameters"] == 12.5e6
    assert lora["certainty"] == "stated"
    assert frame.loc[("codellama-34b-python", "lora", "nf4", "conala"), "em@10"] == 0.407
    assert frame.loc[("codellama-7b-instruct", "lora", "nf4", "apps"), "introductory/apps_package_pass@5"] == 0.124
    inferred = frame.loc[("codellama-13b-python", "lora", "int8", "conala")]
    assert "inferred" in inferred["certainty"]
    peaks = paper_rows().set_index(["model", "quantization"])["train_peak_bytes"].dropna()
    assert peaks[("codellama-7b", "nf4")] == pytest.approx(9.16e9)
    assert len(peaks) == 10
    assert set(paper_rows()["source"]) == {"paper"}
    assert str(MemoryKind.cpu_peak_rss) not in set(paper_rows()["memory_kind"].dropna())
