"""What a person sees of a sweep: lines, the live table, the closing table, and the pipe that feeds them."""

import io
import os
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from peft_study.cli.results_table import print_results, rows
from peft_study.results.schema import MemoryKind, PhaseCost, RunResult, Status
from peft_study.sweep.display import SweepDisplay
from peft_study.tracking.events import EventTracker, Progress


def console(*, terminal: bool, height: int = 40) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=150, height=height, force_terminal=terminal, color_system=None), stream


def test_a_stream_gets_a_line_when_a_cell_begins_and_ends() -> None:
    where, stream = console(terminal=False)
    with SweepDisplay(["a", "b", "c"], 2, where) as display:
        display.started("a")
        display.started("b")
        display.ended("a", "ok", None)
        display.ended("b", "failed", "it broke\nin detail")
        display.ended("c", "ok", None)
    lines = stream.getvalue().splitlines()
    assert lines[:3] == ["3 cells, 2 at a time", "a: started", "b: started"]
    assert lines[3].startswith("[1/3] a: ok after 0 s")
    assert lines[4].startswith("[2/3] b: failed after 0 s: it broke")
    assert lines[5] == "[3/3] c: done before"
    assert "in detail" not in stream.getvalue()


def test_a_terminal_gets_a_table_of_what_each_cell_does() -> None:
    where, stream = console(terminal=True)
    with SweepDisplay(["cell-a", "cell-b"], 1, where) as display:
        display.started("cell-a")
        display.progress("cell-a", Progress("train", 50, 200, 10.0, 1.25, 0.5, 2_000_000_000))
        where.print(display._render())
    shown = next(line for line in stream.getvalue().splitlines() if "1.250" in line)
    for part in ("cell-a", "running", "train", "50/200", "0.500", "2.00 GB", "0:30"):
        assert part in shown
    assert "2 cells: 1 running, 1 waiting" in stream.getvalue()


def test_more_cells_than_lines_show_the_running_and_the_failed() -> None:
    where, stream = console(terminal=True, height=12)
    names = [f"cell-{number:03}" for number in range(100)]
    with SweepDisplay(names, 2, where) as display:
        for name in names[:50]:
            display.started(name)
            display.ended(name, "ok" if name != "cell-007" else "oom", None)
        display.started("cell-070")
        where.print(display._render())
    table = stream.getvalue()
    assert "cell-070" in table
    assert "cell-007" in table
    assert "cell-099" not in table
    assert "1 oom, 1 running" in table.replace("49 ok, ", "")


def test_the_time_left_counts_cells_by_those_that_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("peft_study.sweep.display.time.monotonic", lambda: now[0])
    where, stream = console(terminal=False)
    display = SweepDisplay([f"c{number}" for number in range(6)], 2, where)
    display.started("c0")
    display.ended("c5", "ok", None)  # done before: says nothing about how long a cell takes
    assert "left" not in stream.getvalue()
    now[0] = 100.0
    display.ended("c0", "ok", None)
    assert "(3:20 left)" in stream.getvalue()  # four cells of 100 s, two at a time


def result(method: str, seed: int, em: float | None, status: Status = Status.ok, bits: str = "none") -> RunResult:
    names = {"model": "tiny-codegen", "method": method, "dataset": "minipy", "quantization": bits}
    cost = PhaseCost(10.0 * seed, 1_000_000_000 * seed, None)
    return RunResult(
        f"{method}-{seed}",
        "s",
        status,
        config={"seed": seed, **{group: {"name": name} for group, name in names.items()}},
        metrics={} if em is None else {"em@1": em, "em@10": em},
        parameters={"trainable": 1_234},
        data={"sizes": {"test": 400}},
        phases={"load": PhaseCost(1.0, 9_000_000_000, None), "train": cost, "generate": cost},
        memory_kind=MemoryKind.cpu_peak_rss,
    )


def test_the_closing_table_takes_seeds_together() -> None:
    results = [
        result("lora", 1, 0.5),
        result("full", 1, 0.9),
        result("lora", 3, 0.7),
        result("lora", 2, 0.6, bits="nf4"),
    ]
    assert [(row.method, len(row.results)) for row in rows(results)] == [("lora", 2), ("full", 1), ("lora-nf4", 1)]
    where, stream = console(terminal=False)
    print_results(results, where)
    table = {line.split()[1]: line for line in stream.getvalue().splitlines() if line.strip().startswith("tiny-")}
    # Two seeds, 20 points apart, say next to nothing of the method.
    assert table["lora"].split()[2:] == ["2", *["60.0", "0-100"] * 2, "1.23k", "20", "20", "3.00"]
    assert table["full"].split()[2:] == ["1", *["90.0", "87-93"] * 2, "1.23k", "10", "10", "1.00"]


def test_the_closing_table_does_not_score_what_is_not_done() -> None:
    where, stream = console(terminal=False)
    print_results(
        [result("lora", 1, None, Status.failed), result("lora", 2, 0.5), result("full", 1, None, Status.oom)], where
    )
    table = stream.getvalue()
    assert "1 of 2 (failed)" in table
    assert "0 of 1 (oom)" in table
    assert "50.0 45-55" in table


@pytest.mark.parametrize(
    ("model", "left_out", "cut"),
    [
        ("tiny-llama", "", False),
        ("codellama-34b-python", "trained", False),
        ("a-model-of-a-person-with-a-name", "trained, train s, gen. s", False),
        ("a-model-of-a-person-with-a-name" * 3, "cells, trained, train s, gen. s, GB", True),
    ],
)
def test_the_closing_table_fits_80_columns(model: str, left_out: str, cut: bool) -> None:
    stream = io.StringIO()
    wide = [result("zero-shot", seed, 0.5 + seed / 10) for seed in (1, 2, 3)]
    for each in wide:
        each.config["model"]["name"] = model

    print_results(wide, Console(file=stream, width=80))

    shown = stream.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("70.0 49-91") == 2  # numbers are never cut
    assert ("…" in shown) == cut
    assert (f"({left_out}: " in shown) == bool(left_out)


@pytest.mark.parametrize("width", [34, 40, 60, 80, 100, 150])
def test_the_closing_table_never_cuts_a_number(width: int) -> None:
    results = [result("lora", 1, None, Status.failed), *(result("lora", seed, 0.6) for seed in (2, 3))]
    results += [result("full", seed, 1.0) for seed in (1, 2)]
    results[-1].config["dataset"]["name"] = results[-2].config["dataset"]["name"] = "\u6570\u636e\u96c6" * 5
    narrow, wide = io.StringIO(), io.StringIO()

    print_results(results, Console(file=narrow, width=width))
    print_results(results, Console(file=wide, width=200))

    scores = re.compile(r"\d+\.\d \d+-\d+")
    assert set(scores.findall(narrow.getvalue())) == set(scores.findall(wide.getvalue()))
    table = [line for line in narrow.getvalue().splitlines() if "no room" not in line]
    assert all(cell_len(line) <= width for line in table)


def test_progress_crosses_a_pipe() -> None:
    reading, writing = os.pipe()
    tracker = EventTracker(writing, lambda: 5)
    tracker.phase("train", 100)
    tracker.step(1, {"loss": 2.0, "validation_loss": 3.0}, {})
    tracker.progress(100)
    lines = os.read(reading, 10_000).splitlines()
    assert Progress.from_line(lines[0]).phase == "train"
    last = Progress.from_line(lines[-1])
    assert (last.done, last.total, last.loss, last.validation_loss, last.peak_bytes) == (100, 100, 2.0, 3.0, 5)
    os.close(reading)
    tracker.phase("generate", None)  # nobody listens any more: no error
    os.close(writing)


def test_a_full_pipe_keeps_no_cell_waiting() -> None:
    reading, writing = os.pipe()
    tracker = EventTracker(writing, lambda: None)
    for _ in range(2_000):
        tracker.phase("train", 1)
    received = os.read(reading, 1_000_000)
    assert received.endswith(b"\n")
    assert all(Progress.from_line(line).phase == "train" for line in received.splitlines())
    os.close(reading)
    os.close(writing)
