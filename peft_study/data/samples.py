"""A text-to-code sample, and the hash that identifies a data set by its samples."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

LEVELS = ("introductory", "interview", "competition")
"""The levels of APPS, from easy to hard."""
# Python writes no integer of more than 4,300 decimal digits; hexadecimal has no limit.
LONGEST_DECIMAL_BITS = 14_000


@dataclass(frozen=True, slots=True)
class Check:
    """An input/output check of an answer that is an expression or a few statements.

    Attributes:
        setup: Python statements that bind the variables of the answer.
        probe: the expression to evaluate after the answer; "_" is the value of an answer that is an expression.
        expected: the Python literal that the probe must equal.
    """

    setup: str
    probe: str
    expected: str


@dataclass(frozen=True, slots=True)
class ProgramTests:
    """The input/output tests of a whole program.

    Values are those of JSON. Integers are exact at any length; writing one of more than 4,300 digits needs
    `sys.set_int_max_str_digits(0)`.

    Attributes:
        inputs: an input for each test: text for standard input, or the arguments of a function as a list.
        outputs: the expected outputs; as many as `inputs`.
        fn_name: the function to call; None if the program reads standard input and writes standard output.
    """

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    fn_name: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """An instruction in natural language and the code that answers it.

    The `repr` has only the first four fields, and the fingerprint only fields that are set: both identify data sets in
    results from before the other fields existed.

    Attributes:
        id: unique and stable within the data set, such as "test-17".
        instruction: the natural-language intent.
        answer: the reference code; empty for a test problem without one, which is scored by its tests.
        checks: input/output checks; empty if the data set has none.
        level: difficulty; None if the data set does not state it.
        tests: input/output tests of a whole program; None if the data set has none.
        starter_code: the beginning of the program.
        assertions: Python source that asserts what the answer must do; empty if the data set has none.
        published_answer: the answer as in its file, if that has other line ends; empty otherwise.
        cluster: id of a group of samples that are not independent, such as those that phrase the same question.
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
        """The text that candidates are compared with: the answer as in its file."""
        return self.published_answer or self.answer


def fingerprint(samples: Iterable[Sample]) -> str:
    """SHA-256 of samples in order. Optional fields count only if a sample has them."""
    digest = hashlib.sha256()
    for sample in samples:
        # Sample by sample, because the tests of APPS take hundreds of megabytes as one text.
        digest.update(json.dumps(_hashed(sample), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _hashed(sample: Sample) -> dict[str, Any]:
    # asdict copies value by value, which is slow for many samples, and tests may be megabytes.
    hashed = _values(sample)
    hashed["checks"] = [_values(check) for check in sample.checks]
    hashed["tests"] = None if sample.tests is None else _short(_values(sample.tests))
    # These fields came later, and data sets without them keep the fingerprint that earlier results recorded.
    for name in ("level", "tests", "starter_code", "assertions", "published_answer"):
        if not hashed[name]:
            del hashed[name]
    # It does not decide a score, and earlier fingerprints do not contain it.
    del hashed["cluster"]
    return hashed


def _values(record: Sample | Check | ProgramTests) -> dict[str, Any]:
    return {spec.name: getattr(record, spec.name) for spec in fields(record)}


def _short(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > LONGEST_DECIMAL_BITS:
        return {"hexadecimal": hex(value)}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return value
