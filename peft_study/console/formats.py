"""Seconds as a person reads them."""


def duration(seconds: float) -> str:
    """Write a duration.

    Returns:
        such as "0:07", "12:30" or "1:02:03".
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
