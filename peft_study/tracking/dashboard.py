"""What trackers have in common that show a cell as a history of rows and a summary."""

from collections.abc import Sequence
from typing import Any

from peft_study.config.schema import TrackingConfig
from peft_study.tracking.base import Row, Tracker
from peft_study.tracking.names import SECONDS, SERIES, TRAIN_STEP, Values, history, step_values, usage_values

_AXES = {series.name: series.step_metric for series in SERIES}


class Dashboard(Tracker):
    """Turns the calls of a cell into rows. A tracker overrides `start`, `row`, `finish` and `close`.

    Args:
        tracking: what is stored, and under which project.
    """

    def __init__(self, tracking: TrackingConfig) -> None:
        self.tracking = tracking
        self._rows = 0

    def row(self, place: int, values: Values) -> None:
        """Show a row of the history.

        Args:
            place: number of the row, from 0. It is the same in every run of the cell.
            values: by the names of `peft_study.tracking.names`.
        """

    def restore(self, steps: Sequence[Row], usages: Sequence[Row]) -> None:
        """Show the rows of an interrupted run."""
        for values in history(steps, usages):
            self._next(values)

    def step(self, step: int, values: Row, usage: Row) -> None:
        """Show a step of the training."""
        self._next(step_values({"step": step, **values}) | usage_values(usage))

    def usage(self, usage: Row) -> None:
        """Show a batch of candidates."""
        self._next(usage_values(usage))

    def _next(self, values: Values) -> None:
        place, self._rows = self._rows, self._rows + 1
        self.row(place, values)


def whole_steps(values: Values) -> dict[str, tuple[int, float]]:
    """Return the numbers of a row with whole numbers as x-axis, for dashboards that accept no others.

    Args:
        values: a row of the history.

    Returns:
        step and value by name: the optimizer step for losses and what belongs to them, and the millisecond of training
        and generation for memory, speed and energy.
    """
    axes = {TRAIN_STEP: values.get(TRAIN_STEP, 0), SECONDS: round(values.get(SECONDS, 0) * 1000)}
    return {
        name: (int(axes[_AXES.get(name, TRAIN_STEP)]), float(value))
        for name, value in values.items()
        if is_number(value) and name not in axes
    }


def is_number(value: Any) -> bool:
    """Return whether a value is a number, and not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)
