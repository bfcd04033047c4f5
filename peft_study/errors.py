"""The error that a user caused and can mend."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something outside the code is wrong, and the person who ran the command can put it right.

    The command line prints it on one screen, without a traceback, and exits with status 2.

    Args:
        what: what is wrong, one sentence without a full stop.
        where: the file and line, or the setting, in which it is wrong.
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
        return (_rebuild, (self.what, self.where, self.hint))


def _rebuild(what: str, where: str | None, hint: str | None) -> UserError:
    return UserError(what, where=where, hint=hint)


def near_names(name: str, known: Iterable[str]) -> str:
    """Say which known names a mistyped one may have meant.

    Returns:
        "did you mean 'a' or 'b'? " (with the trailing space) where some are close, followed by every known name.
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(repr(option) for option in close)}? " if close else ""
    return f"{meant}known: {', '.join(names)}"
