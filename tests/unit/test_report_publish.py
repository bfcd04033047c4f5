"""Where a report may go, and that it appears whole or not at all."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_study.errors import UserError
from peft_study.report.publish import check_replaceable, published


def publish(out: Path, text: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    with published(out, {"sources": ["x"]}) as folder:
        (folder / "tables").mkdir()
        (folder / "tables" / "a.md").write_text(text)
        (folder / "index.html").write_text(text)
        meanwhile()


def test_a_report_replaces_an_earlier_one(tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    publish(out, "first")
    publish(out, "second")

    assert (out / "tables" / "a.md").read_text() == "second"
    assert json.loads((out / "report.json").read_text()) == {"sources": ["x"], "files": ["index.html", "tables/a.md"]}
    assert [path.name for path in out.parent.iterdir()] == ["report"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_what_ends_early_leaves_the_earlier_report(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "report"
    publish(out, "whole")

    def end() -> None:
        raise error

    with pytest.raises(error):
        publish(out, "half", end)

    assert (out / "index.html").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    publish(tmp_path / "real", "first")
    (tmp_path / "link").symlink_to("real")
    publish(tmp_path / "link", "second")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "index.html").read_text() == "second"


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    publish(tmp_path / "report", "first")

    assert (tmp_path / "report" / "index.html").exists()


@pytest.mark.parametrize("name", ["thesis/chapter.tex", "report/notes.txt"])
def test_what_no_report_wrote_is_not_replaced(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if file.parent.name == "report":
        publish(file.parent, "first")
    file.parent.mkdir(exist_ok=True)
    file.write_text("years of work")

    with pytest.raises(UserError, match=file.name):
        publish(file.parent, "second")

    assert file.read_text() == "years of work"


@pytest.mark.parametrize("is_report", [False, True])
def test_a_large_folder_is_refused_before_it_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_report: bool
) -> None:
    home = tmp_path / "home"
    if is_report:
        publish(home, "first")
    for number in range(300):
        (home / f"project-{number}" / "src").mkdir(parents=True)
        (home / f"project-{number}" / "src" / "main.py").touch()
    searched: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: searched.append(folder) or scandir(folder))

    with pytest.raises(UserError, match=r"main\.py"):
        check_replaceable(home)

    assert len(searched) < 20


def test_a_tree_of_any_depth_is_refused(tmp_path: Path) -> None:
    before = Path.cwd()
    (tmp_path / "out").mkdir()
    try:
        os.chdir(tmp_path / "out")
        # Longer than a path may be.
        for _ in range(30):
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
        Path("thesis.tex").touch()
        with pytest.raises(UserError, match="which no report wrote"):
            check_replaceable(tmp_path / "out")
    finally:
        os.chdir(before)


def test_folders_without_a_file_will_do(tmp_path: Path) -> None:
    (tmp_path / "report" / "tables" / "old").mkdir(parents=True)
    publish(tmp_path / "report", "first")

    assert (tmp_path / "report" / "index.html").exists()


def test_a_link_to_a_folder_is_not_replaced(tmp_path: Path) -> None:
    publish(tmp_path / "report", "first")
    (tmp_path / "report" / "data").symlink_to(tmp_path)

    with pytest.raises(UserError, match="'data'"):
        publish(tmp_path / "report", "second")


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "report"

    def put_there() -> None:
        out.mkdir()
        (out / "thesis.tex").write_text("years of work")

    with pytest.raises(UserError, match=r"thesis\.tex"):
        publish(out, "new", put_there)

    assert (out / "thesis.tex").read_text() == "years of work"


def test_a_file_in_its_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("")

    with pytest.raises(UserError, match="--out"):
        check_replaceable(tmp_path / "report")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match="cannot be written"), published(tmp_path / "file" / "report", {}):
        pass
