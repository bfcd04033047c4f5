"""Paths of the machine that a report does not tell, and texts that no spreadsheet takes for formulas."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from peft_study.report.outward import escape_formula, guarded_csv, shorten_path, shorten_paths, shorten_paths_in


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("{here}/multirun/demo", "multirun/demo"),
        ("{here}/multirun/../multirun/demo/", "multirun/demo"),
        ("{here}", "."),
        ("{here}-of-another/study/cell", "…/study/cell"),
        ("/home/somebody/secret project/study/cell", "…/study/cell"),
        ("/cell", "…/cell"),
        ("/", "…"),
        ("../elsewhere/study", "../elsewhere/study"),
        ("wandb://entity/project", "wandb://entity/project"),
        ("paper", "paper"),
        ("", ""),
    ],
)
def test_a_place_is_told_without_the_folders_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, told: str
) -> None:
    here = tmp_path / "with a space"
    here.mkdir()
    monkeypatch.chdir(here)

    assert shorten_path(place.format(here=here)) == told
    assert shorten_path(told) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[Errno 13] Permission denied: '{here}/a b/result.json'", "[Errno 13] Permission denied: 'a b/result.json'"),
        ("left out: the same cell as {here}/one/cell", "left out: the same cell as one/cell"),
        ("no such file: /home/somebody/data/train.jsonl, line 1", "no such file: …/data/train.jsonl, line 1"),
        ("https://a.b/c/d and 1/2 and/or meta-llama/7B at 3 tokens/s", None),
        ("the / and /tmp stay; ../a/b too", None),
    ],
)
def test_paths_in_a_text_are_told_likewise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str | None
) -> None:
    here = tmp_path / "with a space"
    here.mkdir()
    monkeypatch.chdir(here)

    assert shorten_paths_in(text.format(here=here)) == (text if told is None else told)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r\n=", "\n=", "\r", "\t"])
def test_what_a_spreadsheet_would_compute_is_quoted(start: str) -> None:
    assert escape_formula(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("text", ["", "a=1", "lora-7b", "(-1)", "'=1", " a", "1", "\u2013"])
def test_other_texts_stay(text: str) -> None:
    assert escape_formula(text) == text


def test_a_frame_is_guarded_but_for_its_numbers() -> None:
    frame = pd.DataFrame(
        {
            "text": pd.Series(["=1+1", None, "\ud800"], dtype=object),
            "flag": pd.Series([True, None, False], dtype=object),
            "@metric": [-0.25, float("nan"), 1e-7],
        }
    )

    rows = list(csv.reader(io.StringIO(guarded_csv(frame))))

    assert rows == [
        ["text", "flag", "'@metric"],
        ["'=1+1", "True", "-0.25"],
        ["", "", ""],
        ["\ud800", "False", "1e-07"],
    ]
    assert list(frame.columns) == ["text", "flag", "@metric"]


def test_a_frames_places_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(
        {
            "folder": pd.Series([f"{tmp_path}/study/cell", None], dtype=object),
            "source": pd.Series([str(tmp_path), "wandb://a/b"], dtype=object),
            "model": pd.Series(["a", "b"], dtype=object),
        }
    )

    told = shorten_paths(frame)

    assert told["folder"].tolist() == ["study/cell", None]
    assert told["source"].tolist() == [".", "wandb://a/b"]
    assert frame["folder"][0] == f"{tmp_path}/study/cell"
