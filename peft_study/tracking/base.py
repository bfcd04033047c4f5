"""The base class of trackers, and what they get when a cell starts."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from peft_study.results.schema import RunResult

Row = Mapping[str, Any]
"""A line of metrics.jsonl or usage.jsonl."""
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

    @classmethod
    def of_result(cls, result: RunResult, folder: Path, *, resumed: bool) -> Self:
        """Return the start of the cell that a record is of."""
        groups = ("model", "method", "dataset", "quantization")
        return cls(
            cell_id=result.cell_id,
            study=result.study,
            **{group: str((result.config.get(group) or {}).get("name", "")) for group in groups},
            seed=int(result.config.get("seed") or 0),
            folder=folder,
            config=result.config,
            resumed=resumed,
        )


class Tracker:
    """Follows one cell. This base class shows nothing; a tracker overrides the methods that it needs.

    `start` is called first and `restore` before the first `step`. In a phase, `progress`, `step` and `usage` are called
    any number of times. `finish` ends the cell, and `close` is the last call.
    """

    def start(self, cell: CellStart) -> None:
        """A cell starts."""

    def restore(self, steps: Sequence[Row], usages: Sequence[Row]) -> None:
        """The lines of metrics.jsonl and usage.jsonl that stay from an interrupted run. They are not reported again."""

    def phase(self, name: str, total: int | None) -> None:
        """A phase ("load", "train", "generate", "score") starts; `total` is its number of units, None if unknown."""

    def progress(self, done: int) -> None:
        """`done` units of the current phase are finished."""

    def step(self, step: int, values: Row, usage: Row) -> None:
        """The optimizer step `step` reported values such as loss, with a line of usage.jsonl."""

    def usage(self, usage: Row) -> None:
        """A batch of candidates was generated: a line of usage.jsonl."""

    def finish(self, result: RunResult) -> None:
        """The cell ended, and its files are written."""

    def close(self) -> None:
        """No more calls follow, also after an error: end displays and connections."""


class Trackers(Tracker):
    """A tracker that passes every call to several trackers, in their order.

    A tracker that raises is reported, closed and dropped. The cell continues, because tracking must not make it fail.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)

    def start(self, cell: CellStart) -> None:
        self._each(lambda tracker: tracker.start(cell))

    def restore(self, steps: Sequence[Row], usages: Sequence[Row]) -> None:
        self._each(lambda tracker: tracker.restore(steps, usages))

    def phase(self, name: str, total: int | None) -> None:
        self._each(lambda tracker: tracker.phase(name, total))

    def progress(self, done: int) -> None:
        self._each(lambda tracker: tracker.progress(done))

    def step(self, step: int, values: Row, usage: Row) -> None:
        self._each(lambda tracker: tracker.step(step, values, usage))

    def usage(self, usage: Row) -> None:
        self._each(lambda tracker: tracker.usage(usage))

    def finish(self, result: RunResult) -> None:
        self._each(lambda tracker: tracker.finish(result))

    def close(self) -> None:
        self._each(lambda tracker: tracker.close())

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
                    tracker.close()
