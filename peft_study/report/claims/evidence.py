"""Compares two sets of configurations by the strongest test that the data allows."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from peft_study.metrics.choices import Choice
from peft_study.metrics.differences import Difference, compare_methods
from peft_study.metrics.method_scores import MethodScore
from peft_study.report.caveats import caveats
from peft_study.report.claims.comparison import POWER_POINTS, Best, Comparison, Scope, Test
from peft_study.report.claims.scores import Scores
from peft_study.report.groups import Group
from peft_study.report.names import dataset_name, method_name


class Evidence:
    """Configurations whose scores can be compared.

    Args:
        groups: the configurations.
        scores: of these configurations; None to compare by the intervals of the records alone.
    """

    def __init__(self, groups: Sequence[Group], scores: Scores | None = None) -> None:
        self.groups = groups
        self.scores = scores or Scores(groups)
        # Found by name and model, as a claim over 3,300 configurations asks for each of them.
        self._by_name: dict[tuple[str, str, str | None], list[Group]] = {}
        for group in self.groups:
            for model in (None, group.model):
                self._by_name.setdefault((group.method, group.quantization, model), []).append(group)

    def find(
        self, method: str, quantization: str = "none", dataset: str | None = None, model: str | None = None
    ) -> list[Group]:
        """Return configurations by name; None matches any."""
        groups = self._by_name.get((method, quantization, model), [])
        return [group for group in groups if dataset in (None, group.dataset)]

    def caveats(self, cells: Iterable[str]) -> tuple[str, ...]:
        """Return what a reader must know of the configurations of some cells."""
        return caveats(self._groups_of(cells))

    def coverage(self, cells: Iterable[str]) -> tuple[str, ...]:
        """Return the number of models and data sets of some cells, in a sentence; empty without cells."""
        groups = self._groups_of(cells)
        models = {group.model for group in groups}
        datasets = {group.dataset for group in groups if group.dataset}
        if not models:
            return ()
        parts = [_count_text(len(models), "model")]
        parts += [_count_text(len(datasets), "data set")] if datasets else []
        return (f"Seen on {' and '.join(parts)}.",)

    def _groups_of(self, cells: Iterable[str]) -> list[Group]:
        names = set(cells)
        return [group for group in self.groups if not names.isdisjoint(group.cells)]

    def best(self, options: Sequence[Group], metric: str) -> Best | None:
        """Return the configuration with the best score and those that it was chosen from; None without a score."""
        scored = [(score.mean, group) for group in options if (score := group.score(metric)) is not None]
        if not scored:
            return None
        chosen = max(scored, key=lambda pair: pair[0])[1]
        return Best((chosen,), tuple((group,) for _, group in scored))

    def compare_over_models(
        self, dataset: str, pairs: Sequence[tuple[Group | Best, Group | Best]], metric: str
    ) -> Comparison | None:
        """Compare two means over models on one data set; see `compare`.

        Args:
            dataset: of all configurations.
            pairs: for each model, the configurations that are compared.
            metric: a score from 0 to 1.
        """
        label = f"{dataset_name(dataset)}, {metric.upper()} of {_count_text(len(pairs), 'model')}"
        return self.compare(label, [first for first, _ in pairs], [second for _, second in pairs], metric)

    def compare(
        self,
        label: str,
        first: Sequence[Group | Best],
        second: Sequence[Group | Best],
        metric: str,
        other: "Evidence | None" = None,
    ) -> Comparison | None:
        """Compare the mean score of some configurations with that of others.

        Each configuration's score is its mean over seeds, and all have the same weight.

        Args:
            label: what is compared.
            first: configurations on one data set.
            second: configurations on the same data set.
            metric: a score from 0 to 1.
            other: the evidence of `second`; None if it is this one.

        Returns:
            None if a score is missing.
        """
        other = other or self
        left, right = _Side(first, metric, self.scores), _Side(second, metric, other.scores)
        if not left.is_complete or not right.is_complete:
            return None
        comparison = Comparison(
            label=label,
            first_name=left.name,
            second_name=right.name,
            first=left.mean,
            second=right.mean,
            difference=left.mean - right.mean,
            test=Test.printed,
            cells=tuple(dict.fromkeys((*left.cells, *right.cells))),
            samples=min((*left.sample_counts, *right.sample_counts), default=None),
            scope=Scope.printed,
            ratio=(left.mean / right.mean, None, None) if right.mean else None,
        )
        # The paper prints neither seeds nor predictions, so nothing of its numbers alone can be tested.
        if left.is_printed and right.is_printed:
            return comparison
        sides = left.choices(fallback=other.scores), right.choices(fallback=self.scores)
        tested = compare_methods(*sides)
        if tested is None:
            return replace(comparison, test=Test.summary, scope=Scope.methods)
        comparison = replace(comparison, test=_test(tested, sides))
        return _with_difference(comparison, tested, single_seed=left.has_single_seed or right.has_single_seed)


class _Side:
    """One side of a comparison: a mean over places, each a configuration or the best of several.

    Args:
        places: the places.
        metric: the score's name.
        scores: the scores of the study that the configurations are of.
    """

    def __init__(self, places: Sequence[Group | Best], metric: str, scores: Scores) -> None:
        self._places = [place if isinstance(place, Best) else Best((place,), ((place,),)) for place in places]
        self._groups = [group for place in self._places for group in place.chosen]
        self._metric, self._scores = metric, scores

    @property
    def is_complete(self) -> bool:
        return bool(self._groups) and all(group.score(self._metric) for group in self._groups)

    @property
    def is_printed(self) -> bool:
        return all(group.printed for group in self._groups)

    @property
    def name(self) -> str:
        titles = list(dict.fromkeys(group.title for group in self._groups))
        if len(titles) == 1:
            return titles[0]
        return f"{method_name(self._groups[0].method, self._groups[0].quantization)} (best examples)"

    @property
    def mean(self) -> float:
        """The mean over places, of the mean over the configurations of each."""
        # Models count alike, however many seeds they have.
        return fmean(
            fmean(score.mean for group in place.chosen if (score := group.score(self._metric)) is not None)
            for place in self._places
        )

    @property
    def cells(self) -> list[str]:
        return [cell for group in self._groups for cell in group.cells_with(self._metric)]

    @property
    def sample_counts(self) -> list[float]:
        counts = [self._scores.of(group, self._metric)[1] for group in self._groups]
        return [count for count in counts if count is not None]

    @property
    def has_single_seed(self) -> bool:
        return any(self._scores.of(group, self._metric)[0].run_variance is None for group in self._groups)

    def choices(self, fallback: Scores) -> list[Choice]:
        """Return the scores of each place; `fallback` gives the spread between runs if these rows do not."""
        return [
            Choice(
                self._scores_of(place.chosen, fallback),
                tuple(self._scores_of(option, fallback) for option in place.options),
            )
            for place in self._places
        ]

    def _scores_of(self, groups: Sequence[Group], fallback: Scores) -> tuple[MethodScore, ...]:
        return tuple(self._scores.with_run_variance(group, self._metric, fallback) for group in groups)


def _test(tested: Difference, sides: Sequence[Sequence[Choice]]) -> Test:
    if tested.paired:
        return Test.paired
    has_intervals = all(
        score.sample_variance is not None for side in sides for choice in side for score in choice.chosen
    )
    return Test.intervals if has_intervals else Test.one_interval


def _with_difference(comparison: Comparison, tested: Difference, *, single_seed: bool) -> Comparison:
    low, high = tested.ends()
    return replace(
        comparison,
        low=low,
        high=high,
        p_value=tested.p_value,
        # With one seed and no spread from elsewhere, the interval is of the samples only.
        scope=Scope.methods if tested.of_methods else Scope.runs,
        pooled=single_seed and tested.of_methods,
        choices=tested.choices,
        power=tested.power(POWER_POINTS, 0.05),
        ratio=tested.ratio,
        tested=tested,
    )


def _count_text(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
