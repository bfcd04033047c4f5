"""Where values are kept that can be computed again."""

from pathlib import Path

from platformdirs import user_cache_path


def cache_folder(kind: str) -> Path | None:
    """The folder of one kind of values below the user's cache, which may not exist yet; None without a home folder."""
    # platformdirs raises RuntimeError for an account without a home folder, which containers may have.
    try:
        return user_cache_path("peft_study", appauthor=False) / kind
    except RuntimeError:
        return None
