"""Prints messages and progress to the standard error stream."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.text import Text

from peft_study.console.redaction import redact_message
from peft_study.errors import UserError

_EVERY_SECONDS = 20.0


class ResultConsole(Console):
    """The standard output. A closed pipe ends the command quietly (`exit.exit_quietly_on_broken_pipe`).

    Args:
        width: characters in a line; None for those of the terminal.
    """

    def __init__(self, width: int | None = None) -> None:
        super().__init__(width=width, emoji=False)

    def on_broken_pipe(self) -> None:
        """See `Console.on_broken_pipe`, which would end the process with exit code 1."""
        raise BrokenPipeError


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console that prints a name such as ":bug:" as it is, and so need not load rich's table of emoji.

    Args:
        stderr: print to the standard error stream, else to the standard output.
    """
    return Console(stderr=True, emoji=False) if stderr else ResultConsole()


def print_line(line: str) -> None:
    """Print one line without wrapping or markup."""
    console = plain_console(stderr=True)
    console.print(Text(_printable_lines(line, console)), soft_wrap=True)


def spinner(what: str) -> AbstractContextManager[object]:
    """Show on a terminal that something takes a while. Elsewhere, show nothing."""
    # The standard output holds results, which may be piped.
    console = plain_console(stderr=True)
    return console.status(Text(what)) if console.is_terminal else nullcontext()


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of something: at every step on a terminal, else one line every `_EVERY_SECONDS`.

    Args:
        what: description of the work, such as "predicting memory".

    Yields:
        a function to call with the number of steps done and the number of all steps.
    """
    console = plain_console(stderr=True)
    if console.is_terminal:
        with console.status(Text(f"{what} ...")) as status:
            yield lambda done, total: status.update(Text(f"{what}: {done:,} of {total:,} ..."))
        return
    last = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_SECONDS:
            last = time.monotonic()
            print_line(f"{what}: {done:,} of {total:,} ...")

    yield advance


def print_error(error: UserError) -> None:
    """Print what is wrong, where, and what to try."""
    console = plain_console(stderr=True)
    text = _printable_lines(str(error), console)
    console.print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)


def printable(text: str, console: Console) -> str:
    """Escape control characters, which a folder name may hold, and characters that the encoding of the console lacks.

    Args:
        text: one line.
        console: the console that will print it.
    """
    # Otherwise a name could move the cursor or clear the screen, and a Latin-1 terminal would raise UnicodeEncodeError.
    escaped = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return escaped.encode(console.encoding, "backslashreplace").decode(console.encoding)


def _printable_lines(text: str, console: Console) -> str:
    # In a sweep, the output of a cell is a file in its folder.
    return "\n".join(printable(line, console) for line in redact_message(text).split("\n"))
