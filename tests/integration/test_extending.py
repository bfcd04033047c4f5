"""The recipes of docs/extending.md, applied to a copy of the project and run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_NEW = re.compile(r"New file `([^`]+)`:\n\n```\w+\n(.*?)```", re.S)
_BEHIND = re.compile(r"Behind the line `([^`]+)` of\s`([^`]+)`[^\n]*:\n\n```python\n(.*?)```", re.S)
FILES_OF_RECIPES = {
    "A method": 1,
    "A data set of pairs": 1,
    "A data set with tests": 3,
    "A metric": 2,
    "A tracker": 2,
    "A launcher": 1,
    "A table of the report": 2,
}

# No recipe depends on what a candidate says.
SHORT_ANSWERS = ["dataset.max_new_tokens=4", "generation.num_beams=1", "generation.num_candidates=1"]


def _recipes() -> dict[str, str]:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    return {part.partition(":")[0]: part for part in re.split(r"^## ", text, flags=re.M)[1:]}


@pytest.mark.parametrize(("recipe", "files"), FILES_OF_RECIPES.items())
def test_a_recipe_touches_so_many_files(recipe: str, files: int) -> None:
    text = _recipes()[recipe]

    touched = {path for path, _ in _NEW.findall(text)} | {path for _, path, _ in _BEHIND.findall(text)}
    assert len(touched) == files


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with every recipe applied."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("peft_study", "hydra_plugins", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for text in _recipes().values():
        for path, block in _NEW.findall(text):
            assert not (folder / path).exists()
            (folder / path).write_text(block, encoding="utf-8")
        for line, path, block in _BEHIND.findall(text):
            source = (folder / path).read_text(encoding="utf-8")
            assert source.count(f"\n{line}\n") == 1, f"{path}: {line}"
            head, tail = source.split(f"\n{line}\n")
            (folder / path).write_text(f"{head}\n{line}\n{block}{tail}", encoding="utf-8")
    return folder


def _run(project: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "peft_study", *arguments]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


def _write(path: Path, rows: list[dict[str, str]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_method_pairs_metric_tracker_and_table(project: Path, tmp_path: Path) -> None:
    rows = [{"question": f"add {number}", "solution": f"x + {number}"} for number in range(8)]
    for split in ("train", "validation", "test"):
        _write(tmp_path / "data" / f"{split}.jsonl", rows)
    cell = ["model=tiny-llama", "method=vera", "dataset=mine", f"dataset.path={tmp_path / 'data'}", "hardware=cpu"]

    brief = ["training.epochs=1", "training.evaluations_per_epoch=1", *SHORT_ANSWERS]

    ended = _run(project, tmp_path, *cell, *brief, "tracking=[lines,jsonl]", "tracking.trackers.lines.separator=','")

    assert ended.returncode == 0, ended.stderr
    (file,) = tmp_path.glob("multirun/single/*/result.json")
    result = json.loads(file.read_text())
    assert 0 <= result["metrics"]["same_length"] <= 1
    assert len(result["intervals"]["same_length"]) == 2
    lines = (file.parent / "lines.txt").read_text().splitlines()
    assert lines[0] == f"start,{result['cell_id']}"
    assert lines[-1].startswith("finish,ok,seconds=")
    # The recipe's tracker and the project's show the same history.
    rows = [json.loads(line) for line in (file.parent / "dashboard.jsonl").read_text().splitlines()]
    assert lines[1:-1] == [
        ",".join([str(row["row"]), *(f"{name}={value}" for name, value in row["values"].items())])
        for row in rows
        if row["event"] == "row"
    ]
    ended = _run(project, tmp_path, "report", "multirun", "--no-samples")
    assert ended.returncode == 0, ended.stderr
    tables = tmp_path / "report" / "tables"
    assert "vera" in (tables / "seconds_a_sample.md").read_text().lower()
    assert "Same length" in (tables / "overview.md").read_text()


def test_tests_and_launcher(project: Path, tmp_path: Path) -> None:
    rows = [
        {"text": f"f returns {number}", "code": f"def f(): return {number}", "asserts": f"assert f() == {number}"}
        for number in range(9)
    ]
    data = _write(tmp_path / "puzzles.jsonl", rows)
    grid = ["--multirun", "hydra/launcher=one_by_one", "model=tiny-llama", "method=zero-shot,icl", "hardware=cpu"]

    options = ["dataset=puzzles", f"dataset.path={data}", "method.num_examples=0", *SHORT_ANSWERS]

    ended = _run(project, tmp_path, *grid, *options)

    results = [json.loads(file.read_text()) for file in tmp_path.glob("multirun/single/*/result.json")]
    statuses = {result["config"]["method"]["name"]: result["status"] for result in results}
    assert statuses["zero-shot"] == "ok"
    (scored,) = (result for result in results if result["config"]["method"]["name"] == "zero-shot")
    assert "top@1" in scored["metrics"]
    # icl without examples is refused: a launcher is truthful about cells that did not succeed.
    assert statuses["icl"] == "infeasible"
    assert ended.returncode == 2
    assert "1 of 2 cells" in ended.stderr


def test_a_mistyped_tracker_is_refused(tmp_path: Path) -> None:
    ended = _run(ROOT, tmp_path, "model=tiny-llama", "+tracking.trackers.wandbb={}")

    assert ended.returncode == 2
    assert "tracking.trackers.wandbb" in ended.stderr
    assert "wandb" in ended.stderr
    assert not (tmp_path / "multirun").exists()
