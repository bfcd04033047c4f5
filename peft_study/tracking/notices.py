"""Single lines for the person at the command line."""

from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.text import Text

from peft_study.errors import UserError


def say(line: str) -> None:
    """Print one line to the standard error stream, as it is."""
    console = Console(stderr=True)
    console.print(Text(_printable_lines(line, console)), soft_wrap=True)


def busy(what: str) -> AbstractContextManager[object]:
    """Show on a terminal that something takes a while; elsewhere nothing."""
    console = Console(stderr=True)
    return console.status(Text(what)) if console.is_terminal else nullcontext()


def complain(error: UserError) -> None:
    """Print an error that the person can mend: what, where, what to try."""
    console = Console(stderr=True)
    text = _printable_lines(str(error), console)
    console.print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)


def printable(text: str, console: Console) -> str:
    """Escape what would drive the terminal (a folder name may hold an escape code) or what its encoding lacks."""
    escaped = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return escaped.encode(console.encoding, "backslashreplace").decode(console.encoding)


def _printable_lines(text: str, console: Console) -> str:
    return "\n".join(printable(line, console) for line in text.split("\n"))
