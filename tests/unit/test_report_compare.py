"""Two studies compared: what is the same configuration, by which test, and what is marked."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from peft_study.report.compare import compare
from peft_study.report.reference import paper_rows
from peft_study.report.rows import frame_of, load
from peft_study.report.table import Table
from peft_study.results.schema import MemoryKind
from tests.report_records import result, study


def rows_of(table: Table) -> list[dict[str, str]]:
    return [{name: cell.text for name, cell in zip(table.columns, row, strict=True)} for row in table.cells]


def frame_at(root: Path, *records: Any) -> pd.DataFrame:
    return load([study(root, *records)], cache=None).frame


def right(share: float, samples: int = 200) -> list[list[bool]]:
    return [[index < share * samples] for index in range(samples)]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (0.5, 0.3, "higher**"),
        (0.3, 0.5, "lower**"),
        (0.4, 0.38, "not significant"),
        (0.4, 0.37, "higher*"),
        (0.4, 0.4, "not significant"),
    ],
)
def test_predictions_of_the_same_samples_are_compared_in_pairs(
    first: float, second: float, says: str, tmp_path: Path
) -> None:
    ours = frame_at(tmp_path / "a", (result(metrics={"em@1": first, "em@10": first}), right(first)))
    theirs = frame_at(tmp_path / "b", (result(metrics={"em@1": second, "em@10": second}), right(second)))

    found = {row["Score"]: row for row in rows_of(compare(ours, theirs, resamples=2_000))}

    assert found["EM@1"]["Test"] == "paired bootstrap"
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

    found = {row["Score"]: row["Test"] for row in rows_of(compare(ours, theirs, resamples=100))}

    assert found["EM@1"] == "none"


def test_without_predictions_intervals_decide_and_say_so(tmp_path: Path) -> None:
    metrics = {"codebleu_codexglue": 0.35, "em@10": 0.4}
    ends = {"codebleu_codexglue": [0.33, 0.37], "em@10": [0.3, 0.5]}
    ours = frame_at(tmp_path, result("codellama-7b", dataset="conala", metrics=metrics, intervals=ends))

    found = {row["Score"]: row for row in rows_of(compare(ours, paper_rows()))}

    assert {name: row["Test"] for name, row in found.items()} == {
        "EM@10": "one interval",
        "CodeBLEU (paper's)": "one interval",
        "Training's peak memory, GB": "none",
    }
    assert found["CodeBLEU (paper's)"]["Difference is"] == "higher**"
    assert found["EM@10"]["Difference is"] == "not significant"
    # Figure 1 names no data set.
    memory = found["Training's peak memory, GB"]
    assert (memory["This"], memory["Other"]) == ("2.00", "19.06")


def test_memory_of_a_process_is_not_compared_with_a_gpus(tmp_path: Path) -> None:
    ours = frame_at(tmp_path, result("codellama-7b", dataset="conala", memory_kind=MemoryKind.cpu_peak_rss))

    assert not [row for row in rows_of(compare(ours, paper_rows())) if "memory" in row["Score"]]


def test_the_best_number_of_examples_stands_against_the_papers_best(tmp_path: Path) -> None:
    cells = [
        result("codellama-7b", "icl", "conala", num_examples=number, metrics={"em@10": share})
        for number, share in ((4, 0.2), (8, 0.31), (16, 0.25))
    ]

    (row,) = rows_of(compare(frame_at(tmp_path, *cells), paper_rows()))

    assert (row["Examples"], row["This"], row["Other"], row["Difference is"]) == ("8", "31.00", "29.83", "not tested")


def test_what_is_in_one_study_alone_is_counted(tmp_path: Path) -> None:
    ours = frame_at(tmp_path / "a", result(), result(method="ia3"))
    theirs = frame_at(tmp_path / "b", result(), result(method="prompt"), result(method="prefix"))

    table = compare(ours, theirs)

    assert any("1 configurations are in both, 1 only in this, 2 only in the other" in note for note in table.notes)
    assert {row["Method"] for row in rows_of(table)} == {"LoRA"}


def test_the_paper_equals_itself() -> None:
    table = compare(paper_rows(), paper_rows())

    assert len(table.cells) > 250
    assert {row["Difference"] for row in rows_of(table)} == {"+0.00"}
    assert compare(frame_of([]), paper_rows()).cells == ()
