"""The pool of a sweep's processes, without a process."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from peft_study.cell.attempt import new_result
from peft_study.config.compose import compose_cell, folder_of
from peft_study.results.schema import Status
from peft_study.results.store import OUTPUT, CellFolder
from peft_study.sweep.display import SweepDisplay
from peft_study.sweep.machine import Slot
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.pool import Pool
from peft_study.sweep.processes import Starter
from peft_study.sweep.records import record_end, start_of


def test_a_process_that_cannot_start_is_not_blamed_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object) -> NoReturn:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(Starter, "start", start)
    cell = compose_cell(["model=tiny-llama", f"output_dir={tmp_path}"])
    planned = PlannedCell((), cell, folder_of(cell), None)
    (outcome,) = Pool([Slot(None, 1)], SweepDisplay([planned.folder.name], 1)).run([planned])

    assert (outcome.status, outcome.exit_code) == (Status.failed, 1)
    assert "its process cannot start" in str(outcome.reason)
    assert os.strerror(errno.EAGAIN) in str(outcome.reason)


IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def test_a_cell_that_the_sweep_killed_is_preempted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_starter: Starter, _description: object, _environment: object, output: int, _events: int) -> object:
        return subprocess.Popen([sys.executable, "-c", IGNORES_SIGTERM], stdout=output, start_new_session=True)

    cell = compose_cell(["model=tiny-llama", f"output_dir={tmp_path}"])
    planned = PlannedCell((), cell, folder_of(cell), None)
    folder = CellFolder(planned.folder)

    def interrupt(_pool: Pool) -> NoReturn:
        while "ready" not in (folder.path / OUTPUT).read_text():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(Starter, "start", start)
    monkeypatch.setattr(Pool, "_listen", interrupt)
    monkeypatch.setattr("peft_study.sweep.pool.SECONDS_TO_SAVE", 0.1)
    with pytest.raises(KeyboardInterrupt):
        Pool([Slot(None, 1)], SweepDisplay([planned.folder.name], 1)).run([planned])
    result = folder.read_result()

    assert result is not None
    assert result.status is Status.preempted
    assert "memory" not in str(result.reason)


def test_the_end_that_another_process_records_is_no_other_start(tmp_path: Path) -> None:
    cell = compose_cell(["model=tiny-llama", f"output_dir={tmp_path}"])
    planned = PlannedCell((), cell, folder_of(cell), None)
    result = new_result(cell, planned.folder)
    result.started_at = "2026-01-01T00:00:00+00:00"
    CellFolder(planned.folder).write_result(result)  # as an earlier version did, without attempts
    start = start_of(planned)

    record_end(planned, result, Status.failed, "its process ended without a result")

    assert start_of(planned) == start
