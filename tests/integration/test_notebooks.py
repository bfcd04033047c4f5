"""The notebooks run on the demo study's results and store small outputs."""

import re
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
ON_RESULTS = ["figures", "tables", "wandb"]
LARGEST_BYTES = 100_000


def read(name: str) -> Any:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def run(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a notebook as from its own folder, with this checkout's code."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = read(name)
    folder = {"metadata": {"path": str(ROOT / "notebooks")}}
    return NotebookClient(notebook, timeout=200, kernel_name="python3", resources=folder).execute()


def data_of(notebook: Any, kind: str) -> list[Any]:
    """The outputs of its cells in a format."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def shown(notebook: Any, kind: str) -> list[str]:
    return [str(data) for data in data_of(notebook, kind)]


def numbers(notebook: Any) -> list[str]:
    """The numbers with decimals in its tables, which a run must reproduce."""
    return re.findall(r"\d+\.\d+", "".join([*shown(notebook, "text/html"), *shown(notebook, "text/markdown")]))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_valid_and_has_small_outputs_without_errors(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)

    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is None for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert all(output.output_type != "error" for output in outputs)
    assert len(file.read_bytes()) < LARGEST_BYTES


def test_the_figures_notebook_shows_the_papers_figures_that_have_something_to_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = load([ROOT / "docs" / "demo_results"]).frame
    study = Study(frame)
    drawings = [FIGURES[f"figure{number}"](study, None) for number in range(1, 8)]
    expected = [drawing.title for drawing in drawings if not drawing.empty]

    notebook = run("figures", monkeypatch)
    titles = [figure["layout"]["title"]["text"] for figure in data_of(notebook, "application/vnd.plotly.v1+json")]
    assert titles == expected
    assert "Peak memory of fine-tuning" in titles
    assert len(shown(notebook, "image/png")) == 1
    assert numbers(notebook) == numbers(read("figures"))


def test_the_tables_notebook_shows_the_demos_numbers_and_ten_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = load([ROOT / "docs" / "demo_results"]).frame
    lora = frame[(frame["method"] == "lora") & (frame["quantization"] == "none")]

    notebook = run("tables", monkeypatch)
    pages = "".join([*shown(notebook, "text/markdown"), *shown(notebook, "text/html")])
    assert f"{100 * lora['em@10'].mean():.2f}" in pages
    assert all(verdict in pages for verdict in ("confirmed", "refuted", "not_decided"))
    assert numbers(notebook) == numbers(read("tables"))


def test_the_wandb_notebook_shows_the_numbers_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = load([ROOT / "docs" / "demo_results"]).frame

    notebook = run("wandb", monkeypatch)
    assert f"{100 * frame[frame['method'] == 'icl']['em@10'].mean():.2f}" in "".join(shown(notebook, "text/html"))
    assert numbers(notebook) == numbers(read("wandb"))


def test_these_notebooks_are_there() -> None:
    assert {file.stem for file in NOTEBOOKS} >= set(ON_RESULTS)
