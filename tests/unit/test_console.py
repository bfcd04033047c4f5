"""What a person sees of a cell on a terminal, in a log file and in the closing table."""

import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from peft_study.cli.results_table import print_results
from peft_study.console.exit import exit_quietly_on_broken_pipe
from peft_study.results.schema import MemoryKind, PhaseCost, RunResult, Status
from peft_study.tracking.base import CellStart
from peft_study.tracking.console import ConsoleTracker, print_closing_table

HOSTILE = "cell[/][bold red]x[link=file:///]\x1b[2J\r\n:smile:"
ESCAPE = "\x1b"
SHOW_CURSOR = "\x1b[?25h"
HIDE_CURSOR = "\x1b[?25l"

FULL = RunResult(
    "cell",
    "demo",
    Status.ok,
    metrics={"em@1": 0.03125, "em@10": 0.3},
    data={"sizes": {"test": 543}},
    parameters={"trainable": 4_194_304, "total": 6_742_609_920},
    training={"best_validation_loss": 1.23456},
    memory_kind=MemoryKind.cpu_peak_rss,
    phases={
        "load": PhaseCost(12.34, 13_500_000_000, None),
        "train": PhaseCost(12_345.67, 25_000_000_000, None, energy_wh=12.5),
        "generate": PhaseCost(99.0, 1_000_000_000, None),
        "score": PhaseCost(0.04, 4_000_000, None),
    },
)


def cell(name: str = "lora-tiny-1234abcd", *, resumed: bool = False) -> CellStart:
    return CellStart(
        cell_id=name,
        study="demo",
        model="tiny-llama",
        method="lora",
        dataset="minipy",
        quantization="none",
        seed=1,
        folder=Path("multirun/demo") / name,
        resumed=resumed,
    )


def ended(status: str) -> RunResult:
    return RunResult("cell", "demo", Status(status))


def run_cell(console: Console, name: str = "lora-tiny-1234abcd", *, resumed: bool = False, status: str = "ok") -> None:
    tracker = ConsoleTracker(console)
    tracker.start(cell(name, resumed=resumed))
    tracker.phase("load", None)
    tracker.phase("train", 100)
    for step in range(1, 4):
        tracker.progress(step)
        tracker.step(step, {"loss": 2.0 - step / 4, "learning_rate": 1e-4}, {})
    tracker.step(3, {"validation_loss": 1.75}, {})
    tracker.phase("generate", 10)
    tracker.progress(10)
    tracker.finish(ended(status))


def terminal() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=True, width=80, legacy_windows=False), stream


def table(result: RunResult, *, width: int = 80, folder: Path = Path("multirun/demo/cell")) -> str:
    stream = io.StringIO()
    print_closing_table(result, folder, Console(file=stream, width=width))
    return stream.getvalue()


@pytest.mark.parametrize(("resumed", "status"), [(False, "ok"), (True, "ok"), (False, "oom")])
def test_a_log_file_gets_one_plain_line_at_each_end_of_the_cell(resumed: bool, status: str) -> None:
    stream = io.StringIO()
    run_cell(Console(file=stream, width=80), resumed=resumed, status=status)
    first, last = stream.getvalue().splitlines()
    assert "multirun/demo/lora-tiny-1234abcd" in first
    assert ("resumes" in first) == resumed
    assert f"lora-tiny-1234abcd: {status} after" in last


def test_names_from_outside_cannot_drive_the_terminal() -> None:
    stream = io.StringIO()
    run_cell(Console(file=stream, width=80), HOSTILE)
    output = stream.getvalue()
    assert ESCAPE not in output
    assert "\r" not in output
    assert "cell[/][bold red]x[link=file:///]\\x1b[2J\\r\\n:smile:" in output
    assert len(output.splitlines()) == 2


def test_a_long_folder_is_never_broken_over_lines() -> None:
    stream = io.StringIO()
    name = "x" * 200
    run_cell(Console(file=stream, width=80), name)
    assert f"multirun/demo/{name}" in stream.getvalue()


def test_a_terminal_shows_phase_progress_and_the_latest_losses() -> None:
    console, stream = terminal()
    tracker = ConsoleTracker(console)
    tracker.start(cell())
    tracker.phase("train", 100)
    tracker.progress(3)
    tracker.step(3, {"loss": 1.25, "learning_rate": 1e-4}, {})
    tracker.step(3, {"validation_loss": 1.75}, {})
    tracker.finish(ended("ok"))
    shown = stream.getvalue()
    for expected in ("train", "3/100", "loss 1.2500", "val 1.7500"):
        assert expected in shown
    assert "learning_rate" not in shown


def test_losses_belong_to_their_phase() -> None:
    console, stream = terminal()
    tracker = ConsoleTracker(console)
    tracker.start(cell())
    tracker.phase("train", 2)
    tracker.step(1, {"loss": 1.25}, {})
    tracker.phase("generate", 10)
    stream.seek(0)
    stream.truncate()
    tracker.progress(5)
    tracker.finish(ended("ok"))
    generate_lines = [line for line in stream.getvalue().splitlines() if "generate" in line]
    assert generate_lines
    assert not any("loss" in line for line in generate_lines)


@pytest.mark.parametrize("status", ["ok", "failed", "preempted"])
def test_the_terminal_is_given_back_whatever_ends_the_cell(status: str) -> None:
    console, stream = terminal()
    tracker = ConsoleTracker(console)
    tracker.start(cell())
    tracker.phase("train", 100)
    tracker.finish(ended(status))
    tracker.progress(4)
    tracker.finish(ended(status))
    shown = stream.getvalue()
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)
    assert "train" not in shown[shown.rindex(SHOW_CURSOR) :]


def test_a_second_cell_on_one_tracker_starts_clean() -> None:
    console, stream = terminal()
    tracker = ConsoleTracker(console)
    tracker.start(cell("first"))
    tracker.phase("train", 100)
    tracker.start(cell("second"))
    tracker.phase("load", None)
    tracker.finish(ended("ok"))
    shown = stream.getvalue()
    assert shown.count(HIDE_CURSOR) == shown.count(SHOW_CURSOR) == 2
    assert "second: ok" in shown


def test_calls_before_any_phase_are_harmless() -> None:
    console, _ = terminal()
    tracker = ConsoleTracker(console)
    tracker.progress(1)
    tracker.step(1, {"loss": 1.0}, {})
    tracker.start(cell())
    tracker.progress(1)
    tracker.step(1, {"loss": 1.0}, {})
    tracker.finish(ended("failed"))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("status", "ok"),
        ("EM@1 ", "3.12 %"),
        ("EM@10", "30.00 %"),
        ("test samples", "543"),
        ("trainable parameters", "4,194,304 of 6,742,609,920 (0.06221 %)"),
        ("best validation loss", "1.2346"),
        ("load", "13.50 GB"),
        ("train ", "25.00 GB"),
        ("train ", "12,345.7"),
        ("generate", "99.0"),
        ("score", "0.00 GB"),
        ("train ", "12.5"),
        ("phase", "card Wh"),
        ("phase", "peak RSS"),
        ("results in", "multirun/demo/cell"),
    ],
)
def test_the_table_shows_every_number(row: str, expected: str) -> None:
    lines = [line for line in table(FULL).splitlines() if row in line]
    assert any(expected in line for line in lines), lines


@pytest.mark.parametrize(
    ("kind", "label"),
    [(MemoryKind.cpu_peak_rss, "peak RSS"), (MemoryKind.cuda_allocated, "GPU allocated"), (None, "peak memory")],
)
def test_memory_is_labelled_by_what_was_measured(kind: MemoryKind | None, label: str) -> None:
    assert label in table(replace(FULL, memory_kind=kind))


@pytest.mark.parametrize("unknown", [None, float("nan"), float("inf"), "unknown"])
def test_an_unknown_number_is_a_dash(unknown: Any) -> None:
    result = replace(
        FULL,
        metrics=dict.fromkeys(FULL.metrics, unknown),
        intervals={"em@10": [unknown, unknown]},
        data={"sizes": {"test": unknown}},
        parameters=dict.fromkeys(FULL.parameters, unknown),
        training=dict.fromkeys(FULL.training, unknown),
        phases={phase: PhaseCost(unknown, unknown, None) for phase in FULL.phases},
    )
    output = table(result)
    assert output.count("-") >= 12
    assert not any(character.isdigit() for character in output.replace("EM@10", "").replace("EM@1", ""))


def test_an_interval_of_one_end_is_unknown() -> None:
    assert "3.12 %" in table(replace(FULL, intervals={"em@1": [0.1], "em@10": [0.1, 0.2, 0.3]}))


def test_an_empty_result_has_a_table() -> None:
    assert "EM@10" in table(RunResult("cell", "demo", Status.running))


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_its_width_and_has_no_control_codes(width: int) -> None:
    output = table(FULL, width=width)
    assert max(len(line) for line in output.splitlines()) <= width
    assert ESCAPE not in output


def test_a_stream_of_ascii_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_closing_table(FULL, Path("résultats"), Console(file=stream, width=80))
    stream.flush()
    assert "r\\xe9sultats" in raw.getvalue().decode("ascii")


def test_the_table_takes_names_literally() -> None:
    output = table(FULL, folder=Path("a") / "[bold]b[/]" / HOSTILE)
    assert ESCAPE not in output
    assert "a/[bold]b[/]/cell[/][bold red]x" in output


def test_a_closed_output_ends_a_command_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    def command() -> int:
        print_results([ended("ok")])
        return 1

    with os.fdopen(writing, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert exit_quietly_on_broken_pipe(command) == 0
