"""From comparisons to a verdict on a claim.

Rules and thresholds were set with the paper's numbers in view, so that these coming out as in the paper shows that the
rules say what it says and is no evidence of their own. They were not changed after runs were held against them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any

from peft_study.report.evidence import Comparison, Evidence, Test, Z

ALPHA = 0.05
"""A difference with a p-value is one below this. For "every ..." to fail by one of several, below its share of this."""

FEWEST_SAMPLES = 20
"""Of fewer test samples nothing is told: resampled, five that all agree have no spread at all."""


class Verdict(StrEnum):
    """What the data says of a claim."""

    confirmed = "confirmed"
    refuted = "refuted"
    not_enough_data = "not_enough_data"


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
    """

    number: int
    statement: str
    verdict: Verdict
    comparisons: tuple[Comparison, ...]
    test: str
    cells: tuple[str, ...]
    explanation: str

    @property
    def numbers(self) -> Mapping[str, str]:
        """The comparisons for a reader: what is compared, and how it came out."""
        return {one.name: one.values for one in self.comparisons}

    def to_json(self) -> dict[str, Any]:
        """Plain containers, the comparisons with their full precision."""
        return asdict(self) | {"numbers": dict(self.numbers)}


@dataclass(frozen=True)
class Part:
    """One thing that a claim says, and whether it is so.

    Attributes:
        holds: None where the data does not decide.
        why: in a sentence.
        numbers: what it rests on.
    """

    holds: bool | None
    why: str
    numbers: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims.

    Attributes:
        number: in the order of the study's protocol.
        statement: in a sentence.
        rule: what makes it hold, thresholds included.
        check: takes it apart into what must hold for it; no part at all is not enough data.
    """

    number: int
    statement: str
    rule: str
    check: Callable[[Evidence], Sequence[Part]]

    def judge(self, evidence: Evidence) -> Finding:
        """Hold the claim against the evidence: every part must hold, and one that does not refutes it."""
        parts = self.check(evidence)
        numbers = tuple(one for part in parts for one in part.numbers)
        cells = tuple(dict.fromkeys(cell for one in numbers for cell in one.cells))
        tests = "; ".join(test for test in Test if any(one.test is test for one in numbers)) or "nothing to test"
        said = [*(part.why for part in parts), *evidence.coverage(cells), *evidence.caveats(cells)]
        why = " ".join(said) or "No cells that it speaks of."
        return Finding(self.number, self.statement, _verdict(parts), numbers, f"{self.rule} Test: {tests}.", cells, why)


def _verdict(parts: Sequence[Part]) -> Verdict:
    if any(part.holds is False for part in parts):
        return Verdict.refuted
    if parts and all(part.holds for part in parts):
        return Verdict.confirmed
    return Verdict.not_enough_data


def is_larger(one: Comparison, margin: float = 0.0, alpha: float = ALPHA) -> bool | None:
    """Whether the first exceeds the second by more than a margin; None where that cannot be told.

    Args:
        one: the comparison. With an interval, and a margin, the interval decides, widened or narrowed as a normal
            distribution's would be for `alpha`; with a p-value, and none, that does; on summary numbers alone the sign.
            On fewer than `FEWEST_SAMPLES` test samples it cannot be told.
        margin: in the unit of the difference; negative where "not much worse" is enough.
        alpha: of a test.
    """
    if one.samples is not None and one.samples < FEWEST_SAMPLES:
        return None
    if one.p_value is None or one.low is None or one.high is None:
        return None if one.difference == margin else one.difference > margin
    if margin:
        width = NormalDist().inv_cdf(1 - alpha / 2) / Z
        low, high = (one.difference + width * (end - one.difference) for end in (one.low, one.high))
        return True if low > margin else False if high < margin else None
    return one.difference > 0 if one.p_value < alpha else None


def every(what: str, found: Sequence[Comparison | None], margin: float = 0.0) -> Part:
    """Whether the first is larger in each of several comparisons.

    It is where every single one tells so. It is not where one tells the contrary, by a test at ALPHA divided by their
    number, as one of many may do so by chance.

    Args:
        what: the comparisons are of.
        found: one that is None could not be made, and is left out.
        margin: see `is_larger`.
    """
    known = [one for one in found if one is not None]
    if not known:
        return Part(None, f"{what}: nothing to compare.")
    outcomes = [is_larger(one, margin) for one in known]
    against = [one for one in known if is_larger(one, margin, ALPHA / len(known)) is False]
    count = f"{what}: {sum(outcome is True for outcome in outcomes)} of {len(known)} hold"
    if against:
        return Part(False, f"{count}, against it {'; '.join(one.text for one in against)}.", tuple(known))
    if all(outcomes):
        return Part(True, f"{count}.", tuple(known))
    return Part(None, f"{count}, the others cannot be told.", tuple(known))
