"""One text-to-code sample."""

from dataclasses import dataclass, field
from typing import Any


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
class ProgramTests:
    """The input/output tests of a whole program.

    Values are what JSON can hold. Integers are exact at any length: to write one of more than 4,300 digits, Python
    wants `sys.set_int_max_str_digits(0)`.

    Attributes:
        inputs: one a test; text for standard input, or the list of arguments where a function is called.
        outputs: what is expected of each; as many as `inputs`.
        fn_name: the function to call; None where the program reads standard input and writes standard output.
    """

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    fn_name: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """An instruction in natural language and the code that answers it.

    The `repr` holds the first four fields alone, and the fingerprint only what is set: both identify data sets
    in results made before there were others.

    Attributes:
        id: unique and stable within the data set, such as "test-17".
        instruction: the natural-language intent.
        answer: the reference code; empty where a test problem has none and is scored by its tests.
        checks: input/output checks where the data set has them.
        level: difficulty, where the data set states it.
        tests: of a whole program, where the data set has them.
        starter_code: what the program begins with.
        assertions: Python source that asserts what the answer must do, where the data set is scored by that.
        published_answer: the answer as its file has it, where that has line ends of another kind.
        cluster: what it shares with samples that are not independent of it, such as the question that it phrases.
    """

    id: str
    instruction: str
    answer: str
    checks: tuple[Check, ...] = ()
    level: str | None = field(default=None, repr=False)
    tests: ProgramTests | None = field(default=None, repr=False)
    starter_code: str = field(default="", repr=False)
    assertions: str = field(default="", repr=False)
    published_answer: str = field(default="", repr=False, compare=False)
    cluster: str | None = field(default=None, repr=False, compare=False)

    @property
    def reference(self) -> str:
        """What candidates are compared with: the answer as its file has it."""
        return self.published_answer or self.answer
