"""Two sets of runs compared, by the strongest test that the data at hand allows."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

import numpy as np
import pandas as pd

from peft_study.metrics.intervals import RESAMPLES, mean_difference
from peft_study.report.groups import Group, groups
from peft_study.report.names import method_name
from peft_study.report.predictions import PredictionsOf
from peft_study.results.store import Prediction

# Of a normal distribution, for 95 %.
_Z = 1.959964
_SAME = 1e-6
_Samples = Mapping[str, float | None]


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
        line = f"{100 * self.first:.2f} against {100 * self.second:.2f}{times}, {100 * self.difference:+.2f}"
        if self.low is not None and self.high is not None and self.p_value is not None:
            line += f" [{100 * self.low:+.2f}, {100 * self.high:+.2f}], p = {self.p_value:.2g}"
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
        self._resamples = resamples
        self._samples: dict[tuple[tuple[str, ...], str], _Samples | None] = {}

    def find(
        self, method: str, quantization: str = "none", dataset: str | None = None, model: str | None = None
    ) -> list[Group]:
        """Configurations by name; None is any."""
        found = self._by_name.get((method, quantization, model), [])
        return [one for one in found if dataset in (None, one.dataset)]

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
    ) -> Comparison | None:
        """Compare the mean score of some configurations with that of others, each over its seeds first.

        Args:
            label: of what.
            first: on one data set.
            second: on the same.
            metric: a share.
            factor: the second's is multiplied by it.
            other: what the second are of; None for the same rows.

        Returns:
            None where a score is missing.
        """
        means = [_mean(side, metric) for side in (first, second)]
        if means[0] is None or means[1] is None:
            return None
        difference = means[0] - factor * means[1]
        sides = self._of_all(first, metric), (other or self)._of_all(second, metric)
        errors = _standard_error(first, metric), _standard_error(second, metric)
        low, high, p_value, test = self._test(sides, errors, factor, difference)
        cells = tuple(dict.fromkeys(cell for one in (*first, *second) for cell in one.cells))
        names = [_names(side) for side in (first, second)]
        return Comparison(
            label, names[0], names[1], means[0], means[1], difference, low, high, p_value, test, cells, factor=factor
        )

    def _test(
        self,
        sides: tuple[_Samples | None, _Samples | None],
        errors: tuple[float | None, float | None],
        factor: float,
        difference: float,
    ) -> tuple[float | None, float | None, float | None, Test]:
        """The strongest test: of both sides' samples, else of their standard errors, else none."""
        one, other = sides
        if one is not None and other is not None and one.keys() == other.keys() and len(one) > 1:
            scaled = [None if (value := other[name]) is None else factor * value for name in one]
            found = mean_difference(list(one.values()), scaled, self._resamples)
            return found.low, found.high, found.p_value, Test.paired
        known = [error for error in errors if error is not None]
        if not known:
            return None, None, None, Test.summary
        error = math.hypot(known[0], factor * known[-1])
        half = _Z * error
        p_value = math.erfc(abs(difference) / error / math.sqrt(2)) if error else float(not difference)
        test = Test.intervals if len(known) == 2 else Test.one_interval
        return difference - half, difference + half, p_value, test

    def _of_all(self, found: Sequence[Group], metric: str) -> _Samples | None:
        """Each sample's score, averaged over configurations; None unless all of them are of the same samples."""
        return _averaged([self._of_group(one, metric) for one in found])

    def _of_group(self, group: Group, metric: str) -> _Samples | None:
        cells = tuple(str(name) for name in group.done["cell_id"])
        key = (cells, metric)
        if key not in self._samples:
            scores = dict(zip(cells, group.values(metric), strict=False))
            self._samples[key] = _averaged([self._of_cell(cell, metric, scores.get(cell)) for cell in cells])
        return self._samples[key]

    def _of_cell(self, cell: str, metric: str, score: float | None) -> _Samples | None:
        """Each sample's score, where predictions are those that the cell's own score was made of."""
        predictions = self._predictions_of(cell) if self._predictions_of else []
        # Two data sets may number their samples alike: a sample is the same where its reference is.
        values = {f"{one.id} {_digest(one.reference)}": sample_score(one, metric) for one in predictions}
        known = [value for value in values.values() if value is not None]
        if score is None or not known or len(values) != len(predictions) or not abs(fmean(known) - score) <= _SAME:
            return None
        return values


def sample_score(prediction: Prediction, metric: str) -> float | None:
    """A sample's own part of a score that is a mean over samples; None where it has none."""
    if metric.startswith("em@"):
        if not prediction.reference.strip() or not prediction.matched:
            return None
        return float(any(prediction.matched[: int(metric.removeprefix("em@"))]))
    value = prediction.scores.get(metric)
    return value if isinstance(value, int | float) else None


def configuration(one: Group) -> str:
    """What a configuration is called beside its model and data set."""
    name = method_name(one.method, one.quantization)
    return f"{name} ({one.num_examples:.0f} examples)" if one.num_examples else name


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _averaged(found: Sequence[_Samples | None]) -> _Samples | None:
    known = [values for values in found if values is not None]
    if not known or len(known) < len(found) or any(values.keys() != known[0].keys() for values in known):
        return None
    if len(known) == 1:
        return known[0]
    columns = {name: [values[name] for values in known] for name in known[0]}
    return {
        name: None if any(value is None for value in column) else float(np.mean([value or 0.0 for value in column]))
        for name, column in columns.items()
    }


def _mean(found: Sequence[Group], metric: str) -> float | None:
    scores = [one.score(metric) for one in found]
    known = [score.mean for score in scores if score is not None]
    return fmean(known) if known and len(known) == len(scores) else None


def _standard_error(found: Sequence[Group], metric: str) -> float | None:
    """Of the mean, from each run's 95 % interval; runs on the same samples count as if they erred together."""
    lows = [value for one in found for value in one.values(f"{metric}_low")]
    highs = [value for one in found for value in one.values(f"{metric}_high")]
    if not lows or len(lows) != sum(len(one.values(metric)) for one in found) or len(lows) != len(highs):
        return None
    return fmean(high - low for low, high in zip(lows, highs, strict=True)) / (2 * _Z)


def _names(found: Sequence[Group]) -> str:
    names = list(dict.fromkeys(configuration(one) for one in found))
    return names[0] if len(names) == 1 else f"{method_name(found[0].method, found[0].quantization)} (best examples)"
