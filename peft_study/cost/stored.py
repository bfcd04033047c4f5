"""Small values that are costly to compute, kept in the user's cache folder."""

import json
from pathlib import Path
from typing import Any

from peft_study.results.cache import cache_folder
from peft_study.results.store import write_atomically


class StoredValues:
    """Values of one kind, a JSON file for each. What cannot be read or written is computed again.

    Args:
        kind: names the folder.
        made_by: versions of what computes the values; those of others are passed over.
    """

    def __init__(self, kind: str, made_by: str) -> None:
        self._kind, self._made_by = kind, made_by

    def read(self, key: str) -> dict[str, Any] | None:
        """The values under a key; None where there are none that the same versions made."""
        file = self._file(key)
        try:
            record = json.loads(file.read_text(encoding="utf-8")) if file else {}
            values: dict[str, Any] | None = record["values"] if record["made_by"] == self._made_by else None
            return values if isinstance(values, dict) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, key: str, values: dict[str, Any]) -> None:
        """Keep values under a key, a name for a file."""
        file = self._file(key)
        if file is None:
            return
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps({"made_by": self._made_by, "values": values}) + "\n")
        except OSError:
            return

    def _file(self, key: str) -> Path | None:
        folder = cache_folder(self._kind)
        return None if folder is None else folder / f"{key}.json"
