"""Two sets of runs compared, by the strongest test that the data at hand allows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

import pandas as pd

from peft_study.metrics.intervals import RESAMPLES
from peft_study.report import per_sample
from peft_study.report.groups import Group, caveats, groups
from peft_study.report.names import method_name
from peft_study.report.per_sample import Runs
from peft_study.report.predictions import PredictionsOf
from peft_study.report.scores import signed_text

# Counts of a configuration's samples take up to some hundred kilobytes.
_KEPT = 512
Z = 1.959964
"""Half the width of a normal distribution's 95 % interval, in standard deviations."""


class Test(StrEnum):
    """What a comparison rests on, the strongest first."""

    # pytest would take the class for a test.
    __test__ = False

    paired = "paired bootstrap over test samples"
    intervals = "normal test on both scores' intervals, as if of different samples"
    one_interval = "normal test on one score's interval, the other's taken to be as wide"
    summary = "summary numbers alone"


@dataclass(frozen=True)
class Comparison:
    """One number against another.

    Attributes:
        label: of what, such as "codellama-7b on conala, EM@10".
        first_name: what `first` is of.
        second_name: what `second` is of.
        first: the one.
        second: the other.
        difference: the first less the second (times `factor`).
        low: lower end of the difference's 95 % interval; None where nothing is known but the two numbers.
        high: upper end.
        p_value: of no difference; likewise.
        test: what it rests on.
        cells: ids of the cells used.
        unit: "share" (from 0 to 1) or "bytes".
        factor: by which the second is multiplied before it is subtracted, where more than a difference is claimed.
        samples: how many test samples the scores are of, the fewer of both; None where that is not known.
    """

    label: str
    first_name: str
    second_name: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    test: Test
    cells: tuple[str, ...]
    unit: str = "share"
    factor: float = 1.0
    samples: float | None = None

    @property
    def name(self) -> str:
        """What is compared with what."""
        return f"{self.label}: {self.first_name} against {self.second_name}"

    @property
    def values(self) -> str:
        """Both numbers for a reader: percentages, and the difference in points; memory in GB (1e9 bytes)."""
        if self.unit == "bytes":
            return f"{self.first / 1e9:.2f} GB against {self.second / 1e9:.2f} GB, ratio {self.first / self.second:.2f}"
        times = f" times {self.factor:g}" if self.factor != 1 else ""
        line = f"{100 * self.first:.2f} against {100 * self.second:.2f}{times}, {signed_text(100 * self.difference)}"
        if self.low is not None and self.high is not None and self.p_value is not None:
            ends = ", ".join(signed_text(100 * end) for end in (self.low, self.high))
            line += f" [{ends}], {p_text(self.p_value)}"
        return line

    @property
    def text(self) -> str:
        """One line of both."""
        return f"{self.name}, {self.values}"


class Evidence:
    """Rows, taken together over seeds, and what models wrote.

    Args:
        frame: rows of `rows.load` or `reference.paper_rows`.
        predictions_of: reads a cell's predictions; None where there are none.
        resamples: of the bootstrap.
    """

    def __init__(
        self, frame: pd.DataFrame, predictions_of: PredictionsOf | None = None, resamples: int = RESAMPLES
    ) -> None:
        self.groups = tuple(groups(frame))
        self._by_name: dict[tuple[str, str, str | None], list[Group]] = {}
        for one in self.groups:
            for model in (None, one.model):
                self._by_name.setdefault((one.method, one.quantization, model), []).append(one)
        self._predictions_of = predictions_of
        self.resamples = resamples
        self._runs: dict[tuple[tuple[str, ...], str], Runs | None] = {}

    def find(
        self, method: str, quantization: str = "none", dataset: str | None = None, model: str | None = None
    ) -> list[Group]:
        """Configurations by name; None is any."""
        found = self._by_name.get((method, quantization, model), [])
        return [one for one in found if dataset in (None, one.dataset)]

    def caveats(self, cells: Iterable[str]) -> tuple[str, ...]:
        """What a reader must know of the configurations that some cells are of."""
        return caveats(self._of(cells))

    def coverage(self, cells: Iterable[str]) -> tuple[str, ...]:
        """On how many models and data sets some cells were run; nothing where there is none."""
        found = self._of(cells)
        models = {one.model for one in found}
        datasets = {one.dataset for one in found if one.dataset}
        if not models:
            return ()
        parts = [
            f"{len(names)} {word}{'s' * (len(names) != 1)}"
            for names, word in ((models, "model"), (datasets, "data set"))
            if names
        ]
        return (f"Seen on {' and '.join(parts)}.",)

    def _of(self, cells: Iterable[str]) -> list[Group]:
        used = set(cells)
        return [one for one in self.groups if not used.isdisjoint(one.cells)]

    def best(self, found: Sequence[Group], metric: str) -> Group | None:
        """The configuration with the best score; None where none has one."""
        scored = [(score.mean, one) for one in found if (score := one.score(metric)) is not None]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None

    def compare(
        self,
        label: str,
        first: Sequence[Group],
        second: Sequence[Group],
        metric: str,
        factor: float = 1.0,
        other: "Evidence | None" = None,
        resamples: int | None = None,
    ) -> Comparison | None:
        """Compare the mean score of some configurations with that of others, each over its seeds first.

        Args:
            label: of what.
            first: on one data set.
            second: on the same.
            metric: a share.
            factor: the second's is multiplied by it.
            other: what the second are of; None for the same rows.
            resamples: of the bootstrap; None for as many as ever.

        Returns:
            None where a score is missing.
        """
        means = [_mean(side, metric) for side in (first, second)]
        if means[0] is None or means[1] is None:
            return None
        difference = means[0] - factor * means[1]
        runs = self._runs_of(first, metric), (other or self)._runs_of(second, metric)
        paired = per_sample.difference(*runs, factor, resamples or self.resamples)
        if paired is None:
            errors = _standard_error(first, metric), _standard_error(second, metric)
            low, high, p_value, test = _by_errors(errors, factor, difference)
        else:
            low, high, p_value, test = paired.low, paired.high, paired.p_value, Test.paired
        used = (cell for one in (*first, *second) for cell in one.scored(metric)["cell_id"])
        cells = tuple(dict.fromkeys(map(str, used)))
        names = [_names(side) for side in (first, second)]
        told = [one.test_samples for one in (*first, *second)] + [None if side is None else side.known for side in runs]
        samples = min((number for number in told if number is not None), default=None)
        values = (means[0], means[1], difference, low, high, p_value)
        return Comparison(label, names[0], names[1], *values, test, cells, factor=factor, samples=samples)

    def _runs_of(self, found: Sequence[Group], metric: str) -> Runs | None:
        return per_sample.together([self._runs_of_group(one, metric) for one in found])

    def _runs_of_group(self, group: Group, metric: str) -> Runs | None:
        scored = group.scored(metric)
        key = (tuple(str(name) for name in scored["cell_id"]), metric)
        if key not in self._runs:
            read = self._predictions_of or (lambda _cell: [])
            columns = (scored[name].tolist() for name in ("cell_id", metric, "test_samples") if name in scored)
            if len(self._runs) >= _KEPT:
                del self._runs[next(iter(self._runs))]
            self._runs[key] = per_sample.together(
                [
                    per_sample.of_cell(read(str(cell)), metric, value, size)
                    for cell, value, size in zip(*columns, strict=True)
                ]
            )
        return self._runs[key]


def p_text(p_value: float) -> str:
    """A p-value for a reader; one that is too small for a number is not none."""
    return f"p = {p_value:.2g}" if p_value else "p < 1e-300"


def _by_errors(
    errors: tuple[float | None, float | None], factor: float, difference: float
) -> tuple[float | None, float | None, float | None, Test]:
    """Interval and p-value of a difference, from both sides' standard errors as far as they are known."""
    known = [error for error in errors if error is not None]
    error = math.hypot(known[0], factor * known[-1]) if known else 0.0
    if not error:
        return None, None, None, Test.summary
    half = Z * error
    p_value = math.erfc(abs(difference) / error / math.sqrt(2))
    test = Test.intervals if len(known) == 2 else Test.one_interval
    return difference - half, difference + half, p_value, test


def _mean(found: Sequence[Group], metric: str) -> float | None:
    scores = [one.score(metric) for one in found]
    known = [score.mean for score in scores if score is not None]
    return fmean(known) if known and len(known) == len(scores) else None


def _standard_error(found: Sequence[Group], metric: str) -> float | None:
    """Of the mean, from each run's 95 % interval; runs on the same samples count as if they erred together."""
    widths = []
    for one in found:
        scored = one.scored(metric)
        ends = [f"{metric}_{end}" for end in ("low", "high")]
        if not len(scored) or not all(end in scored and scored[end].notna().all() for end in ends):
            return None
        widths.append(float((scored[ends[1]] - scored[ends[0]]).mean()))
    return fmean(widths) / (2 * Z) if widths else None


def _names(found: Sequence[Group]) -> str:
    names = list(dict.fromkeys(one.title for one in found))
    return names[0] if len(names) == 1 else f"{method_name(found[0].method, found[0].quantization)} (best examples)"
