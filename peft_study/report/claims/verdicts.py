"""Derives a verdict on a claim from comparisons.

A claim holds if all its comparisons hold, so its p-value for being true is the largest of theirs. A single
counterexample refutes it, so its p-value for being false is the smallest of theirs times their number (Bonferroni).
Over the claims, Holm's method keeps the probability of any false verdict below `ALPHA`.

The rules were written with the paper's numbers in view. That the paper's numbers satisfy them shows that the rules say
what the paper says; it is not evidence for the claims. The rules were not changed after runs were checked with them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from peft_study.metrics.differences import holm
from peft_study.report.claims.comparison import POWER_POINTS, Comparison, Scope, Test, p_text
from peft_study.report.claims.evidence import Evidence

ALPHA = 0.05
"""The two-sided level of a test, and the probability of any false verdict over all claims."""

FEWEST_SAMPLES = 20
"""Fewer test samples decide nothing."""
# Resampled, five samples that all agree have no spread at all, so any difference would be significant.


class Verdict(StrEnum):
    """What the data says about a claim."""

    confirmed = "confirmed"
    refuted = "refuted"
    not_decided = "not_decided"

    @property
    def words(self) -> str:
        """The verdict in print."""
        return self.value.replace("_", " ")


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
class Odds:
    """One-sided p-values of a statement.

    Attributes:
        holds: p-value of the statement being false; a small one supports the statement.
        fails: p-value of the statement being true; a small one contradicts it.
        tested: False if the numbers decide without a test, as for memory.
    """

    holds: float
    fails: float
    tested: bool = True

    @property
    def verdict(self) -> bool | None:
        """What the test says by itself; None if it does not decide."""
        # One-sided values against half of the two-sided level.
        if min(self.holds, self.fails) > ALPHA / 2:
            return None
        return self.holds < self.fails


UNDECIDED = Odds(1.0, 1.0)
"""The odds of what cannot be tested."""


def certain(holds: bool) -> Odds:
    """Return the odds of what needs no test."""
    return Odds(0.0, 1.0, tested=False) if holds else Odds(1.0, 0.0, tested=False)


@dataclass(frozen=True)
class Part:
    """A part of a claim.

    Attributes:
        odds: of each statement, all of which must hold; empty for a remark, which decides nothing.
        why: the reason in a sentence.
        numbers: the comparisons that it is based on.
    """

    odds: tuple[Odds, ...]
    why: str
    numbers: tuple[Comparison, ...] = ()


def missing(why: str) -> Part:
    """Return a part that cannot be decided because something is missing."""
    return Part((UNDECIDED,), why)


@dataclass(frozen=True)
class Assessment:
    """The parts of a claim, before the adjustment for other claims.

    Attributes:
        parts: all must hold.
        odds: of all parts.
    """

    parts: tuple[Part, ...]
    odds: tuple[Odds, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "odds", tuple(odds for part in self.parts for odds in part.odds))

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


def _finding(claim: Claim, assessment: Assessment, adjusted: float | None, family: int, evidence: Evidence) -> Finding:
    numbers = tuple(number for part in assessment.parts for number in part.numbers)
    cells = tuple(dict.fromkeys(cell for number in numbers for cell in number.cells))
    kinds = "; ".join(test for test in Test if any(number.test is test for number in numbers)) or "nothing to test"
    p_value = assessment.p_value if adjusted is None else adjusted
    sentences = [
        *(part.why for part in assessment.parts),
        *_certainty(assessment, adjusted, family),
        *_scope(numbers),
        *evidence.coverage(cells),
        *evidence.caveats(cells),
    ]
    why = " ".join(sentences) or "No cells to check it with."
    chosen = any(number.choices > 1 and number.tested is not None for number in numbers)
    choice = "; the choice of the best is repeated in each resample (max-T)" if chosen else ""
    rule = f"{claim.rule} Test: {kinds}{choice}."
    # A p-value of printed numbers or of memory would look like a test that nobody made.
    shown = adjusted if any(number.p_value is not None for number in numbers) else None
    verdict = Verdict.confirmed if assessment.holds < assessment.fails else Verdict.refuted
    verdict = Verdict.not_decided if p_value >= ALPHA else verdict
    return Finding(claim.number, claim.statement, verdict, numbers, rule, cells, why, shown)


def _certainty(assessment: Assessment, adjusted: float | None, family: int) -> list[str]:
    """Return the adjusted p-value and the power in sentences."""
    numbers = (number for part in assessment.parts for number in part.numbers)
    powers = [(number.power, number.samples) for number in numbers if number.power is not None]
    if adjusted is None or not powers:
        return []
    # The weakest comparison limits what the claim could have shown.
    power, samples = min(powers, key=lambda pair: pair[0])
    count = "" if samples is None else f" ({samples:,.0f} samples)"
    which = count if len(powers) == 1 else f" in the weakest of {len(powers)} comparisons{count}"
    return [
        f"Over {family} claims (Holm) {p_text(adjusted)}.",
        f"The power against a difference of {100 * POWER_POINTS:g} points is {power:.2f}{which}.",
    ]


def _scope(numbers: Sequence[Comparison]) -> list[str]:
    """Return sentences on what limits the numbers, if they do not generalise to methods."""
    pooled = "The spread between runs of a single seed is pooled from this study's other configurations."
    alone = "Of these runs alone: with one seed a method's spread between runs is not known."
    limits = {
        "Told by sign, as printed in the paper.": any(number.scope is Scope.printed for number in numbers),
        alone: any(number.scope is Scope.runs for number in numbers),
        # A method's own spread may be another, so a reader must know that it was borrowed.
        pooled: any(number.pooled for number in numbers),
    }
    return [sentence for sentence, applies in limits.items() if applies]


def odds_of(comparison: Comparison, margin: float = 0.0) -> Odds:
    """Return the odds that the first number exceeds the second by more than a margin.

    Args:
        comparison: printed numbers decide by their sign. Others decide only if they generalise to methods and are of
            `FEWEST_SAMPLES` test samples or more.
        margin: in the unit of the difference; negative if "not much worse" is enough.
    """
    if comparison.scope is Scope.printed:
        return UNDECIDED if comparison.difference == margin else certain(comparison.difference > margin)
    # A run that another seed may reverse says nothing about methods.
    few = comparison.samples is not None and comparison.samples < FEWEST_SAMPLES
    if comparison.tested is None or few or comparison.scope is not Scope.methods:
        return UNDECIDED
    return Odds(comparison.tested.above(margin), comparison.tested.below(margin))


def all_hold(what: str, comparisons: Sequence[Comparison | None], margin: float = 0.0) -> Part:
    """Return the part that the first number is larger in each comparison.

    Args:
        what: what is compared.
        comparisons: None for one that could not be made, which is left out.
        margin: see `odds_of`.
    """
    made = [comparison for comparison in comparisons if comparison is not None]
    # Absence of evidence decides nothing, so a part without numbers cannot hold.
    if not made:
        return missing(f"{what}: nothing to compare.")
    odds = tuple(odds_of(comparison, margin) for comparison in made)
    against = [comparison.text for comparison, part_odds in zip(made, odds, strict=True) if part_odds.verdict is False]
    holding = sum(part_odds.verdict is True for part_odds in odds)
    undecided = len(made) - holding - len(against)
    parts = [f"{what}: {holding} of {len(made)} hold"]
    parts += [f"against it {'; '.join(against)}"] if against else []
    parts += [f"{undecided} not decided"] if undecided else []
    return Part(odds, f"{', '.join(parts)}.", tuple(made))
