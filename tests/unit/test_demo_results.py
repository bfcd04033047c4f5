"""The results that come with the repository, and the script that keeps a study's results so."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from peft_study.metrics.exact_match import score_exact_match
from peft_study.report.read.rows import load
from peft_study.results.schema import RunResult
from peft_study.results.store import CellFolder
from tests.report_cells import comparison_of

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "demo_results"
SCRIPT = ROOT / "scripts" / "keep_results.py"
CELLS = sorted((KEPT / "demo").iterdir())


def keep(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)})


def test_every_cell_can_be_read_and_all_methods_are_there() -> None:
    rows = load([KEPT])

    assert rows.problems == ()
    assert set(rows.frame["status"]) == {"ok"}
    assert set(rows.frame["method"]) == {"zero-shot", "icl", "rag", "full", "lora", "ia3", "prompt", "prefix"}
    assert set(rows.frame["quantization"]) == {"none", "int8", "nf4"}


def test_it_is_small_and_names_no_place_on_the_machine_that_made_it() -> None:
    files = [file for file in KEPT.rglob("*") if file.is_file()]

    assert sum(file.stat().st_size for file in files) < 3_000_000
    texts = [file.read_text(encoding="utf-8") for file in files if file.name == "result.json"]
    assert not any(re.search(r'"(/|~|[A-Z]:\\)', text) for text in texts)


@pytest.mark.parametrize("folder", CELLS, ids=lambda folder: folder.name)
def test_the_kept_samples_are_the_first_that_were_scored(folder: Path) -> None:
    rows = CellFolder(folder).read_predictions()

    assert [row.id for row in rows] == [f"test-{number}" for number in range(25)]
    matched = score_exact_match([row.candidates for row in rows], [row.reference for row in rows])
    # One mean over the kept samples from the candidates themselves, one from what the record says of them.
    assert matched.metrics["em@10"] == sum(any(row.matched) for row in rows) / len(rows)


def test_the_script_cuts_samples_and_keeps_scores(tmp_path: Path) -> None:
    ended = keep(KEPT / "demo", tmp_path / "kept", "--samples", "2")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "26 cells, 52 samples" in ended.stdout
    for folder in CELLS:
        kept = tmp_path / "kept" / folder.name
        # A record of before a field was added gets it, empty.
        given = RunResult.from_json(json.loads((folder / "result.json").read_text()))
        assert json.loads((kept / "result.json").read_text()) == given.to_json()
        assert len(CellFolder(kept).read_predictions()) == 2


def test_the_script_refuses_what_it_would_overwrite_or_could_not_keep_whole(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    broken = tmp_path / "study" / "cell"
    broken.mkdir(parents=True)
    record = json.loads((CELLS[0] / "result.json").read_text()) | {"status": "failed"}
    (broken / "result.json").write_text(json.dumps(record))

    for arguments, place in (
        ((KEPT / "demo", tmp_path / "taken"), tmp_path / "taken"),
        ((tmp_path / "study", tmp_path / "new"), "result.json"),
        ((tmp_path / "none", tmp_path / "new"), tmp_path / "none"),
    ):
        ended = keep(*arguments)
        assert ended.returncode == 2
        assert f"{place}\n" in ended.stderr.partition("where:")[2]
        assert not (tmp_path / "new").exists()


def test_the_demos_seeds_against_each_other_are_marked_at_most_at_the_nominal_rate() -> None:
    """One seed of each method against the other two, whose spread between runs is known; and alone, where it is not."""
    frame = load([KEPT]).frame
    single, others = frame[frame["seed"] == 1], frame[frame["seed"].isin([2, 3])]

    marks = [row[-2].text for row in comparison_of(single, others).cells]
    alone = [row[-2].text for row in comparison_of(single, frame[frame["seed"] == 2]).cells]

    tested = [text for text in marks if text != "not tested"]
    assert len(tested) == 48
    # Of 48 at 5 %, 6 or more are marked in 2 of 100 studies.
    assert sum("*" in text for text in tested) <= 5
    assert not any("**" in text or "†" in text for text in marks)
    assert not any("*" in text for text in alone)
