"""A comparison of two scores, or of two peaks of memory, as data."""

from dataclasses import dataclass
from enum import StrEnum

from peft_study.metrics.differences import Difference
from peft_study.report.groups import Group
from peft_study.report.tables.scores import signed_text

SCORE = "em@10"
"""The score of a claim that names no other one."""
ALPHA = 0.05
"""The two-sided level of a test, and the probability of any false verdict over all claims."""
SMALLEST_P = 1e-4
"""Smaller p-values are printed as below this one; resamples cannot resolve them."""
# Resampled, five samples that all agree have no spread at all, so any difference would be significant.
FEWEST_SAMPLES = 20
"""Fewer test samples decide nothing."""
POWER_POINTS = 0.03
"""The difference whose power is printed: 3 points."""


class Test(StrEnum):
    """What a comparison is based on, the strongest first."""

    # pytest collects classes whose names start with Test.
    __test__ = False

    paired = "paired over the test samples"
    intervals = "both scores' intervals, as if of different samples"
    one_interval = "one score's interval, the other's assumed to be as wide"
    measured = "memory as measured, without a test"
    printed = "by sign alone, as printed in the paper"
    summary = "nothing to test"


class Scope(StrEnum):
    """What a comparison generalises to."""

    methods = "methods"
    runs = "these runs"
    printed = "printed numbers"


@dataclass(frozen=True, eq=False)
class Best:
    """A choice that was made on the test split.

    Attributes:
        chosen: the configurations that scored best, averaged.
        options: all that the choice was made from, including the chosen ones. All of them have the score.
    """

    chosen: tuple[Group, ...]
    options: tuple[tuple[Group, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A number compared with another.

    Attributes:
        label: of what, such as "codellama-7b on conala, EM@10".
        first_name: what `first` is of.
        second_name: what `second` is of.
        first: the first number.
        second: the second number.
        difference: the first less the second.
        low: lower end of the difference's 95 % interval; None without a test.
        high: upper end.
        p_value: two-sided, of no difference; None without a test.
        test: what the comparison is based on.
        cells: ids of the cells used.
        unit: "share" (from 0 to 1) or "bytes".
        samples: number of test samples, the smaller of both; None if unknown.
        scope: methods if the interval includes the spread between runs, else these runs.
        pooled: whether the spread between runs of a single seed is that of other configurations.
        choices: number of configurations that the choice on the test split was made from; 1 without a choice.
        power: the probability of detecting a difference of `POWER_POINTS` at 5 %; None without a test.
        ratio: the first over the second, with both ends of its 95 % interval if known.
        tested: the distribution of the difference; None without a test.
    """

    label: str
    first_name: str
    second_name: str
    first: float
    second: float
    difference: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    test: Test
    cells: tuple[str, ...]
    unit: str = "share"
    samples: float | None = None
    scope: Scope = Scope.methods
    pooled: bool = False
    choices: int = 1
    power: float | None = None
    ratio: tuple[float, float | None, float | None] | None = None
    tested: Difference | None = None

    @property
    def name(self) -> str:
        """The label, and what is compared with what."""
        return f"{self.label}: {self.first_name} against {self.second_name}"

    @property
    def has_few_samples(self) -> bool:
        """Whether there are fewer than `FEWEST_SAMPLES` test samples."""
        return self.samples is not None and self.samples < FEWEST_SAMPLES

    @property
    def deciding_test(self) -> Difference | None:
        """The distribution of the difference if it generalises to methods and has enough samples; else None."""
        # A run that another seed may reverse says nothing about methods.
        return self.tested if self.scope is Scope.methods and not self.has_few_samples else None

    @property
    def values(self) -> str:
        """Both numbers in print: percentages with the difference in points, or memory in GB (1e9 bytes)."""
        if self.unit == "bytes":
            return f"{self.first / 1e9:.2f} GB against {self.second / 1e9:.2f} GB, ratio {self.first / self.second:.2f}"
        line = f"{100 * self.first:.2f} against {100 * self.second:.2f}, {signed_text(100 * self.difference)}"
        if self.low is not None and self.high is not None and self.p_value is not None:
            ends = ", ".join(signed_text(100 * end) for end in (self.low, self.high))
            line += f" [{ends}], {p_text(self.p_value)}"
        return f"{line}, of these runs alone" if self.scope is Scope.runs else line

    @property
    def text(self) -> str:
        """The name and the values in one line."""
        return f"{self.name}, {self.values}"

    def to_json(self) -> dict[str, object]:
        """Plain containers."""
        plain = {name: value for name, value in vars(self).items() if name != "tested"}
        return plain | {"test": str(self.test), "scope": str(self.scope), "cells": list(self.cells)}


def p_text(p_value: float) -> str:
    """Return a p-value in print; one below `SMALLEST_P` is printed as such."""
    return f"p < {SMALLEST_P:.4f}" if p_value < SMALLEST_P else f"p = {p_value:.2g}"
