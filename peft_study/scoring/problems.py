"""From a sample to what the judge runs: its tests, its assertions or its checks."""

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

_HARNESS = Path(checks.__file__).read_text(encoding="utf-8")
_CALLED = "run_the_checks"


def problems_of(samples: Sequence[Sample]) -> dict[ProblemId, Problem]:
    """The problems of the samples that have tests, by id; one that cannot be read is left out, with a warning."""
    found: dict[ProblemId, Problem] = {}
    for sample in samples:
        try:
            problem = problem_of(sample)
        except UserError as error:
            logger.warning("%s cannot be scored by its tests: %s", sample.id, error.what)
            continue
        if problem is not None:
            found[sample.id] = problem
    return found


def problem_of(sample: Sample) -> Problem | None:
    """The tests of one sample; None where it has none.

    Raises:
        UserError: the tests are not of their form.
    """
    if sample.tests is not None:
        return problem_of_inputs(sample.id, sample.tests.inputs, sample.tests.outputs, sample.tests.fn_name)
    if sample.assertions:
        return problem_of_assertions(sample.id, sample.assertions)
    return _problem_of_checks(sample.id, sample.checks) if sample.checks else None


def source_of(sample: Sample, program: str) -> str:
    """What the sandbox runs as the candidate: the program itself, or what puts an answer to its checks."""
    if sample.tests is not None or sample.assertions or not sample.checks:
        return program
    return f"{_HARNESS}\n\ndef {_CALLED}(checks):\n    return run_checks({program!r}, checks)\n"


def without_starter(sample: Sample, program: str) -> str:
    """A program without the starter code that was put before the candidate, which the study's package leaves out."""
    return program.removeprefix(sample.starter_code.rstrip())


def _problem_of_checks(identity: str, of_sample: Sequence[Check]) -> Problem:
    """One test for all checks of a sample: each takes a microsecond, and a test some milliseconds."""
    given = [[check.setup, check.probe] for check in of_sample]
    expected = [checks.text_of(ast.literal_eval(check.expected)) for check in of_sample]
    case = Case(arguments=json.dumps([given]).encode(), expected=expected)
    return Problem(identity, Kind.call, (case,), function=_CALLED, prelude="")
