"""The Python API."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import peft_study
from peft_study.config.compose import folder_of
from peft_study.errors import UserError
from peft_study.results.store import RESULT, CellFolder, write_atomically


def test_a_cell_is_composed_run_and_loaded(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cell = peft_study.compose_cell(
        "model=tiny-llama", "method=zero-shot", "dataset.max_new_tokens=4", f"dataset.path={small_data}", "hardware=cpu"
    )

    result = peft_study.run_cell(cell)
    frame = peft_study.load_results("multirun")

    assert json.loads(next(tmp_path.glob("multirun/single/*/result.json")).read_text())["cell_id"] == result.cell_id
    assert frame["cell_id"].tolist() == [result.cell_id]
    assert frame["em@10"].tolist() == [result.metrics["em@10"]]


def test_a_cell_that_cannot_run_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"model"):
        peft_study.compose_cell("model=nosuch")
    cell = peft_study.compose_cell("model=tiny-llama", "dataset.path=nowhere", "dataset=minipy", "hardware=cpu")
    with pytest.raises(UserError, match="data path"):
        peft_study.run_cell(cell)


def test_a_result_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cell = peft_study.compose_cell("model=tiny-llama", "method=zero-shot", "dataset=minipy", "hardware=cpu")
    write_atomically(CellFolder(folder_of(cell)).path / RESULT, "{broken")

    with pytest.raises(UserError, match="earlier result cannot be read"):
        peft_study.run_cell(cell)


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import peft_study; print(sorted(set(sys.modules) - before))"
    command = [sys.executable, "-S", "-c", f"import typing, pathlib; {code}"]
    root = str(Path(__file__).resolve().parents[2])

    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout == "['peft_study']\n"
