"""From comparisons to a verdict on a claim.

A claim is a conjunction of comparisons. Its p-value for being true is the largest of theirs, as all must hold; its
p-value for being false is the smallest of theirs, times their number, as one against it is enough (Bonferroni). Over
the claims, Holm's method keeps the probability of any false verdict below `ALPHA`.

Rules were set with the paper's numbers in view, so that these coming out as in the paper shows that the rules say what
it says and is no evidence of their own. They were not changed after runs were held against them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from peft_study.metrics.differences import holm
from peft_study.report.claims.evidence import POWER_POINTS, Comparison, Evidence, Scope, Test, p_text

ALPHA = 0.05
"""The level of a test, two-sided; over all claims the probability of any false verdict."""

FEWEST_SAMPLES = 20
"""Of fewer test samples nothing is decided."""


class Verdict(StrEnum):
    """What the data says of a claim."""

    confirmed = "confirmed"
    refuted = "refuted"
    not_decided = "not_decided"

    @property
    def words(self) -> str:
        """For a reader."""
        return self.value.replace("_", " ")


@dataclass(frozen=True)
class Finding:
    """A claim held against rows.

    Attributes:
        number: of the claim.
        statement: the claim in a sentence.
        verdict: what the rows say.
        comparisons: the numbers that it rests on.
        test: which test they rest on, and the rule that makes a verdict of them.
        cells: ids of the cells used.
        explanation: why the verdict is what it is, and what is missing.
        adjusted_p_value: of the verdict, two-sided, adjusted for the number of claims by Holm's method; None where
            nothing was tested.
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
        """The comparisons for a reader: what is compared, and how it came out."""
        return {comparison.name: comparison.values for comparison in self.comparisons}

    def to_json(self) -> dict[str, Any]:
        """Plain containers, the comparisons with their full precision."""
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
    """One-sided p-values of one statement.

    Attributes:
        holds: of its being false, so that a small one speaks for it.
        fails: of its being true, so that a small one speaks against it.
        tested: by a test; False where the numbers alone decide, as memory does.
    """

    holds: float
    fails: float
    tested: bool = True

    @property
    def verdict(self) -> bool | None:
        """What a single test says; None where it does not decide."""
        if min(self.holds, self.fails) > ALPHA / 2:
            return None
        return self.holds < self.fails


UNDECIDED = Odds(1.0, 1.0)
"""Of what cannot be tested."""


def certain(holds: bool) -> Odds:
    """Of what needs no test."""
    return Odds(0.0, 1.0, tested=False) if holds else Odds(1.0, 0.0, tested=False)


@dataclass(frozen=True)
class Part:
    """One thing that a claim says.

    Attributes:
        odds: of each statement in it, all of which must hold; none for a remark, which decides nothing.
        why: in a sentence.
        numbers: what it rests on.
    """

    odds: tuple[Odds, ...]
    why: str
    numbers: tuple[Comparison, ...] = ()


def missing(why: str) -> Part:
    """A part that cannot be decided, as something is missing."""
    return Part((UNDECIDED,), why)


@dataclass(frozen=True)
class Assessment:
    """A claim's parts, before other claims are known.

    Attributes:
        parts: all of which must hold.
    """

    parts: tuple[Part, ...]
    odds: tuple[Odds, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "odds", tuple(odds for part in self.parts for odds in part.odds))

    @property
    def tests(self) -> int:
        """How many statements are tested."""
        return sum(odds.tested for odds in self.odds)

    @property
    def holds(self) -> float:
        """One-sided p-value of the claim's being false."""
        return max((odds.holds for odds in self.odds), default=1.0)

    @property
    def fails(self) -> float:
        """One-sided p-value of the claim's being true."""
        return min((odds.fails * (max(1, self.tests) if odds.tested else 1) for odds in self.odds), default=1.0)

    @property
    def p_value(self) -> float:
        """Two-sided."""
        return min(1.0, 2 * min(self.holds, self.fails))


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims.

    Attributes:
        number: in the order of the study's protocol.
        statement: in a sentence.
        rule: what makes it hold, thresholds included.
        check: takes it apart into what must hold for it; no part at all is not decided.
    """

    number: int
    statement: str
    rule: str
    check: Callable[[Evidence], Sequence[Part]]


def judge(claims: Sequence[Claim], evidence: Evidence) -> list[Finding]:
    """Hold claims against the evidence, so that any of them is decided falsely in at most `ALPHA` of studies.

    Args:
        claims: all that are checked; their number counts.
        evidence: what there is.
    """
    assessed = [Assessment(tuple(claim.check(evidence))) for claim in claims]
    tested = [place for place, assessment in enumerate(assessed) if assessment.tests]
    adjusted = dict(zip(tested, holm([assessed[place].p_value for place in tested]), strict=True))
    return [
        _finding(claim, assessment, adjusted.get(place), len(tested), evidence)
        for place, (claim, assessment) in enumerate(zip(claims, assessed, strict=True))
    ]


def _finding(claim: Claim, assessment: Assessment, adjusted: float | None, family: int, evidence: Evidence) -> Finding:
    numbers = tuple(number for part in assessment.parts for number in part.numbers)
    cells = tuple(dict.fromkeys(cell for number in numbers for cell in number.cells))
    kinds = "; ".join(test for test in Test if any(number.test is test for number in numbers)) or "nothing to test"
    p_value = assessment.p_value if adjusted is None else adjusted
    said = [
        *(part.why for part in assessment.parts),
        *_certainty(assessment, adjusted, family),
        *_scope(numbers),
        *evidence.coverage(cells),
        *evidence.caveats(cells),
    ]
    why = " ".join(said) or "No cells that it speaks of."
    rule = f"{claim.rule} Test: {kinds}{_choice(numbers)}."
    shown = adjusted if any(number.p_value is not None for number in numbers) else None
    return Finding(claim.number, claim.statement, _verdict(assessment, p_value), numbers, rule, cells, why, shown)


def _verdict(assessment: Assessment, p_value: float) -> Verdict:
    if p_value >= ALPHA:
        return Verdict.not_decided
    return Verdict.confirmed if assessment.holds < assessment.fails else Verdict.refuted


def _certainty(assessment: Assessment, adjusted: float | None, family: int) -> list[str]:
    """The p-value, and what could have been told."""
    powers = [
        (number.power, number.samples)
        for part in assessment.parts
        for number in part.numbers
        if number.power is not None
    ]
    if adjusted is None or not powers:
        return []
    power, samples = min(powers, key=lambda pair: pair[0])
    count = "" if samples is None else f" ({samples:,.0f} samples)"
    which = count if len(powers) == 1 else f" in the weakest of {len(powers)} comparisons{count}"
    return [
        f"Over {family} claims (Holm) {p_text(adjusted)}.",
        f"The power against a difference of {100 * POWER_POINTS:g} points is {power:.2f}{which}.",
    ]


def _scope(numbers: Sequence[Comparison]) -> list[str]:
    """What the numbers speak of, where that is less than methods."""
    said = []
    if any(number.scope is Scope.printed for number in numbers):
        said.append("Told by sign, as printed in the paper.")
    if any(number.scope is Scope.runs for number in numbers):
        said.append("Of these runs alone: with one seed a method's spread between runs is not known.")
    if any(number.pooled for number in numbers):
        said.append("The spread between runs of a single seed is pooled from this study's other configurations.")
    return said


def _choice(numbers: Sequence[Comparison]) -> str:
    chosen = any(number.choices > 1 and number.tested is not None for number in numbers)
    return "; the choice of the best is repeated in each resample (max-T)" if chosen else ""


def odds_of(comparison: Comparison, margin: float = 0.0) -> Odds:
    """Whether the first exceeds the second by more than a margin.

    Args:
        comparison: the comparison. Printed numbers decide by their sign. Others decide if they compare methods on at
            least `FEWEST_SAMPLES` test samples.
        margin: in the unit of the difference; negative where "not much worse" is enough.
    """
    if comparison.scope is Scope.printed:
        return UNDECIDED if comparison.difference == margin else certain(comparison.difference > margin)
    few = comparison.samples is not None and comparison.samples < FEWEST_SAMPLES
    if comparison.tested is None or few or comparison.scope is not Scope.methods:
        return UNDECIDED
    return Odds(comparison.tested.above(margin), comparison.tested.below(margin))


def all_hold(what: str, comparisons: Sequence[Comparison | None], margin: float = 0.0) -> Part:
    """Whether the first is larger in each of several comparisons.

    Args:
        what: the comparisons are of.
        comparisons: those that are None are left out.
        margin: see `odds_of`.
    """
    made = [comparison for comparison in comparisons if comparison is not None]
    if not made:
        return missing(f"{what}: nothing to compare.")
    odds = tuple(odds_of(comparison, margin) for comparison in made)
    against = [comparison.text for comparison, part_odds in zip(made, odds, strict=True) if part_odds.verdict is False]
    holding = sum(part_odds.verdict is True for part_odds in odds)
    open_ = len(made) - holding - len(against)
    parts = [f"{what}: {holding} of {len(made)} hold"]
    parts += [f"against it {'; '.join(against)}"] if against else []
    parts += [f"{open_} not decided"] if open_ else []
    return Part(odds, f"{', '.join(parts)}.", tuple(made))
