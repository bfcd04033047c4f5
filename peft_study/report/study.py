"""A study's rows, and what a report derives from them, each made once."""

from collections.abc import Iterable, Mapping
from functools import cached_property

import pandas as pd

from peft_study.metrics.intervals import RESAMPLES
from peft_study.report.claims.evidence import Evidence
from peft_study.report.claims.scores import Scores
from peft_study.report.groups import Group, Key, groups
from peft_study.report.read.per_sample import predictions_of
from peft_study.report.read.reference import as_named_here, is_paper


class Study:
    """The rows of a study, grouped once for all tables, figures and claims.

    Args:
        frame: rows of `rows.load` or `reference.paper_rows`.
        resamples: number of bootstrap resamples of a comparison.

    Attributes:
        frame: the rows, numbered from 0.
    """

    def __init__(self, frame: pd.DataFrame, resamples: int = RESAMPLES) -> None:
        # Groups and figures address rows by their label, so labels must be distinct.
        self.frame = frame.reset_index(drop=True)
        self._resamples = resamples

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The configurations in the paper's order."""
        return tuple(groups(self.frame))

    @cached_property
    def by_key(self) -> Mapping[Key, Group]:
        """The configurations by key."""
        return {group.key: group for group in self.groups}

    @cached_property
    def evidence(self) -> Evidence:
        """The configurations with the predictions in their cells' folders, to compare scores."""
        return Evidence(self.groups, Scores(self.groups, predictions_of(self.frame), self._resamples))

    @property
    def is_paper(self) -> bool:
        """Whether all rows are the paper's."""
        return is_paper(self.frame)

    def renamed_for(self, models: Iterable[str]) -> "Study":
        """The study with the model names of another one; see `reference.as_named_here`.

        Args:
            models: the other study's models.
        """
        # Unchanged, the study keeps its groups and scores, which take seconds for 10,000 cells.
        frame = as_named_here(self.frame, models)
        return self if frame is self.frame else Study(frame, self._resamples)
