"""How a command ends: its exit code, and what the person is told of an end that came early."""

import signal
from collections.abc import Callable

from peft_study.console.interrupts import TerminatedError, termination_raises
from peft_study.console.messages import print_error, print_line
from peft_study.errors import UserError

EXIT_OK, EXIT_FAILED, EXIT_USER_ERROR = 0, 1, 2


def run_command(work: Callable[[], int], *, interrupted: str) -> int:
    """Do a command's work, and end as every command does.

    Args:
        work: returns the exit code.
        interrupted: said after an interrupt: what stays, and how to go on.

    Returns:
        that code; 2 after an error that the person can mend, which is printed; 128 and the number of the signal after
        Ctrl-C or SIGTERM.
    """
    try:
        with termination_raises():
            return work()
    except KeyboardInterrupt as interrupt:
        print_line(f"interrupted; {interrupted}")
        return interrupt_code(interrupt)
    except UserError as error:
        print_error(error)
        return EXIT_USER_ERROR


def interrupt_code(interrupt: KeyboardInterrupt) -> int:
    """The exit code after an interrupt: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, TerminatedError) else signal.SIGINT)
