"""Signals of schedulers, sent to real processes: one record, and the turn of libraries after it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peft_study.cell.endings import classify
from peft_study.console.exit import interrupt_code
from peft_study.console.interrupts import TerminatedError, termination_raises
from peft_study.results.schema import Status

TERM, USR1, USR2, CONT = signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT


@pytest.mark.parametrize(
    "signals", [(TERM,), (USR1,), (USR2,), (CONT, TERM), (USR2, TERM), (TERM, USR2, CONT, TERM), (USR1, USR1, USR1)]
)
def test_signals_raise_once(signals: tuple[signal.Signals, ...]) -> None:
    before = [signal.getsignal(number) for number in (TERM, USR1, USR2)]
    raised = []
    with termination_raises() as gate:
        for number in signals:
            try:
                os.kill(os.getpid(), number)
            except TerminatedError as error:
                raised.append(error)
        first = next(number for number in signals if number != CONT)
        assert gate.received == first

    assert [error.number for error in raised] == [first]
    assert classify(raised[0]) == (Status.preempted, f"a signal ({first.name}) ended the process")
    assert interrupt_code(raised[0]) == 128 + first
    assert [signal.getsignal(number) for number in (TERM, USR1, USR2)] == before


def test_nothing_raises_while_a_record_is_written() -> None:
    with termination_raises() as gate:
        gate.shut()
        os.kill(os.getpid(), USR2)
        assert gate.received == USR2


def test_a_signal_counts_again_if_its_exception_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.0]
    monkeypatch.setattr("peft_study.console.interrupts.time.monotonic", lambda: seconds[0])
    with termination_raises():
        for now, raises in ((0.0, True), (1.0, False), (30.0, True)):
            seconds[0] = now
            if raises:
                with pytest.raises(TerminatedError):
                    os.kill(os.getpid(), TERM)
            else:
                os.kill(os.getpid(), TERM)


def test_a_handler_of_a_library_has_its_turn_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    before = signal.signal(USR2, lambda *_: order.append("requeued"))
    try:
        with termination_raises():
            with termination_raises() as gate:
                try:
                    os.kill(os.getpid(), USR2)
                except TerminatedError:
                    gate.shut()
                    os.kill(os.getpid(), USR2)
                    order.append("recorded")
            order.append("the outer context goes on")
        assert order == ["recorded", "the outer context goes on", "requeued"]
        with termination_raises():
            pass
        assert order[3:] == []
    finally:
        signal.signal(USR2, before)


def test_a_warning_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(USR1, signal.SIG_IGN)
    try:
        with termination_raises():
            os.kill(os.getpid(), USR1)
    finally:
        signal.signal(USR1, before)


RECORDING = """
import sys, time
from pathlib import Path
from peft_study.console.interrupts import termination_raises
with termination_raises() as gate:
    try:
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            gate.shut()
    except BaseException as error:
        for _ in range(20):
            with Path("records").open("a") as file:
                file.write(type(error).__name__ + "\\n")
            time.sleep(0.02)
"""


@pytest.mark.parametrize("first", [TERM, USR1, USR2])
def test_a_storm_of_signals_does_not_interrupt_the_record(tmp_path: Path, first: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", RECORDING], stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(first)
    for number in (TERM, CONT, USR2, TERM, USR1) * 4:
        time.sleep(0.01)
        process.send_signal(number)
    assert process.wait(30) == 0
    process.stdout.close()
    assert (tmp_path / "records").read_text().split() == ["TerminatedError"] * 20
