"""Problems with their tests, and the job that runs one test of a candidate."""

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
    """No wrong program can fail the tests."""


@dataclass(frozen=True)
class Case:
    """One test: its input, and the expected output, which never enters the sandbox.

    The kind of the problem, in parentheses, decides which fields are used.

    Attributes:
        stdin: the standard input (script).
        arguments: a JSON list (call).
        tests: source of the assertions (asserts).
        expected: text (script), a value as `compare.parsed` returns it (call), or None (asserts).
    """

    stdin: bytes = b""
    arguments: bytes = b"[]"
    tests: str = ""
    expected: Any = None


@dataclass(frozen=True)
class Problem:
    """A problem that can be judged.

    Attributes:
        id: an integer or text.
        kind: how the tests run a candidate.
        cases: the tests, at least one.
        function: name of the called function (call).
        prelude: source that runs before a candidate. None means the published one for APPS, and none for assertions.
        wrapped: see `compare.same_value` (call).
        package_rules: candidates run as in the checker of the study's package (script and call). It is not part of the
            `repr`, which is part of the key of stored verdicts. `records.fingerprint` adds a version if it is set.
    """

    id: ProblemId
    kind: Kind
    cases: tuple[Case, ...]
    function: str | None = None
    prelude: str | None = None
    wrapped: bool = False
    package_rules: bool = field(default=False, repr=False)

    def job(self, source: str, case: Case) -> Job:
        """Return the job that runs one test of a candidate. It does not contain the expected output."""
        prelude, function = self.prelude or "", self.function
        if self.package_rules:
            prelude = package_prelude(script=self.kind is Kind.script)
            source, function = package_source(source, function), FUNCTION if function else None
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
        """Return this problem under the rules of the checker in the study's package.

        Raises:
            UserError: the tests assert. That checker only compares outputs.
        """
        if self.kind is Kind.asserts:
            raise UserError(
                "the package's rules apply only to tests that compare outputs, got assertions",
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
    """Make a problem from tests in the form of APPS.

    Args:
        identity: the id.
        inputs: one per test: text or a list of lines for standard input, or the list of arguments of a function.
        outputs: the expected output of each test. Integers may have any length.
        fn_name: the function, or the method of a class `Solution`. None if programs read standard input.
        prelude: source that runs before a candidate. None means the published one.

    Returns:
        the problem, None without tests.

    Raises:
        UserError: a test is malformed.
    """
    _check_prelude(prelude)
    if len(inputs) != len(outputs):
        raise UserError(
            f"inputs and outputs must have equal lengths, got {len(inputs)} and {len(outputs)}",
            hint="one output for each input, in order",
        )
    if not inputs:
        return None
    if fn_name is None:
        cases = [_script_case(stdin, expected) for stdin, expected in zip(inputs, outputs, strict=True)]
        return Problem(identity, Kind.script, tuple(cases), prelude=prelude)
    if not fn_name.isidentifier() or iskeyword(fn_name):
        raise UserError(f"fn_name must be the name of a function, got {fn_name!r}", hint="for example two_sum")
    # JSON and back, so that both sides of a comparison have the same form: tuples are lists, and keys are text.
    with integers_of_any_length():
        cases = [
            Case(arguments=_arguments(arguments), expected=parsed(json.dumps(expected)))
            for arguments, expected in zip(inputs, outputs, strict=True)
        ]
    wrapped = all(isinstance(case.expected, list) and len(case.expected) == 1 for case in cases)
    return Problem(identity, Kind.call, tuple(cases), function=fn_name, prelude=prelude, wrapped=wrapped)


def problem_of_assertions(identity: ProblemId, tests: str, prelude: str | None = None) -> Problem | None:
    """Make a problem whose tests are Python source that asserts (MBPP, HumanEval).

    Args:
        identity: the id.
        tests: the source. `split_assertions` divides it into separate verdicts.
        prelude: source that runs before a candidate, None for none.

    Returns:
        the problem, None if the source is blank.

    Raises:
        NothingAssertedError: no wrong program can fail the tests.
        UserError: the source does not parse, or is nested too deeply.
    """
    if not tests.strip():
        return None
    _check_prelude(prelude)
    _utf8(tests)
    try:
        # The published tests hold integers above the limit on digits, and they are trusted.
        with integers_of_any_length():
            sources = split_assertions(tests)
            for source in sources:
                instrument(source)  # errors show now, and the first run of a candidate reuses the cached result
    except ValueError as error:
        raise UserError(str(error), hint="Python source with assert statements") from error
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise UserError(
            f"the tests cannot be taken apart ({_reason(error)})",
            hint="use shorter expressions, or move long ones to a variable or a loop",
        ) from error
    if not sources:
        raise NothingAssertedError(
            "the tests assert nothing, or only in functions that nothing calls",
            hint="assert what the program returns, call test functions, and end a TestCase with unittest.main()",
        )
    return Problem(identity, Kind.asserts, tuple(Case(tests=source) for source in sources), prelude=prelude)


def _check_prelude(prelude: str | None) -> None:
    if prelude is None:
        return
    _utf8(prelude, "the prelude")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for example of an invalid escape sequence in a published prelude
            compile(prelude, "prelude", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        what = f"prelude must be Python source ({_reason(error)})"
        raise UserError(what, hint="source that runs before each candidate") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg}, its line {error.lineno}"
    return "nested too deeply" if isinstance(error, RecursionError | MemoryError) else str(error)


@contextmanager
def integers_of_any_length() -> Iterator[None]:
    """Lift the limit of 4,300 digits on integers, for the whole process. Use it only for trusted input.

    The limit guards against input that takes quadratic time.
    """
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(limit)


def _script_case(stdin: Any, expected: Any) -> Case:
    expected = _text(expected)
    _utf8(expected)  # no program could print a lone surrogate
    return Case(stdin=_utf8(_text(stdin)), expected=expected)


def _text(value: Any) -> str:
    """Text of a test of standard input. Lists of lines are joined as in the published checker."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    raise UserError(
        f"a test of standard input must be text, got {type(value).__name__}",
        hint='use text or a list of lines, or set "fn_name" for a function with arguments',
    )


def _utf8(text: str, name: str = "a test") -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{name} contains a lone surrogate", hint="remove the escape of the lone surrogate") from error


def _arguments(arguments: Any) -> bytes:
    if not isinstance(arguments, list):
        raise UserError(
            f"an input of a function must be a list of arguments, got {type(arguments).__name__}",
            hint="[[1, 2], 3] for f([1, 2], 3)",
        )
    return json.dumps(arguments).encode()
