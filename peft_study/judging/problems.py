"""Problems and their tests, and what a sandbox is given to run one test of a candidate."""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from keyword import iskeyword
from typing import Any

from peft_study.errors import UserError
from peft_study.judging.asserts.assertions import Proof
from peft_study.judging.asserts.instrument import instrument
from peft_study.judging.asserts.splitting import split_assertions
from peft_study.judging.compare import parsed
from peft_study.judging.package_rules import FUNCTION, package_prelude, package_source
from peft_study.sandbox.inside.prelude import ANY_LENGTH, apps_prelude
from peft_study.sandbox.jobs import Job, Kind

ProblemId = int | str


class NothingAssertedError(UserError):
    """Tests that hold nothing that a wrong program would fail."""


@dataclass(frozen=True)
class Case:
    """One test: what a candidate gets, and what stays outside of the sandbox.

    Attributes:
        stdin: the standard input (script).
        arguments: a JSON list (call).
        tests: source of the assertions (asserts).
        expected: text (script), a value as `compare.parsed` gives it (call), or nothing (asserts).
    """

    stdin: bytes = b""
    arguments: bytes = b"[]"
    tests: str = ""
    expected: Any = None


@dataclass(frozen=True)
class Problem:
    """A problem that can be judged.

    Attributes:
        id: a number or text.
        kind: how its tests run a candidate.
        cases: its tests, at least one.
        function: what is called (call).
        prelude: source that runs before a candidate; None is the published one for APPS and nothing for assertions.
        wrapped: see `compare.same_value` (call).
        package_rules: candidates run as the checker of the study's package runs them (script and call). It is not part
            of the `repr`, which identifies kept verdicts; `records.fingerprint` adds it where it is set.
    """

    id: ProblemId
    kind: Kind
    cases: tuple[Case, ...]
    function: str | None = None
    prelude: str | None = None
    wrapped: bool = False
    package_rules: bool = field(default=False, repr=False)

    def job(self, source: str, case: Case) -> Job:
        """What the sandbox runs to put a candidate to one test; nothing in it says what is expected."""
        prelude, function = self.prelude or "", self.function
        if self.package_rules:
            prelude = package_prelude(script=self.kind is Kind.script)
            source, function = package_source(source, function), function and FUNCTION
        elif self.kind is not Kind.asserts:
            published = apps_prelude(source, script=self.kind is Kind.script)
            prelude = ANY_LENGTH + (published if self.prelude is None else self.prelude)
        return Job(
            source=source,
            kind=self.kind,
            prelude=prelude,
            stdin=case.stdin,
            function=function,
            arguments=case.arguments,
            tests=case.tests,
            proof=Proof if self.kind is Kind.asserts else None,
        )

    def under_package_rules(self) -> "Problem":
        """The same problem under the rules of the checker of the study's package.

        Raises:
            UserError: its tests assert; that checker compares outputs alone.
        """
        if self.kind is Kind.asserts:
            raise UserError(
                "the package's rules are for tests that compare outputs, got assertions",
                where=f"problem {self.id!r}",
                hint="leave the package's rules off",
            )
        return replace(self, package_rules=True)


def problem_of_inputs(
    identity: ProblemId,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    fn_name: str | None = None,
    prelude: str | None = None,
) -> Problem | None:
    """A problem in the form of APPS.

    Args:
        identity: its id.
        inputs: one a test: text or a list of lines for standard input, or the list of arguments for a function.
        outputs: what is expected of each; integers may have any length.
        fn_name: the function, or the method of a class `Solution`; None where programs read standard input.
        prelude: source that runs before a candidate; None for the published one.

    Returns:
        the problem, None where it has no test.

    Raises:
        UserError: a test is not of this form.
    """
    where = f"problem {identity!r}"
    _check_prelude(prelude, where)
    if len(inputs) != len(outputs):
        raise UserError(
            f"{len(inputs)} inputs and {len(outputs)} outputs", where=where, hint="one output for each input, in order"
        )
    if not inputs:
        return None
    if fn_name is None:
        cases = [_script_case(given, wanted, where) for given, wanted in zip(inputs, outputs, strict=True)]
        return Problem(identity, Kind.script, tuple(cases), None, prelude)
    if not fn_name.isidentifier() or iskeyword(fn_name):
        raise UserError(f"fn_name {fn_name!r} is no name of a function", where=where, hint="such as two_sum")
    with integers_of_any_length():
        cases = [
            Case(arguments=_arguments(given, where), expected=parsed(json.dumps(wanted)))
            for given, wanted in zip(inputs, outputs, strict=True)
        ]
    wrapped = all(isinstance(case.expected, list) and len(case.expected) == 1 for case in cases)
    return Problem(identity, Kind.call, tuple(cases), fn_name, prelude, wrapped)


def problem_of_assertions(identity: ProblemId, tests: str, prelude: str | None = None) -> Problem | None:
    """A problem whose tests are Python source that asserts (MBPP, HumanEval).

    Args:
        identity: its id.
        tests: the source; see `split_assertions` for what becomes a verdict of its own.
        prelude: source that runs before a candidate; None for nothing.

    Returns:
        the problem, None where the source is blank.

    Raises:
        NothingAssertedError: no program could fail the tests.
        UserError: the source does not parse, or is nested too deeply to be taken apart.
    """
    if not tests.strip():
        return None
    where = f"problem {identity!r}"
    _check_prelude(prelude, where)
    _utf8(tests, where)
    try:
        with integers_of_any_length():
            sources = split_assertions(tests)
            for source in sources:
                instrument(source)  # once, and kept for every candidate
    except ValueError as error:
        raise UserError(str(error), where=where, hint="Python source with assert statements") from error
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise UserError(
            f"the tests cannot be taken apart ({_reason(error)})",
            where=where,
            hint="shorter expressions; what is long, in a variable or a loop",
        ) from error
    if not sources:
        raise NothingAssertedError(
            "the tests assert nothing, or only in functions that nothing calls",
            where=where,
            hint="an assert statement that calls the program; call test functions, end a TestCase with unittest.main()",
        )
    return Problem(identity, Kind.asserts, tuple(Case(tests=source) for source in sources), None, prelude)


def _check_prelude(prelude: str | None, where: str) -> None:
    if prelude is None:
        return
    _utf8(prelude, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(prelude, "prelude", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise UserError(
            f"the prelude is not Python ({_reason(error)})", where=where, hint="source that runs before each candidate"
        ) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg}, its line {error.lineno}"
    return "nested too deeply" if isinstance(error, RecursionError | MemoryError) else str(error)


@contextmanager
def integers_of_any_length() -> Iterator[None]:
    """Read and write integers of more than 4,300 digits meanwhile; only for what the person who asks has written.

    The limit is Python's guard against input that takes quadratic time, and holds for the whole process.
    """
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(limit)


def _script_case(given: Any, wanted: Any, where: str) -> Case:
    expected = _text(wanted, where)
    _utf8(expected, where)  # no program could print it
    return Case(stdin=_utf8(_text(given, where), where), expected=expected)


def _text(value: Any, where: str) -> str:
    """Text of a test of standard input; the published checker joins lists of lines in the same way."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    raise UserError(
        f"a test of standard input holds a {type(value).__name__} where text belongs",
        where=where,
        hint='text or a list of lines; for arguments of a function, "fn_name"',
    )


def _utf8(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            "a test holds half of a surrogate pair", where=where, hint="remove the lone surrogate escape"
        ) from error


def _arguments(given: Any, where: str) -> bytes:
    if not isinstance(given, list):
        raise UserError(
            f"an input of a function is a {type(given).__name__}, not a list of arguments",
            where=where,
            hint="[[1, 2], 3] for f([1, 2], 3)",
        )
    return json.dumps(given).encode()
