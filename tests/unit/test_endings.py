"""How every command ends."""

import os
import signal
from collections.abc import Callable

import pytest

from peft_study.console.exit import run_command
from peft_study.console.interrupts import TerminatedError
from peft_study.errors import UserError


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


def asked_to_end() -> int:
    os.kill(os.getpid(), signal.SIGTERM)
    # Python acts on a signal between two steps.
    signal.pause()
    return 0


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (lambda: 0, 0, ""),
        (lambda: 1, 1, ""),
        (
            raising(UserError("no such folder", where="x", hint="y")),
            2,
            "error: no such folder\n  where: x\n  try:   y\n",
        ),
        (raising(KeyboardInterrupt()), 130, "interrupted; all stays\n"),
        (raising(TerminatedError()), 143, "interrupted; all stays\n"),
        (asked_to_end, 143, "interrupted; all stays\n"),
    ],
)
def test_a_command_ends_with_a_code_and_a_word(
    capfd: pytest.CaptureFixture[str], work: Callable[[], int], code: int, said: str
) -> None:
    assert run_command(work, interrupted="all stays") == code
    assert capfd.readouterr() == ("", said)


def test_an_error_of_the_code_itself_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(raising(ZeroDivisionError()), interrupted="all stays")
