"""What is scored, and the table that scorers fill."""

from collections.abc import Sequence
from dataclasses import dataclass

from peft_study.data.examples import Shown
from peft_study.data.samples import Sample
from peft_study.metrics.intervals import Interval
from peft_study.metrics.scores import Scores

Values = dict[str, float | None]


@dataclass(frozen=True)
class Answers:
    """A test split and the candidates of a model. All sequences have the length of the split.

    Attributes:
        samples: the test split.
        prompts: the text that the model read.
        programs: the candidates of each sample as whole programs, best first. Each sample has the same number.
        sampled: candidates were sampled, not found by a search.
        shown: the examples of each prompt, which predictions.jsonl records; empty if they are unknown.
    """

    samples: Sequence[Sample]
    prompts: Sequence[str]
    programs: Sequence[Sequence[str]]
    sampled: bool
    shown: Sequence[Shown] = ()


class ScoreTable:
    """Scores as the scorers add them. All lists have one entry per sample.

    Args:
        samples: number of samples.

    Attributes:
        metrics: the scores of the corpus by name.
        intervals: both ends of 95 % intervals by name.
        means: values whose mean is a score of the corpus.
        recorded: values that predictions.jsonl records.
        counts: counts that a score of the corpus pools, by convention.
        verdicts: for each comparator, the verdicts of each candidate's tests.
    """

    def __init__(self, samples: int) -> None:
        self.metrics: Values = {}
        self.intervals: dict[str, list[float]] = {}
        self.means: list[Values] = [{} for _ in range(samples)]
        self.recorded: list[Values] = [{} for _ in range(samples)]
        self.counts: list[dict[str, list[float]]] = [{} for _ in range(samples)]
        self.verdicts: list[dict[str, list[list[str]]]] = [{} for _ in range(samples)]

    def add(self, scores: Scores, indices: Sequence[int]) -> None:
        """Add the scores of some samples.

        Args:
            scores: one entry per index.
            indices: positions in the test split.
        """
        self.metrics |= scores.metrics
        for index, values in zip(indices, scores.samples, strict=True):
            self.means[index] |= values
        for index, values in zip(indices, scores.recorded, strict=bool(scores.recorded)):
            self.recorded[index] |= values
        for pool in scores.pools:
            for index, row in zip(indices, pool.counts.tolist(), strict=True):
                self.counts[index][pool.names[0]] = row

    def add_interval(self, name: str, interval: Interval) -> None:
        """Add the interval of a score if it is defined."""
        if interval.low is not None and interval.high is not None:
            self.intervals[name] = [interval.low, interval.high]
