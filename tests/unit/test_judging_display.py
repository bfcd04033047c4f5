"""The progress display while programs are judged."""

import io

import pytest
from rich.console import Console

from peft_study.judging import display as judging_display
from peft_study.judging.display import JudgingDisplay, Scores, print_scores


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=100, force_terminal=terminal, color_system=None), stream


def test_a_stream_gets_occasional_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    where, stream = console(terminal=False)
    with JudgingDisplay(1_300, 1_200, where) as display:
        display.judged(passed=True)
        assert stream.getvalue() == ""
        monkeypatch.setattr(judging_display, "SECONDS_BETWEEN_LINES", 0.0)
        display.judged(passed=False)

    assert stream.getvalue() == "1,202 of 1,300 candidates judged, 0:00 so far\n"


def test_a_terminal_gets_a_bar_that_is_removed_at_the_end() -> None:
    where, stream = console(terminal=True)
    with JudgingDisplay(4, 1, where) as display:
        display.judged(passed=True)
        display.judged(passed=False)

    assert "3/4" in stream.getvalue()
    assert "1 passed" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K"), "the bar's line is erased"


def test_scores_stand_side_by_side() -> None:
    where, stream = console(terminal=False)
    strict = Scores(4, 1, 2.5, {"pass": 10, "fail": 5, "timeout": 1})
    apps = Scores(4, 2, 3.0, {"pass": 12, "fail": 3, "timeout": 1})

    print_scores({"strict": strict, "apps": apps}, "V\x1b[2J.jsonl", where)

    rows = [line.split("  ") for line in stream.getvalue().splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells == [
        ["strict", "apps"],
        ["candidates", "4", "4"],
        ["passed every test", "1 (25.00 %)", "2 (50.00 %)"],
        ["tests passed, average", "62.50 %", "75.00 %"],
        ["tests: pass", "10", "12"],
        ["tests: fail", "5", "3"],
        ["tests: timeout", "1", "1"],
        ["verdicts in V\\x1b[2J.jsonl"],
    ]


def test_scores_of_nothing_are_dashes() -> None:
    where, stream = console(terminal=False)

    print_scores({"strict": Scores()}, "V.jsonl", where)

    assert "tests passed, average       -" in stream.getvalue()
