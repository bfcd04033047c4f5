"""A study's rows are grouped once, whatever is made of them."""

from pathlib import Path

import pytest

from peft_study.report import study as study_module
from peft_study.report.claims.paper import check_all
from peft_study.report.figures import FIGURES
from peft_study.report.page.replicates import replicates_of
from peft_study.report.read.reference import paper_rows
from peft_study.report.read.rows import load
from peft_study.report.study import Study
from peft_study.report.tables.comparison import compare
from peft_study.report.tables.paper import TABLES
from tests.report_cells import result, study


def test_rows_are_grouped_once_a_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, paper = Study(load([study(tmp_path, result("codellama-7b", dataset="conala"))]).frame), Study(paper_rows())
    grouped: list[int] = []
    plain = study_module.groups
    monkeypatch.setattr(study_module, "groups", lambda frame: grouped.append(len(frame)) or plain(frame))

    for make in (*TABLES.values(), *FIGURES.values()):
        make(ours, paper)
    compare(ours, paper)
    check_all(ours)
    replicates_of(ours)

    assert sorted(grouped) == sorted([len(ours.frame), len(paper.frame)])


def test_rows_keep_their_order_under_new_labels(tmp_path: Path) -> None:
    frame = load([study(tmp_path, result(seed=1), result(seed=2), result(seed=3))]).frame

    (group,) = Study(frame.iloc[::-1]).groups

    assert group.frame["seed"].tolist() == [3.0, 2.0, 1.0]
    assert group.frame.index.tolist() == [0, 1, 2]


def test_only_models_that_the_other_study_names_otherwise_are_renamed() -> None:
    paper = Study(paper_rows())

    assert paper.renamed_for(["codellama-7b"]) is paper
    renamed = paper.renamed_for(["codellama-34b-python"])
    assert "codellama-34b" not in set(renamed.frame["model"])
    assert "codellama-13b" in set(renamed.frame["model"])
