"""The error that the user can correct."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial


class UserError(Exception):
    """The input is wrong: a setting, a file or the machine. The user can correct it.

    The command line prints the error on one screen, without a traceback, and exits with code 2.

    Args:
        what: what is wrong, one sentence without a full stop.
        where: the file and line, or the setting, that is wrong.
        hint: the next thing to try.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.hint:
            lines.append(f"  try:   {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return partial(UserError, where=self.where, hint=self.hint), (self.what,)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its class if the text is empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def near_names(name: str, options: Iterable[str]) -> str:
    """Suggest the options that a mistyped name may mean.

    Args:
        name: what the user typed.
        options: the names that exist.

    Returns:
        "did you mean 'a' or 'b'? " (with the trailing space) if some are close, followed by all options.
    """
    names = sorted(options)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    suggestion = f"did you mean {' or '.join(repr(option) for option in close)}? " if close else ""
    return f"{suggestion}known: {', '.join(names)}"
