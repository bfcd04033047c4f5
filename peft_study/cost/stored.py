"""Small values that are slow to compute, stored in the user's cache folder."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from peft_study.results.cache import cache_folder
from peft_study.results.store import write_atomically


class StoredValues:
    """Stored values of a kind, a JSON file for each key. Files that cannot be read or written are ignored.

    Args:
        kind: name of the folder.
        made_by: versions of the code that computes the values. Values of other versions are ignored.
    """

    def __init__(self, kind: str, made_by: str) -> None:
        self._kind, self._made_by = kind, made_by

    def read(self, key: str) -> dict[str, Any] | None:
        """The values of a key; None if the same versions stored no values."""
        file = self._file(key)
        try:
            record = json.loads(file.read_text(encoding="utf-8")) if file else {}
            values: dict[str, Any] | None = record["values"] if record["made_by"] == self._made_by else None
            return values if isinstance(values, dict) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, key: str, values: dict[str, Any]) -> None:
        """Store the values of a key, which must be valid as a file name."""
        file = self._file(key)
        if file is None:
            return
        # A full or read-only home folder costs time at the next run, and nothing else.
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            # The cells of a sweep write side by side.
            write_atomically(file, json.dumps({"made_by": self._made_by, "values": values}) + "\n")

    def _file(self, key: str) -> Path | None:
        folder = cache_folder(self._kind)
        return None if folder is None else folder / f"{key}.json"
