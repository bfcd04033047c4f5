"""The parts of a claim: what its comparisons say, as one-sided p-values and a reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from peft_study.report.claims.comparison import ALPHA, Comparison, Scope


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
        """Whether the statement holds, by this test alone; None if the test does not decide."""
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
        reason: in a sentence.
        comparisons: what it is based on.
    """

    odds: tuple[Odds, ...]
    reason: str
    comparisons: tuple[Comparison, ...] = ()


def missing(reason: str) -> Part:
    """Return a part that cannot be decided because something is missing."""
    return Part((UNDECIDED,), reason)


def odds_of(comparison: Comparison, margin: float = 0.0) -> Odds:
    """Return the odds that the first number exceeds the second by more than a margin.

    Args:
        comparison: printed numbers decide by their sign. Others decide only if they generalise to methods and are of
            `FEWEST_SAMPLES` test samples or more.
        margin: in the unit of the difference; negative if "not much worse" is enough.
    """
    if comparison.scope is Scope.printed:
        return UNDECIDED if comparison.difference == margin else certain(comparison.difference > margin)
    tested = comparison.deciding_test
    return UNDECIDED if tested is None else Odds(tested.above(margin), tested.below(margin))


def all_hold(statement: str, comparisons: Sequence[Comparison | None], margin: float = 0.0) -> Part:
    """Return the part that the first number is larger in each comparison.

    Args:
        statement: what holds if the first number is larger.
        comparisons: None for one that could not be made, which is left out.
        margin: see `odds_of`.
    """
    made = [comparison for comparison in comparisons if comparison is not None]
    # Absence of evidence decides nothing, so a part without numbers cannot hold.
    if not made:
        return missing(f"{statement}: nothing to compare.")
    odds = tuple(odds_of(comparison, margin) for comparison in made)
    verdicts = [each.verdict for each in odds]
    against = [comparison.text for comparison, verdict in zip(made, verdicts, strict=True) if verdict is False]
    texts = [f"{statement}: {verdicts.count(True)} of {len(made)} hold"]
    texts += [f"against it {'; '.join(against)}"] if against else []
    texts += [f"{verdicts.count(None)} not decided"] if None in verdicts else []
    return Part(odds, f"{', '.join(texts)}.", tuple(made))
