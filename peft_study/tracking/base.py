"""The protocol between a running cell and its trackers."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CellStart:
    """What a tracker learns when a cell starts.

    Attributes:
        cell_id: the cell's readable name with its hash, unique within a study.
        study: the study the cell belongs to.
        model: the model's config name.
        method: the method's config name.
        dataset: the data set's config name.
        quantization: the quantization's config name.
        seed: the cell's seed.
        folder: where the results go.
        config: the composed config, plain containers only.
        resumed: whether the cell resumes an interrupted run.
    """

    cell_id: str
    study: str
    model: str
    method: str
    dataset: str
    quantization: str
    seed: int
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    resumed: bool = False


class Tracker(Protocol):
    """Follows one cell. The methods are called in this order, `progress` and `step` any number of times in a phase."""

    def start(self, cell: CellStart) -> None:
        """A cell starts."""

    def phase(self, name: str, total: int | None) -> None:
        """A phase ("load", "train", "generate", "score") starts; `total` is its number of units, None if unknown."""

    def progress(self, done: int) -> None:
        """`done` units of the current phase are finished."""

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """The optimizer step `step` reported values such as loss, learning_rate or validation_loss."""

    def summary(self, values: Mapping[str, float | int | str | None]) -> None:
        """The cell's final numbers, flat: "em@1", "train_seconds", "train_peak_bytes" and so on."""

    def finish(self, status: str) -> None:
        """The cell ended with a status of the results schema."""


class Trackers:
    """A tracker that passes every call to several trackers, in their order.

    A tracker that raises is reported, finished and dropped. The cell continues, because tracking must not make it fail.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)

    def start(self, cell: CellStart) -> None:
        self._each(lambda tracker: tracker.start(cell))

    def phase(self, name: str, total: int | None) -> None:
        self._each(lambda tracker: tracker.phase(name, total))

    def progress(self, done: int) -> None:
        self._each(lambda tracker: tracker.progress(done))

    def step(self, step: int, values: Mapping[str, float]) -> None:
        self._each(lambda tracker: tracker.step(step, values))

    def summary(self, values: Mapping[str, float | int | str | None]) -> None:
        self._each(lambda tracker: tracker.summary(values))

    def finish(self, status: str) -> None:
        self._each(lambda tracker: tracker.finish(status))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        # Over a copy, because a tracker that raises leaves the list.
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as error:
                self._trackers.remove(tracker)
                logger.warning("%s stopped tracking: %s", type(tracker).__name__, error)
                # It gets no more calls, and may hold a live display or an open connection.
                with contextlib.suppress(Exception):
                    tracker.finish("failed")
