"""Prepares what leaves the machine with a report: paths, and texts in CSV files."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

_KEPT_COMPONENTS = 2
# Two components at least, so that "1/2", "and/or" and the path of an address do not match.
_ABSOLUTE = re.compile(r"""(?<![\w./:~…-])/(?:[^\s/'"`<>|:,;()]+/)+[^\s/'"`<>|:,;()]+""")
# The characters are those of OWASP's page "CSV Injection".
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def shorten_path(path: str) -> str:
    """Shorten a path, so that a report does not name the folders above.

    Args:
        path: a path or an address.

    Returns:
        An absolute path relative to the current directory if it is below it, otherwise its last two components after
        "…/". Anything else is unchanged.
    """
    if not Path(path).is_absolute():
        return path
    # The path may no longer exist, so it is not resolved.
    absolute, current = Path(os.path.normpath(path)), Path.cwd()
    if absolute.is_relative_to(current):
        return str(absolute.relative_to(current))
    return "/".join(("…", *absolute.parts[1:][-_KEPT_COMPONENTS:]))


def shorten_paths_in(text: str) -> str:
    """Shorten the absolute paths in a text, such as an error message; see `shorten_path`."""
    # The current directory first, by its name, as its folders may have spaces in their names.
    below = re.compile(rf"(?<![\w./-]){re.escape(str(Path.cwd()))}/(?=[^/\s])")
    return _ABSOLUTE.sub(lambda path: shorten_path(path[0]), below.sub("", text))


def shorten_paths(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of rows without absolute paths in their folders, sources and reasons.

    Args:
        frame: with the columns of `rows.load`.
    """
    # A reason can be a whole log, with paths in the middle of it.
    return _with_texts(frame, {"folder": shorten_path, "source": shorten_path, "reason": shorten_paths_in})


def escape_formula(text: str) -> str:
    """Put a single quote before a text that a spreadsheet would take for a formula.

    Args:
        text: a heading or a cell of a CSV file that is not a number.
    """
    # A model's output could otherwise become a formula, which may run a command when the file is opened.
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def guarded_csv(frame: pd.DataFrame) -> str:
    """Write a frame as CSV without its index; headings and texts are escaped, numbers are as pandas writes them."""
    safe = _with_texts(frame, dict.fromkeys(map(str, frame.columns), escape_formula))
    return safe.set_axis([escape_formula(str(name)) for name in frame.columns], axis="columns").to_csv(index=False)


def _with_texts(frame: pd.DataFrame, changes: Mapping[str, Callable[[str], str]]) -> pd.DataFrame:
    """Return a copy with the texts of some columns changed; values of other types are unchanged."""
    changed = {
        name: [change(value) if isinstance(value, str) else value for value in frame[name].tolist()]
        for name, change in changes.items()
        if name in frame and not pd.api.types.is_numeric_dtype(frame[name])
    }
    # pandas' own type for texts cannot hold a lone surrogate, so the type is object.
    return frame.assign(
        **{name: pd.Series(values, index=frame.index, dtype=object) for name, values in changed.items()}
    )
