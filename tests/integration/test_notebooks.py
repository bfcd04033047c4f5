"""The notebooks run on the demo study's results, and carry no outputs."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from peft_study.report.figures import FIGURES
from peft_study.report.read.rows import load
from peft_study.report.study import Study

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ON_RESULTS = ["figures", "tables"]


def read(name: str) -> Any:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def run(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a notebook as from its own folder, with this checkout's code."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = read(name)
    folder = {"metadata": {"path": str(ROOT / "notebooks")}}
    return NotebookClient(notebook, timeout=200, kernel_name="python3", resources=folder).execute()


def shown(notebook: Any, kind: str) -> list[str]:
    """What its cells show in one form."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [str(output.data[kind]) for output in outputs if kind in output.get("data", {})]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_valid_and_carries_no_outputs(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)

    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_the_figures_notebook_shows_every_figure_that_has_something_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = load([ROOT / "docs" / "demo_results"]).frame
    expected = [name for name, make in FIGURES.items() if not make(Study(frame), None).empty]

    images = shown(run("figures", monkeypatch), "image/png")
    # One more, of the reader's own choice of cells.
    assert len(images) == len(expected) + 1
    assert "figure1" in expected


def test_the_tables_notebook_shows_the_demos_numbers_and_ten_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = load([ROOT / "docs" / "demo_results"]).frame
    lora = frame[(frame["method"] == "lora") & (frame["quantization"] == "none")]

    notebook = run("tables", monkeypatch)
    pages = "".join([*shown(notebook, "text/markdown"), *shown(notebook, "text/html")])
    assert f"{100 * lora['em@10'].mean():.2f}" in pages
    assert all(verdict in pages for verdict in ("confirmed", "not_decided"))


def test_these_notebooks_are_there() -> None:
    assert {file.stem for file in NOTEBOOKS} >= set(ON_RESULTS)
