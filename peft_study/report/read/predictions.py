"""What models wrote, read from cells' folders when it is asked for."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pandas as pd

from peft_study.results.store import PREDICTIONS, CellFolder, Prediction

PredictionsOf = Callable[[str], list[Prediction]]
# Predictions of a cell take some megabytes.
_KEPT = 16


def predictions_of(frame: pd.DataFrame) -> PredictionsOf:
    """A reader of the predictions of a frame's cells, by cell id: none where they are not here or not readable.

    Args:
        frame: rows of `rows.load`.
    """
    known = frame[frame["folder"].notna()]
    folders = dict(zip(known["cell_id"], known["folder"], strict=True))

    @lru_cache(maxsize=_KEPT)
    def read(cell_id: str) -> list[Prediction]:
        folder = folders.get(cell_id)
        if folder is None or not (Path(folder) / PREDICTIONS).is_file():
            return []
        try:
            return CellFolder(Path(folder)).read_predictions()
        except (OSError, ValueError):
            return []

    return read
