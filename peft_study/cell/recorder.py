"""Writes what a cell reports while it runs: to its folder, to its trackers and into its result."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from peft_study.cost.memory import Meter
from peft_study.results.attempts import Attempt
from peft_study.results.schema import RunResult, Work, finite
from peft_study.results.store import CellFolder
from peft_study.tracking.base import Tracker


class Recorder:
    """Records phases, optimizer steps and batches of candidates.

    Args:
        folder: where the cell's files go.
        tracker: follows the cell.
        meter: measures the costs of the phases.
        result: the record that is written with the costs so far.
        attempt: gets the phase that this process reached.
    """

    def __init__(self, folder: CellFolder, tracker: Tracker, meter: Meter, result: RunResult, attempt: Attempt) -> None:
        self._folder = folder
        self._tracker = tracker
        self._meter = meter
        self._result = result
        self._attempt = attempt

    @contextmanager
    def phase(self, name: str, total: int | None = None) -> Iterator[None]:
        """Record the start of a phase, and measure it.

        Args:
            name: the phase.
            total: number of its units; None if it is unknown.
        """
        self._tracker.phase(name, total)
        self._attempt.phase = name
        if name != "load":  # an earlier result stays while a rerun loads
            self._folder.write_result(self._result)
        with self._meter.phase(name, has_tokens=name in {"train", "generate"}):
            yield

    def step(self, step: int, values: Mapping[str, float], tokens_per_second: float | None) -> None:
        """Record an optimizer step.

        Args:
            step: its number.
            values: loss, learning_rate, validation_loss and so on.
            tokens_per_second: speed of the steps since the last report; None if it is unknown.
        """
        usage = {"step": step, **self._meter.sample(tokens_per_second)}
        evaluated = "validation_loss" in values
        # The usage first: a process that is killed between the two lines then leaves no step without its usage.
        self._folder.append_usage(usage, durable=evaluated)
        self._folder.append_step(step, values)
        self._tracker.step(step, finite(values), usage)
        if evaluated:
            self._cost()

    def batch(self, prompts: int, work: Work) -> None:
        """Record a batch of candidates.

        Args:
            prompts: number of prompts that have candidates now.
            work: of this batch.
        """
        self._meter.add_work(work)
        self._cost()
        usage = {"prompts": prompts, **self._meter.sample(work.tokens / work.seconds)}
        self._folder.append_usage(usage)
        self._tracker.usage(usage)
        self._tracker.progress(prompts)

    def _cost(self) -> None:
        # Into the result on disk, because a killed process cannot do it later.
        self._meter.measure()
        self._folder.write_result(self._result)
