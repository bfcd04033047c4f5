"""Turns samples into problems: their tests, assertions or checks."""

import ast
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from peft_study.data.samples import Check, Sample
from peft_study.errors import UserError
from peft_study.judging.problems import Case, Problem, ProblemId, problem_of_assertions, problem_of_inputs
from peft_study.sandbox.jobs import Kind
from peft_study.scoring import checks

logger = logging.getLogger(__name__)

# As text, because the sandbox cannot import this package.
_HARNESS = Path(checks.__file__).read_text(encoding="utf-8")
_CALLED = "run_the_checks"


def problems_of(samples: Sequence[Sample]) -> dict[ProblemId, Problem]:
    """Return the problems of samples with tests, by id. A problem that cannot be read is left out with a warning."""
    problems: dict[ProblemId, Problem] = {}
    for sample in samples:
        try:
            problem = problem_of(sample)
        except UserError as error:
            logger.warning("%s cannot be scored by its tests: %s", sample.id, error.what)
            continue
        if problem is not None:
            problems[sample.id] = problem
    return problems


def problem_of(sample: Sample) -> Problem | None:
    """Return the problem of a sample, None if it has no tests.

    Raises:
        UserError: the tests are malformed.
    """
    if sample.tests is not None:
        return problem_of_inputs(sample.id, sample.tests.inputs, sample.tests.outputs, sample.tests.fn_name)
    if sample.assertions:
        return problem_of_assertions(sample.id, sample.assertions)
    return _problem_of_checks(sample.id, sample.checks) if sample.checks else None


def source_of(sample: Sample, program: str) -> str:
    """Return the source that the sandbox runs: the program, or a harness around an answer with checks."""
    if sample.tests is not None or sample.assertions or not sample.checks:
        return program
    return f"{_HARNESS}\n\ndef {_CALLED}(checks):\n    return run_checks({program!r}, checks)\n"


def without_starter(sample: Sample, program: str) -> str:
    """Remove the starter code before a candidate, as the study's package does."""
    return program.removeprefix(sample.starter_code.rstrip())


def _problem_of_checks(identity: str, sample_checks: Sequence[Check]) -> Problem:
    # One test for all checks: a check takes a microsecond, a test takes milliseconds.
    pairs = [[check.setup, check.probe] for check in sample_checks]
    expected = [checks.text_of(ast.literal_eval(check.expected)) for check in sample_checks]
    case = Case(arguments=json.dumps([pairs]).encode(), expected=expected)
    return Problem(identity, Kind.call, (case,), function=_CALLED, prelude="")
