"""Numbers as people read them. `MISSING` stands for a value that is not known."""

MISSING = "-"


def percent(share: float | None, digits: int = 2, unit: str = " %") -> str:
    """Format a share as a percentage.

    Args:
        share: from 0 to 1.
        digits: after the decimal point.
        unit: follows the number; empty for a column whose title has the unit.

    Returns:
        such as "71.50 %"; `MISSING` if the share is None.
    """
    return MISSING if share is None else f"{100 * share:.{digits}f}{unit}"


def duration(seconds: float) -> str:
    """Format a duration.

    Returns:
        such as "0:07", "12:30" or "1:02:03".
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shorten(text: str, width: int) -> str:
    """Cut out the middle of a text that is too long, because the end of a path or of a cell's name differs.

    Args:
        text: one line.
        width: characters that are left, at least 5.
    """
    if len(text) <= width:
        return text
    tail = (width - 3) // 2
    return f"{text[: width - tail - 3]}...{text[len(text) - tail :]}"
