"""Reads the predictions of cells from their folders on demand."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pandas as pd

from peft_study.results.predictions import Prediction
from peft_study.results.store import PREDICTIONS, CellFolder

PredictionsOf = Callable[[str], list[Prediction]]
# The predictions of a cell take some megabytes.
_KEPT = 16


def predictions_of(frame: pd.DataFrame) -> PredictionsOf:
    """Return a function that reads a cell's predictions by its id.

    It returns an empty list if the predictions are not on this machine or cannot be read.

    Args:
        frame: rows of `rows.load`.
    """
    rows = frame[frame["folder"].notna()]
    folders = dict(zip(rows["cell_id"], rows["folder"], strict=True))

    @lru_cache(maxsize=_KEPT)
    def read(cell_id: str) -> list[Prediction]:
        folder = folders.get(cell_id)
        if folder is None or not (Path(folder) / PREDICTIONS).is_file():
            return []
        try:
            return CellFolder(Path(folder)).read_predictions()
        # The intervals of the record remain, so damaged predictions weaken a test but do not stop the report.
        except (OSError, ValueError):
            return []

    return read
