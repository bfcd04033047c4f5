"""What a report that is passed on says of the machine, and CSV whose texts no spreadsheet takes for formulas."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

_KEPT_COMPONENTS = 2
# Two components at least, so that "1/2", "and/or" and the path of an address are none.
_ABSOLUTE = re.compile(r"""(?<![\w./:~…-])/(?:[^\s/'"`<>|:,;()]+/)+[^\s/'"`<>|:,;()]+""")
# The letters are those of OWASP's page "CSV Injection". Before them may stand what a spreadsheet skips: white space of
# any kind, control characters, and what has no width.
_SKIPPED = r"\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_FORMULA = re.compile(rf"[\t\r\n]|[{_SKIPPED}]*[=+\-@]")


def shorten_path(place: str) -> str:
    """A path as a report tells it, without what the folders above are called.

    Args:
        place: a path or an address.

    Returns:
        an absolute path relative to the current directory where it is below it, elsewhere its last two components after
        "…/"; anything else as it is.
    """
    if not Path(place).is_absolute():
        return place
    # By their names alone: a place need not exist any more.
    path, here = Path(os.path.normpath(place)), Path.cwd()
    if path.is_relative_to(here):
        return str(path.relative_to(here))
    return "/".join(("…", *path.parts[1:][-_KEPT_COMPONENTS:]))


def shorten_paths_in(text: str) -> str:
    """A text, such as an error's, with the absolute paths in it as `shorten_path` tells them."""
    # First by name, as the folders above may have spaces in theirs.
    below = re.compile(rf"(?<![\w./-]){re.escape(str(Path.cwd()))}/(?=[^/\s])")
    return _ABSOLUTE.sub(lambda path: shorten_path(path[0]), below.sub("", text))


def shorten_paths(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy of some rows whose folders, sources and reasons hold no absolute path.

    Args:
        frame: with the columns of `rows.load`.
    """
    return _with_texts(frame, {"folder": shorten_path, "source": shorten_path, "reason": shorten_paths_in})


def escape_formula(text: str) -> str:
    """A text as it may stand in a CSV file, as a heading or a cell.

    Args:
        text: any but a number, which a quote would make a text of.

    Returns:
        the text, behind a single quote where a spreadsheet would take it for a formula.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def guarded_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV, without its index: headings and texts are guarded, numbers are as pandas writes them."""
    safe = _with_texts(frame, dict.fromkeys(map(str, frame.columns), escape_formula))
    return safe.set_axis([escape_formula(str(name)) for name in frame.columns], axis="columns").to_csv(index=False)


def _with_texts(frame: pd.DataFrame, changes: Mapping[str, Callable[[str], str]]) -> pd.DataFrame:
    """A copy with the texts of some columns changed; what is no text stays."""
    changed = {
        name: [change(value) if isinstance(value, str) else value for value in frame[name].tolist()]
        for name, change in changes.items()
        if name in frame and not pd.api.types.is_numeric_dtype(frame[name])
    }
    # Of type object: as pandas' own type for texts they could hold no lone surrogate.
    return frame.assign(
        **{name: pd.Series(values, index=frame.index, dtype=object) for name, values in changed.items()}
    )
