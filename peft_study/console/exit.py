"""How a command ends: its exit code, and what it prints when it ends early."""

import os
import signal
import sys
from collections.abc import Callable

from peft_study.console.interrupts import TerminatedError, termination_raises
from peft_study.console.messages import print_error, print_line
from peft_study.errors import UserError

EXIT_OK, EXIT_FAILED, EXIT_USER_ERROR = 0, 1, 2
EXIT_BUSY = 75
"""Of the process of a sweep's cell that another process runs; EX_TEMPFAIL of sysexits.h."""


def run_command(work: Callable[[], int], *, interrupted: str) -> int:
    """Run a command, and turn errors and interrupts into messages and exit codes.

    Args:
        work: does the work and returns the exit code.
        interrupted: printed after an interrupt: what is kept, and how to resume.

    Returns:
        the code that `work` returned; 2 after a `UserError`, which is printed; 128 plus the number of the signal after
        Ctrl-C or a scheduler's signal.
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
    """Return the exit code after an interrupt: 130 after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1."""
    # As shells report a process that a signal ended.
    return 128 + (interrupt.number if isinstance(interrupt, TerminatedError) else signal.SIGINT)


def exit_quietly_on_broken_pipe(main: Callable[[], int]) -> int:
    """Run a command's main function. An output that is closed early (`| head`) does not count as an error.

    Args:
        main: returns the exit code.

    Returns:
        that code, or 0 if the output was closed before `main` returned.
    """
    code = 0
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout again when it exits, and would print an error then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
