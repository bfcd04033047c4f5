"""Two studies compared: what is the same configuration, by which test, and what is marked."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from peft_study.config.schema import ScoringConfig
from peft_study.data.samples import LEVELS, ProgramTests, Sample
from peft_study.report.figures import FIGURES
from peft_study.report.read.reference import paper_rows
from peft_study.report.read.rows import frame_of, load
from peft_study.report.tables.table import Table
from peft_study.results.schema import MemoryKind, Status
from peft_study.results.store import CellFolder
from peft_study.scoring.score import Answers, score
from tests.report_cells import comparison_of, drawing_of, predictions, result, study, table_of, write


def rows_of(table: Table) -> list[dict[str, str]]:
    return [{name: cell.text for name, cell in zip(table.columns, row, strict=True)} for row in table.cells]


def frame_at(root: Path, *records: Any) -> pd.DataFrame:
    return load([study(root, *records)]).frame


def right(share: float, samples: int = 200) -> list[list[bool]]:
    return [[index < share * samples] for index in range(samples)]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (0.5, 0.3, "higher††"),
        (0.3, 0.5, "lower††"),
        (0.4, 0.39, "not decided"),
        (0.4, 0.37, "higher††"),
        (0.4, 0.4, "not decided"),
    ],
)
def test_predictions_of_the_same_samples_are_compared_in_pairs(
    first: float, second: float, says: str, tmp_path: Path
) -> None:
    ours = frame_at(tmp_path / "a", (result(metrics={"em@1": first, "em@10": first}), right(first)))
    theirs = frame_at(tmp_path / "b", (result(metrics={"em@1": second, "em@10": second}), right(second)))

    found = {row["Score"]: row for row in rows_of(comparison_of(ours, theirs, resamples=2_000))}

    assert found["EM@1"]["Test"] == "paired"
    assert found["EM@1"]["Difference is"] == says
    assert found["EM@1"]["Difference"] == f"{100 * (first - second):+.2f}"


def test_samples_that_are_numbered_alike_are_not_the_same_where_their_references_differ(tmp_path: Path) -> None:
    ours = frame_at(tmp_path / "a", (result(metrics={"em@1": 0.5}), right(0.5)))
    theirs = frame_at(tmp_path / "b", (result(metrics={"em@1": 0.3}), right(0.3)))
    for file in (tmp_path / "b").rglob("predictions.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text(
            "".join(json.dumps(row | {"reference": f"{row['reference']} of another"}) + "\n" for row in rows)
        )

    found = {row["Score"]: row["Test"] for row in rows_of(comparison_of(ours, theirs, resamples=100))}

    assert found["EM@1"] == "both intervals"


def test_codebleu_and_levels_are_compared_in_pairs(tmp_path: Path) -> None:
    samples = [
        Sample(
            f"test-{n}", "", f"xs.sort(key={n})\nprint(xs)", level=LEVELS[n % 2], tests=ProgramTests(("1\n",), ("2\n",))
        )
        for n in range(8)
    ]
    frames = []
    for name, right in (("a", 6), ("b", 2)):
        texts = [[sample.answer if n < right else "print(sorted(xs))"] for n, sample in enumerate(samples)]
        scored = score(Answers(samples, ["prompt"] * 8, texts, sampled=True), ScoringConfig(resamples=0, workers=1))
        folder = write(tmp_path / name, result(metrics=scored.metrics, test_samples=8))
        CellFolder(folder).write_predictions(scored.predictions)
        frames.append(load([tmp_path / name]).frame)

    found = {row["Score"]: row for row in rows_of(comparison_of(*frames, resamples=500))}

    for title in ("CodeBLEU (strict)", "CodeBLEU (paper's)", "Introductory tests passed", "Interview Pass@1"):
        assert found[title]["Test"] == "paired", title
    bleu = found["CodeBLEU (paper's)"]
    assert float(bleu["Lowest"]) < float(bleu["Difference"]) < float(bleu["Highest"])


@pytest.mark.parametrize(
    ("damage", "title"),
    [
        ({"scores": [1]}, "Pass@1"),
        ({"scores": {"pass@1": math.nan}}, "Pass@1"),
        ({"scores": {"pass@1": "0.5"}}, "Pass@1"),
        ({"counts": {"codebleu_strict": "x"}}, "CodeBLEU (strict)"),
        ({"counts": 3}, "CodeBLEU (strict)"),
        ({"counts": {"codebleu_strict": [1.0, 2.0]}}, "CodeBLEU (strict)"),
        ({"counts": {"codebleu_strict": [10**400] * 23}}, "CodeBLEU (strict)"),
        ({"scores": {"pass@1": 10**400}}, "Pass@1"),
    ],
)
def test_damaged_predictions_are_not_compared_in_pairs(damage: dict[str, Any], title: str, tmp_path: Path) -> None:
    frames = []
    for name in "ab":
        folder = write(tmp_path / name, result(metrics={"codebleu": 0.5, "pass@1": 0.5}, test_samples=4))
        lines = [vars(one) | damage for one in predictions([[True]] * 4)]
        (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        frames.append(load([tmp_path / name]).frame)

    assert {row["Test"] for row in rows_of(comparison_of(*frames)) if row["Score"] == title} == {"none"}


def test_predictions_that_are_not_all_there_are_not_compared_in_pairs(tmp_path: Path) -> None:
    frames = []
    for name in "ab":
        folder = write(tmp_path / name, result(metrics={"em@1": 0.0}), right(0.0))
        lines = (folder / "predictions.jsonl").read_text().splitlines(keepends=True)
        (folder / "predictions.jsonl").write_text("".join(lines[:25]))
        frames.append(load([tmp_path / name]).frame)

    assert {row["Test"] for row in rows_of(comparison_of(*frames)) if row["Score"] == "EM@1"} == {"both intervals"}


def test_the_papers_largest_models_are_known_by_their_other_name(tmp_path: Path) -> None:
    ours = frame_at(tmp_path, result("codellama-34b-python", dataset="conala", quantization="nf4"))

    (memory,) = (row for row in rows_of(comparison_of(ours, paper_rows())) if "memory" in row["Score"])

    assert memory["Other"] == "23.59"


def test_a_difference_beyond_all_doubt_has_a_p_value(tmp_path: Path) -> None:
    sides = [
        frame_at(
            tmp_path / str(share), result(metrics={"em@1": share}, intervals={"em@1": [share - 1e-3, share + 1e-3]})
        )
        for share in (0.1, 0.9)
    ]

    (row,) = (row for row in rows_of(comparison_of(*sides)) if row["Score"] == "EM@1")

    assert row["p"] == "< 0.0001"


def test_without_predictions_intervals_decide_and_say_so(tmp_path: Path) -> None:
    metrics = {"codebleu_codexglue": 0.35, "em@10": 0.4}
    ends = {"codebleu_codexglue": [0.33, 0.37], "em@10": [0.3, 0.5]}
    ours = frame_at(tmp_path, result("codellama-7b", dataset="conala", metrics=metrics, intervals=ends))

    found = {row["Score"]: row for row in rows_of(comparison_of(ours, paper_rows()))}

    assert {name: row["Test"] for name, row in found.items()} == {
        "EM@10": "both intervals",
        "CodeBLEU (paper's)": "one interval",
        "Training's peak GPU memory, GB": "none",
    }
    assert found["CodeBLEU (paper's)"]["Difference is"] == "higher††"
    assert found["EM@10"]["Difference is"] == "not decided"
    # Figure 1 names no data set.
    memory = found["Training's peak GPU memory, GB"]
    assert (memory["This"], memory["Other"]) == ("2.00", "19.06")


def test_memory_of_a_process_is_not_compared_with_a_gpus(tmp_path: Path) -> None:
    ours = frame_at(tmp_path, result("codellama-7b", dataset="conala", memory_kind=MemoryKind.cpu_peak_rss))

    assert not [row for row in rows_of(comparison_of(ours, paper_rows())) if "memory" in row["Score"]]


def test_the_best_number_of_examples_stands_against_the_papers_best(tmp_path: Path) -> None:
    cells = [
        result("codellama-7b", "icl", "conala", num_examples=number, metrics={"em@10": share})
        for number, share in ((4, 0.2), (8, 0.31), (16, 0.25))
    ]

    (row,) = rows_of(comparison_of(frame_at(tmp_path, *cells), paper_rows()))

    assert (row["Examples"], row["This"], row["Other"], row["Difference is"]) == ("8", "31.00", "29.83", "not decided")


def test_among_many_tests_a_sure_one_is_still_found(tmp_path: Path) -> None:
    """Few resamples are no bound for a p-value."""
    names = [f"model-{n}" for n in range(12)]
    ours = frame_at(tmp_path / "a", *((result(name, metrics={"em@1": 0.9}), right(0.9)) for name in names))
    theirs = frame_at(tmp_path / "b", *((result(name, metrics={"em@1": 0.1}), right(0.1)) for name in names))

    found = {
        row["Difference is"] for row in rows_of(comparison_of(ours, theirs, resamples=19)) if row["Score"] == "EM@1"
    }

    assert found == {"higher††"}


def test_seconds_of_two_devices_say_so(tmp_path: Path) -> None:
    sides = []
    for device in ("cpu", "H100"):
        record = result()
        record.provenance["device"] = device
        sides.append(frame_at(tmp_path / device, record))

    assert "Training, s (cpu against H100)" in {row["Score"] for row in rows_of(comparison_of(*sides))}


def test_other_numbers_of_test_samples_are_said(tmp_path: Path) -> None:
    ours = frame_at(tmp_path / "a", result(test_samples=50))
    theirs = frame_at(tmp_path / "b", result(test_samples=500))

    words = "Not of the same number of test samples: tiny-llama/LoRA/minipy on 50 against 500."
    assert words in comparison_of(ours, theirs).notes
    assert words in table_of("table3", ours, theirs).notes


def test_of_two_samples_no_difference_is_marked(tmp_path: Path) -> None:
    sides = [
        frame_at(tmp_path / name, (result(metrics={"em@1": share}), [[bool(share)]] * 2))
        for name, share in (("a", 1.0), ("b", 0.0))
    ]

    assert {row["Difference is"] for row in rows_of(comparison_of(*sides)) if row["Score"] == "EM@1"} == {
        "too few samples"
    }


@pytest.mark.parametrize("name", list(FIGURES))
def test_studies_with_other_scores_are_drawn_side_by_side(name: str, tmp_path: Path) -> None:
    tested = {"metrics": {"pass@1": 0.2}, "quantization": "nf4"}
    apps = frame_at(tmp_path / "a", result("codellama-7b", **tested))
    lines = frame_at(tmp_path / "b", result("codellama-7b", metrics={"em@10": 0.5}, quantization="nf4"))

    for one, other in ((apps, lines), (lines, apps), (apps, paper_rows())):
        assert drawing_of(name, one, other).name == name


def test_what_each_study_left_out_is_said_of_both(tmp_path: Path) -> None:
    ours = frame_at(tmp_path / "a", result(), result(seed=2), result(learning_rate=0.5))
    theirs = frame_at(tmp_path / "b", result(), result(seed=2), result(learning_rate=0.7, status=Status.failed))

    notes = comparison_of(ours, theirs).notes

    assert any(note.startswith("Left out") and note.endswith("(1 ok).") for note in notes)
    assert any(note.startswith("Of the other: Left out") and note.endswith("(1 failed).") for note in notes)


def test_what_is_in_one_study_alone_is_counted(tmp_path: Path) -> None:
    ours = frame_at(tmp_path / "a", result(), result(method="ia3"), result(method="full", status=Status.failed))
    theirs = frame_at(tmp_path / "b", result(), *(result(method=name) for name in ("prompt", "prefix", "full")))

    table = comparison_of(ours, theirs)

    assert any("2 configurations are in both, 1 only in this, 2 only in the other" in note for note in table.notes)
    assert {row["Method"] for row in rows_of(table)} == {"LoRA"}


def test_the_paper_equals_itself() -> None:
    table = comparison_of(paper_rows(), paper_rows())

    assert len(table.cells) > 250
    assert {row["Difference"] for row in rows_of(table)} == {"+0.00"}
    assert comparison_of(frame_of([]), paper_rows()).cells == ()
