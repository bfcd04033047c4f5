"""Where values are kept that can be computed again."""

from pathlib import Path

from platformdirs import user_cache_path


def cache_folder(kind: str) -> Path | None:
    """The folder of one kind of values below the user's cache; it may not exist yet.

    Args:
        kind: the name of the folder.

    Returns:
        None for an account that has no home folder.
    """
    try:
        return user_cache_path("peft_study", appauthor=False) / kind
    except RuntimeError:
        return None
