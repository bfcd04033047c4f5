"""`python -m peft_study status`: what is shown of cells in every state, and of folders that are damaged."""

import io
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from peft_study.cell.attempt import new_result
from peft_study.cli.status.cells import CellState
from peft_study.cli.status.command import main
from peft_study.cli.status.display import live_status
from peft_study.cli.status.summary import summarize
from peft_study.results.folders import Problem
from peft_study.results.lease import LEASE, STALE_SECONDS, Lease
from peft_study.results.schema import PhaseCost, Status
from peft_study.results.store import CellFolder
from peft_study.results.sweep_record import write_sweep
from peft_study.sweep.command import plan_command
from peft_study.sweep.plan import PlannedCell

ENDS = {
    1: (Status.ok, None),
    2: (Status.ok, None),
    3: (Status.failed, "OSError: disk 17 is full\nthe second line"),
    4: (Status.failed, "OSError: disk 4 is full"),
    5: (Status.oom, "out of memory: tried to allocate 2.50 GiB"),
    6: (Status.diverged, "the loss is nan"),
    7: (Status.infeasible, "quantization.bits must be 4 or 8, got 5"),
    8: (Status.preempted, "a signal ended the process"),
}
SECONDS = 30.0
COMMAND = [sys.executable, "-m", "peft_study", "status"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def study() -> Path:
    """A sweep of ten cells that ended as `ENDS` says; two wait."""
    cells = plan_command(["model=tiny-llama", "seed=range(1,11)", "study.name=table"])
    for cell in cells:
        if cell.cell.seed in ENDS:
            leave(cell, *ENDS[cell.cell.seed])
    write_sweep([(cell.cell, cell.folder) for cell in cells], "local")
    return cells[0].folder.parent


def leave(cell: PlannedCell, status: Status, reason: str | None = None) -> Path:
    """Leave the result of a cell, and return its folder."""
    result = new_result(cell.cell, cell.folder)
    result.status, result.reason = status, reason
    result.started_at = datetime.now(UTC).isoformat(timespec="seconds")
    if status is Status.ok:
        result.phases = {"train": PhaseCost(SECONDS * 2 / 3, 1, None), "generate": PhaseCost(SECONDS / 3, 1, None)}
    CellFolder(cell.folder).write_result(result)
    (cell.folder / "log.txt").write_text("a line\n")
    return cell.folder


def running(seed: int, lease: Lease | None, status: Status = Status.running) -> Path:
    """Leave a cell with a lease."""
    (cell,) = plan_command(["model=tiny-llama", f"seed={seed}", "study.name=table"])
    folder = leave(cell, status)
    if lease is not None:
        (folder / LEASE).write_text(json.dumps(asdict(lease)))
    return folder


def elsewhere(seconds_ago: float) -> Lease:
    """A lease of another machine, whose last heartbeat was so long ago."""
    beat = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    return Lease("node7", 4321, "18_1", beat, beat, boot="another kernel", token="x")


def status_json(capsys: pytest.CaptureFixture[str], folder: Path | str = "multirun") -> dict[str, object]:
    """What `--json` prints."""
    assert main([str(folder), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert isinstance(record, dict)
    return record


def status_text(capsys: pytest.CaptureFixture[str], folder: Path | str = "multirun") -> str:
    """What is printed for a person."""
    assert main([str(folder)]) == 0
    return capsys.readouterr().out


def test_counts_are_those_of_grep(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grep = ["grep", "-rhoE", "--include=result.json", '^  "status": "[a-z]+"', str(study)]
    lines = subprocess.run(grep, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    statuses = [line.split('"')[3] for line in lines]

    record = status_json(capsys)

    assert record["states"] == {status: statuses.count(status) for status in statuses} | {"waiting": 2}
    assert record["cells"] == 10


def test_failures_are_grouped_by_reason_whatever_its_numbers(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failures = status_json(capsys)["failures"]
    text = status_text(capsys)

    assert isinstance(failures, list)
    counts = [(group["state"], group["count"]) for group in failures]
    assert counts == [("failed", 2), ("oom", 1), ("diverged", 1), ("infeasible", 1)]
    assert failures[0]["reason"] == "OSError: disk 17 is full\nthe second line"
    assert Path(failures[0]["log"]).read_text() == "a line\n"
    lines = text.splitlines()
    first = lines.index("2 failed: OSError: disk 17 is full")
    assert lines[first + 1 : first + 3] == ["  the second line", f"  {failures[0]['log']}"]


@pytest.mark.usefixtures("study")
def test_time_left_follows_from_finished_replicates(capsys: pytest.CaptureFixture[str]) -> None:
    record = status_json(capsys)

    # Of two finished replicates, for a cell that was interrupted and two that wait.
    assert record["work_seconds_left"] == 3 * SECONDS
    assert record["cells_of_unknown_time"] == 0
    assert record["seconds_left"] is None
    running(8, elsewhere(1.0))
    running(9, elsewhere(1.0))
    assert status_json(capsys)["seconds_left"] == 1.5 * SECONDS
    assert "1:30 of work left; about 0:45 with 2 at a time" in status_text(capsys)


def test_running_cells_show_who_runs_them(capsys: pytest.CaptureFixture[str]) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    here = Lease.of_this_process()
    running(1, here)
    running(2, replace(here, process=ended.pid))
    running(3, elsewhere(5.0))
    running(4, elsewhere(STALE_SECONDS + 5.0))
    running(5, None)
    running(9, elsewhere(-3600.0))  # its clock is ahead
    running(6, here, Status.ok)  # rerun=true: the earlier result stays until the cell is loaded
    running(7, replace(here, process=ended.pid), Status.failed)
    torn = running(8, here)
    (torn / LEASE).write_text("{")
    starting = torn.parent / "starting"
    starting.mkdir()
    (starting / LEASE).write_text(json.dumps(asdict(here)))

    record = status_json(capsys)
    text = status_text(capsys)

    assert isinstance(record["running"], list)
    cells = {cell["cell_id"].partition("_s")[2].partition("-")[0] or "starting": cell for cell in record["running"]}
    states = {seed: cell["state"] for seed, cell in cells.items()}
    assert states == {
        "1": "running",
        "2": "stale",
        "3": "running",
        "4": "stale",
        "5": "running",
        "6": "running",
        "8": "running",
        "9": "running",
        "starting": "running",
    }
    assert record["states"] == {"running": 7, "stale": 2, "failed": 1}
    assert (cells["3"]["host"], cells["3"]["job"]) == ("node7", "18_1")
    assert 5.0 <= cells["3"]["beat_seconds_ago"] < 60.0
    assert cells["5"]["beat_seconds_ago"] is None
    assert 0.0 <= cells["5"]["written_seconds_ago"] < 60.0
    rows = {line.split()[0]: line.split() for line in text.splitlines() if "_s" in line}
    assert rows[cells["3"]["cell_id"]][1] == "beat"
    assert rows[cells["3"]["cell_id"]][-2:] == ["node7", "18_1"]
    assert rows[cells["5"]["cell_id"]][1] == "write"
    assert {rows[cells[seed]["cell_id"]][1] for seed in "24"} == {"stale"}
    assert rows[cells["9"]["cell_id"]][1] == "ahead"


HOSTILE = "\x1b[2J\x1b[31mred[/] [bold]\u202etxt\r\x07\x00 \ud800"


def test_hostile_text_is_shown_and_does_nothing(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (study / "plain", study / "with\x1b[2Jescape"):
        path.mkdir()
        shutil.copy(next(study.glob("*_s3-*")) / "result.json", path)
        record = json.loads((path / "result.json").read_text())
        (path / "result.json").write_text(json.dumps(record | {"reason": HOSTILE * 500, "cell_id": HOSTILE}))
        (path / LEASE).write_text(json.dumps(asdict(replace(elsewhere(0.0), host=HOSTILE, job=HOSTILE))))
    (study / "plain" / LEASE).unlink()

    text = status_text(capsys)

    assert all(character.isprintable() or character == "\n" for character in text)
    assert "[bold]" in text
    assert max(map(len, text.splitlines())) < 5_000
    json.dumps(status_json(capsys))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"schema_version": 1, "status": "o', "invalid JSON"),
        (b"", "invalid JSON"),
        (b"\xff\xfe", "invalid JSON"),
        (b"[" * 100_000, "invalid JSON"),
        (b'{"schema_version": 99}', "newer"),
        (b'{"schema_version": 1, "status": "odd"}', "odd"),
        (b'{"schema_version": 1, "status": "ok", "cell_id": 1, "study": 2, "phases": {"train": {"seconds": "x",'
         b' "peak_bytes": 1, "reserved_bytes": 1}}, "config": {"hardware": 3}, "started_at": 4, "reason": {}}', None),
    ],
)  # fmt: skip
def test_a_damaged_result_hides_no_other(
    study: Path, capsys: pytest.CaptureFixture[str], content: bytes, says: str | None
) -> None:
    (next(study.glob("*_s1-*")) / "result.json").write_bytes(content)

    record = status_json(capsys)
    text = status_text(capsys)

    assert record["cells"] == 10
    states = record["states"]
    assert isinstance(states, dict)
    assert states.get("unreadable", 0) == (says is not None)
    assert says is None or f"1 unreadable: result.json: {says}" in text or says in text


@pytest.mark.parametrize("content", ["{", "[]", '{"launcher": "local", "started_at": "", "cells": [{"cell_id": []}]}'])
def test_a_damaged_plan_of_a_sweep_is_told(study: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    (study / "sweep.json").write_text(content)

    record = status_json(capsys)

    assert record["cells"] == 8
    assert isinstance(record["problems"], list)
    assert [problem["where"] for problem in record["problems"]] == [str(Path("multirun/table/sweep.json"))]


def test_inside_of_a_cells_folder_the_cell_has_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = running(1, Lease.of_this_process())
    monkeypatch.chdir(folder)

    (cell,) = status_json(capsys, ".")["running"]  # type: ignore[misc,attr-defined]

    assert cell["cell_id"] == folder.name


def test_a_cell_and_an_empty_folder(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_json(capsys, next(study.glob("*_s1-*")))["states"] == {"ok": 1}
    empty = study / "empty"
    empty.mkdir()
    assert status_json(capsys, empty)["cells"] == 0
    assert "0 cells\nno result.json" in status_text(capsys, empty)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nosuch"], "nosuch"),
        (["file"], "FOLDER"),
        ([".", "--every", "0"], "--every"),
        ([".", "--every=nan"], "--every"),
    ],
)
def test_a_wrong_command_is_explained(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")

    assert main(arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--json"], ["--watch", "--every=0.1"], ["--watch", "--json", "--every=0.1"]])
def test_a_closed_pipe_ends_the_command_quietly(study: Path, options: list[str]) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(study), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdout.readline()
        process.stdout.close()
        (study / "sweep.json").unlink()  # the counts change, so that the watch writes again
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_watch_follows_the_cells_on_a_terminal(study: Path) -> None:
    terminal, remote = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [*COMMAND, str(study), "--watch", "--every", "0.2"], stdin=remote, stdout=remote, stderr=remote, env=environment
    )
    os.close(remote)
    try:
        read_until(terminal, "2 waiting")
        running(9, Lease.of_this_process())
        shown = read_until(terminal, "1 waiting")
        assert f"pid {os.getpid()}" in shown + read_until(terminal, "left")
    finally:
        process.terminate()
        read_until(terminal, "not affected")
        assert process.wait() == 143
        os.close(terminal)


def read_until(terminal: int, text: str) -> str:
    """Read what a terminal shows until a text is in it."""
    shown, deadline = "", time.monotonic() + 60
    while text not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 1.0)[0]:
            shown += os.read(terminal, 65_536).decode(errors="replace")
    return shown


def test_a_terminal_of_80_columns_shows_whole_lines_and_the_ends_of_names() -> None:
    lease = replace(elsewhere(5.0), host="gpu-node-017.cluster.example.org", job="12345678901_1234")
    cells = [
        CellState(f"codellama-7b-python_lora_codealpacapy_nf4_s42-{number:08x}", Path("cell"), state, lease=lease)
        for number in range(30)
        for state in ("running", "stale")
    ]
    reasons = ["NameError: " + letter * 100 for letter in "abcdefghijkl"]
    cells += [CellState("c", Path("multirun", "long" * 30), "failed", reason) for reason in reasons]
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=24, force_terminal=True, color_system=None)

    console.print(live_status(summarize(Path("multirun"), cells, [Problem("a" * 90, "b")]), console))

    lines = stream.getvalue().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    row = next(line.split() for line in lines if "00000000" in line)
    assert row[0].startswith("codellama")
    assert row[0].endswith("-00000000")
    assert row[1:5] == ["stale", "0:05", "-", "gpu-node-017"]
    assert row[5].endswith("_1234")
    assert sum("failed" in line for line in lines[1:]) == 4


@pytest.mark.slow
def test_ten_thousand_cells_take_seconds(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = next(study.glob("*_s1-*")) / "result.json"
    for number in range(10_000):
        folder = Path("many", f"study{number % 10}", f"cell{number:05}")
        folder.mkdir(parents=True)
        shutil.copy(source, folder)
    began = time.monotonic()

    record = status_json(capsys, "many")

    assert record["states"] == {"ok": 10_000}
    assert time.monotonic() - began < 20.0, "2 to 6 s on two shared cores"
