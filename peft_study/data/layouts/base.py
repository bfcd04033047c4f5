"""What every layout of a data set has to say, and what several of them share."""

import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar

from peft_study.config.schema import DatasetConfig
from peft_study.data.samples import Sample
from peft_study.errors import UserError

logger = logging.getLogger(__name__)

Row: TypeAlias = tuple[str, dict[str, Any]]
"""The place of a row, for messages, and its fields."""
Tables: TypeAlias = Mapping[str, Iterable[Row]]
"""Rows by the name of their table. A table is read once, as its rows are asked for."""

T = TypeVar("T")
SPLITS = ("train", "validation", "test")
# A fixed seed, whatever the cell's, so that all cells see the same test split.
SINGLE_FILE_SEED = 0
TRAIN_SHARE, VALIDATION_SHARE = 0.8, 0.1
SINGLE_FILE_MINIMUM = "one file is split 80/10/10: it needs eight rows"


class BaseLayout(ABC):
    """How rows, from the hub or from local files, become samples.

    Attributes:
        expected: what `dataset.path` must name.
        takes_folder: whether `dataset.path` may be a folder.
        takes_file: whether `dataset.path` may be a file.
        is_published: the rows are those of a published data set even in a local copy, so that their number is known.
    """

    expected: ClassVar[str]
    takes_folder: ClassVar[bool] = False
    takes_file: ClassVar[bool] = True
    is_published: ClassVar[bool] = True

    def hub_tables(self, dataset: DatasetConfig) -> dict[str, str]:
        """The hub's name of each table that `samples` needs."""
        return {split: split for split in SPLITS}

    def minimum(self, dataset: DatasetConfig, split: str) -> str:
        """What the data needs so that a split is not empty, for a message that ends with "at least"."""
        return "it needs one sample"

    @abstractmethod
    def read(self, path: Path) -> Tables:
        """Read the tables of a local copy.

        Args:
            path: a file or a folder, as the layout takes it.
        """

    @abstractmethod
    def samples(self, tables: Tables, dataset: DatasetConfig, dropped: dict[str, int]) -> dict[str, list[Sample]]:
        """Turn rows into the three splits.

        Args:
            tables: as `read` or the hub gives them.
            dataset: the settings.
            dropped: filled with the number of rows left out, by split or by reason.

        Returns:
            samples by split.

        Raises:
            UserError: a row lacks a field or holds a value of another type; the message names the row.
        """


def split_single_table(dataset: DatasetConfig, items: list[T]) -> dict[str, list[T]]:
    """Shuffle items in place and split them 80/10/10, the same way every time."""
    random.Random(SINGLE_FILE_SEED).shuffle(items)  # noqa: S311 - a reproducible split, no secret
    train_end = round(len(items) * TRAIN_SHARE)
    validation_end = round(len(items) * (TRAIN_SHARE + VALIDATION_SHARE))
    logger.info("%s split 80/10/10 with seed %d", dataset.name, SINGLE_FILE_SEED)
    return {"train": items[:train_end], "validation": items[train_end:validation_end], "test": items[validation_end:]}


def add_unique(ids: set[T], sample_id: T, field: str, where: str) -> None:
    """Add an id to those of earlier rows. Candidates and verdicts are stored by it.

    Raises:
        UserError: an earlier row has the same id.
    """
    if sample_id in ids:
        what = f"{field} must be unique, got {sample_id} twice"
        raise UserError(what, where=where, hint="remove one of the two problems")
    ids.add(sample_id)
