"""One text-to-code sample."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One input/output check of an answer that is an expression or a few statements.

    Attributes:
        setup: Python statements that bind the variables which the answer reads.
        probe: the expression to evaluate after the answer ran; "_" stands for the value of an answer that is
            itself an expression.
        expected: the Python literal that the probe must equal.
    """

    setup: str
    probe: str
    expected: str


@dataclass(frozen=True, slots=True)
class Sample:
    """An instruction in natural language and the code that answers it.

    Attributes:
        id: unique and stable within the data set, such as "test-17".
        instruction: the natural-language intent.
        answer: the reference code.
        checks: input/output checks where the data set has them.
    """

    id: str
    instruction: str
    answer: str
    checks: tuple[Check, ...] = ()
