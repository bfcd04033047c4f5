"""Derives a verdict on a claim from comparisons.

A claim holds if all its comparisons hold, so its p-value for being true is the largest of theirs. A single
counterexample refutes it, so its p-value for being false is the smallest of theirs times their number (Bonferroni).
Over the claims, Holm's method keeps the probability of any false verdict below `ALPHA`.

The rules were written with the paper's numbers in view. That the paper's numbers satisfy them shows that the rules say
what the paper says; it is not evidence for the claims. The rules were not changed after runs were checked with them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from peft_study.metrics.differences import holm
from peft_study.report.claims.comparison import ALPHA, POWER_POINTS, Comparison, Scope, Test, p_text
from peft_study.report.claims.evidence import Evidence
from peft_study.report.claims.parts import Odds, Part


class Verdict(StrEnum):
    """What the data says about a claim."""

    confirmed = "confirmed"
    refuted = "refuted"
    not_decided = "not_decided"


@dataclass(frozen=True)
class Finding:
    """The result of checking a claim.

    Attributes:
        number: the claim's number.
        statement: the claim in a sentence.
        verdict: what the rows say.
        comparisons: the numbers that the verdict is based on.
        test: the rule that leads to the verdict, and the tests used.
        cells: ids of the cells used.
        explanation: the reasons for the verdict, and what is missing.
        adjusted_p_value: two-sided, adjusted for the number of claims by Holm's method; None without a test.
    """

    number: int
    statement: str
    verdict: Verdict
    comparisons: tuple[Comparison, ...]
    test: str
    cells: tuple[str, ...]
    explanation: str
    adjusted_p_value: float | None = None

    @property
    def numbers(self) -> Mapping[str, str]:
        """The comparisons in print, by name."""
        return {comparison.name: comparison.values for comparison in self.comparisons}

    def to_json(self) -> dict[str, Any]:
        """Return plain containers, the comparisons with full precision."""
        return {
            "number": self.number,
            "statement": self.statement,
            "verdict": str(self.verdict),
            "adjusted_p_value": self.adjusted_p_value,
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "test": self.test,
            "cells": list(self.cells),
            "explanation": self.explanation,
            "numbers": dict(self.numbers),
        }


@dataclass(frozen=True)
class Assessment:
    """The parts of a claim, before the adjustment for other claims.

    Attributes:
        parts: all must hold.
    """

    parts: tuple[Part, ...]

    @cached_property
    def odds(self) -> tuple[Odds, ...]:
        """The odds of all parts."""
        return tuple(odds for part in self.parts for odds in part.odds)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The comparisons of all parts."""
        return tuple(comparison for part in self.parts for comparison in part.comparisons)

    @property
    def tests(self) -> int:
        """The number of statements that are tested."""
        return sum(odds.tested for odds in self.odds)

    @property
    def holds(self) -> float:
        """One-sided p-value of the claim being false."""
        # Not multiplied: more comparisons make it harder, not easier, that all of them hold.
        return max((odds.holds for odds in self.odds), default=1.0)

    @property
    def fails(self) -> float:
        """One-sided p-value of the claim being true."""
        # Among many comparisons some contradict by chance, so a counterexample is multiplied by their number.
        return min((odds.fails * (max(1, self.tests) if odds.tested else 1) for odds in self.odds), default=1.0)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the verdict."""
        return min(1.0, 2 * min(self.holds, self.fails))


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        number: in the order of the study's protocol.
        statement: the claim in a sentence.
        rule: when the claim holds, with thresholds.
        check: returns the parts that must hold; without parts the claim is not decided.
    """

    number: int
    statement: str
    rule: str
    check: Callable[[Evidence], Sequence[Part]]


def judge(claims: Sequence[Claim], evidence: Evidence) -> list[Finding]:
    """Check claims, so that at most a share `ALPHA` of studies has any false verdict.

    Args:
        claims: all claims that are checked; the adjustment depends on their number.
        evidence: the configurations.
    """
    assessed = [Assessment(tuple(claim.check(evidence))) for claim in claims]
    # Memory is measured, not tested, so a claim on memory alone does not weaken the others.
    tested = [index for index, assessment in enumerate(assessed) if assessment.tests]
    adjusted = dict(zip(tested, holm([assessed[index].p_value for index in tested]), strict=True))
    return [
        _finding(claim, assessment, adjusted.get(index), len(tested), evidence)
        for index, (claim, assessment) in enumerate(zip(claims, assessed, strict=True))
    ]


def _finding(claim: Claim, assessment: Assessment, adjusted: float | None, tests: int, evidence: Evidence) -> Finding:
    comparisons = assessment.comparisons
    cells = tuple(dict.fromkeys(cell for comparison in comparisons for cell in comparison.cells))
    sentences = [
        *(part.reason for part in assessment.parts),
        *_certainty(comparisons, adjusted, tests),
        *_limits(comparisons),
        *evidence.coverage(cells),
        *evidence.caveats(cells),
    ]
    # A p-value of printed numbers or of memory would look like a test that nobody made.
    is_tested = any(comparison.p_value is not None for comparison in comparisons)
    return Finding(
        number=claim.number,
        statement=claim.statement,
        verdict=_verdict(assessment, assessment.p_value if adjusted is None else adjusted),
        comparisons=comparisons,
        test=f"{claim.rule} Test: {_tests_text(comparisons)}.",
        cells=cells,
        explanation=" ".join(sentences) or "No cells to check it with.",
        adjusted_p_value=adjusted if is_tested else None,
    )


def _verdict(assessment: Assessment, p_value: float) -> Verdict:
    if p_value >= ALPHA:
        return Verdict.not_decided
    return Verdict.confirmed if assessment.holds < assessment.fails else Verdict.refuted


def _tests_text(comparisons: Sequence[Comparison]) -> str:
    used = {comparison.test for comparison in comparisons}
    text = "; ".join(test for test in Test if test in used) or "nothing to test"
    has_choice = any(comparison.choices > 1 and comparison.tested is not None for comparison in comparisons)
    return f"{text}; the test allows for the choice of the best (max-T)" if has_choice else text


def _certainty(comparisons: Sequence[Comparison], adjusted: float | None, tests: int) -> list[str]:
    """Return the adjusted p-value and the power in sentences."""
    powers = [(comparison.power, comparison.samples) for comparison in comparisons if comparison.power is not None]
    if adjusted is None or not powers:
        return []
    # The weakest comparison limits what the claim could have shown.
    power, samples = min(powers, key=lambda pair: pair[0])
    where = "" if len(powers) == 1 else f" in the weakest of {len(powers)} comparisons"
    where += "" if samples is None else f" ({samples:,.0f} samples)"
    return [
        f"Over {tests} claims (Holm) {p_text(adjusted)}.",
        f"The power against a difference of {100 * POWER_POINTS:g} points is {power:.2f}{where}.",
    ]


def _limits(comparisons: Sequence[Comparison]) -> list[str]:
    """Return sentences on what limits the numbers, if they do not generalise to methods."""
    scopes = {comparison.scope for comparison in comparisons}
    sentences = []
    if Scope.printed in scopes:
        sentences.append("Told by sign, as printed in the paper.")
    if Scope.runs in scopes:
        sentences.append("Of these runs alone: with one seed a method's spread between runs is not known.")
    # A method's own spread may be another, so a reader must know that it was borrowed.
    if any(comparison.pooled for comparison in comparisons):
        sentences.append("The spread between runs of a single seed is pooled from this study's other configurations.")
    return sentences
