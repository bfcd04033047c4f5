"""What is scored, and the table that scorers fill."""

from collections.abc import Sequence
from dataclasses import dataclass

from peft_study.data.examples import Shown
from peft_study.data.samples import Sample
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


@dataclass
class ScoreTable:
    """Scores as the scorers add them. All lists have one entry per sample.

    Attributes:
        metrics: the scores of the corpus by name.
        intervals: both ends of 95 % intervals by name.
        means: values whose mean is a score of the corpus.
        kept: values that predictions.jsonl records.
        counts: counts that a score of the corpus pools, by convention.
        verdicts: for each comparator, the verdicts of each candidate's tests.
    """

    metrics: Values
    intervals: dict[str, list[float]]
    means: list[Values]
    kept: list[Values]
    counts: list[dict[str, list[float]]]
    verdicts: list[dict[str, list[list[str]]]]

    @classmethod
    def empty(cls, samples: int) -> "ScoreTable":
        means, kept = ([Values() for _ in range(samples)] for _ in range(2))
        return cls({}, {}, means, kept, [{} for _ in range(samples)], [{} for _ in range(samples)])

    def add(self, scores: Scores, indices: Sequence[int]) -> None:
        """Add the scores of some samples.

        Args:
            scores: one entry per index.
            indices: positions in the test split.
        """
        self.metrics |= scores.metrics
        for index, values in zip(indices, scores.samples, strict=True):
            self.means[index] |= values
