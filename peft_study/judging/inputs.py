"""Reads the two input files of the command: problems and candidates. Every error names file and line."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from peft_study.data import jsonl
from peft_study.errors import UserError
from peft_study.judging.problems import (
    NothingAssertedError,
    Problem,
    ProblemId,
    integers_of_any_length,
    problem_of_assertions,
    problem_of_inputs,
)

PROBLEM_FORM = (
    '{"problem_id": 1, "input_output": {"inputs": [...], "outputs": [...]}} or {"problem_id": 1, "tests": "assert ..."}'
)
CANDIDATE_FORM = '{"problem_id": 1, "candidates": ["source", ...]}'
_TESTS = ("input_output", "tests")


@dataclass
class Problems:
    """The problems of a file.

    Attributes:
        judged: problems with tests by id, in the order of the file.
        untested: ids of problems without tests.
        unasserted: ids of problems whose tests assert nothing, in the order of the file.
    """

    judged: dict[ProblemId, Problem] = field(default_factory=dict)
    untested: set[ProblemId] = field(default_factory=set)
    unasserted: list[ProblemId] = field(default_factory=list)

    @property
    def ids(self) -> set[ProblemId]:
        """All problem ids of the file."""
        return {*self.judged, *self.untested, *self.unasserted}


@dataclass(frozen=True)
class Candidate:
    """One program for a problem.

    Attributes:
        problem_id: the id of the problem.
        index: position among the candidates of the problem, from 0.
        source: Python source. It need not parse.
    """

    problem_id: ProblemId
    index: int
    source: str


def read_problems(path: Path) -> Problems:
    """Read a file of problems, one per line.

    Raises:
        UserError: a line does not describe a problem, two problems share an id, or no tests assert anything.
    """
    problems = Problems()
    seen: set[ProblemId] = set()
    # The tests of APPS hold integers of more than 9,000 digits.
    with integers_of_any_length():
        for where, row in _rows(path, PROBLEM_FORM):
            identity = _identity(row, where, PROBLEM_FORM, seen, "give each problem another id")
            try:
                problem = _problem(identity, row, where)
            except NothingAssertedError:
                problems.unasserted.append(identity)
                continue
            if problem is None:
                problems.untested.add(identity)
            else:
                problems.judged[identity] = problem
    if not problems.judged:
        what = "no problem has tests" if not problems.unasserted else "no problem has tests that assert anything"
        raise UserError(what, where=str(path), hint=PROBLEM_FORM)
    return problems


def read_candidates(path: Path, problem_ids: Collection[ProblemId]) -> list[Candidate]:
    """Read a file of candidates, one problem per line.

    Args:
        path: the file.
        problem_ids: ids of all problems, including those without tests.

    Raises:
        UserError: a line is malformed, names an unknown problem, or names a problem a second time.
    """
    candidates: list[Candidate] = []
    seen: set[ProblemId] = set()
    for where, row in _rows(path, CANDIDATE_FORM):
        identity = _identity(row, where, CANDIDATE_FORM, seen, "put all candidates of a problem on one line")
        if identity not in problem_ids:
            raise UserError(f"unknown problem {identity!r}", where=where, hint=_suggestion(identity, problem_ids))
        sources = row.get("candidates")
        if not isinstance(sources, list):
            raise UserError('"candidates" must be a list', where=where, hint=CANDIDATE_FORM)
        for index, source in enumerate(sources):
            if not isinstance(source, str):
                raise UserError(
                    f"candidate {index} must be text, got {type(source).__name__}", where=where, hint=CANDIDATE_FORM
                )
            candidates.append(Candidate(identity, index, source))
    return candidates


def _rows(path: Path, form: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        yield from jsonl.read_rows(path)
    except UserError as error:
        hint = "check the path" if error.where == str(path) else form
        raise UserError(error.what, where=error.where, hint=hint) from error


def _identity(row: dict[str, Any], where: str, form: str, seen: set[ProblemId], hint_if_seen: str) -> ProblemId:
    identity = row.get("problem_id")
    # Not `isinstance`: true is an int in Python, and would be the same id as 1.
    if type(identity) is not int and not (isinstance(identity, str) and identity and jsonl.has_utf8_form(identity)):
        problem = "must be an integer or text" if "problem_id" in row else "is missing"
        raise UserError(f'"problem_id" {problem}', where=where, hint=form)
    if identity in seen:
        raise UserError(f"problem_id must be unique, got {identity!r} twice", where=where, hint=hint_if_seen)
    seen.add(identity)
    return identity


def _suggestion(identity: ProblemId, problem_ids: Collection[ProblemId]) -> str:
    # 7 and "7" are different ids, and `repr` shows the difference.
    similar = [other for other in problem_ids if str(other) == str(identity)] or get_close_matches(
        str(identity), [other for other in problem_ids if isinstance(other, str)], n=3
    )
    return f"did you mean {' or '.join(map(repr, similar))}?" if similar else "use an id of the problems' file"


def _problem(identity: ProblemId, row: dict[str, Any], where: str) -> Problem | None:
    names = [name for name in _TESTS if row.get(name) not in (None, "", {})]
    if len(names) > 1:
        raise UserError('a problem has both "input_output" and "tests"', where=where, hint="keep only one of them")
    if not names:
        # Without this check, a misspelt key would leave its problem out without a word.
        for name in row:
            if name not in _TESTS and (close := get_close_matches(name, _TESTS, n=1, cutoff=0.8)):
                raise UserError(
                    f"unknown key {name!r} in a problem without tests", where=where, hint=f"did you mean {close[0]!r}?"
                )
        return None
    try:
        prelude = row.get("prelude")
        if prelude is not None and not isinstance(prelude, str):
            raise UserError('"prelude" must be text', hint="Python source, or leave it out")
        if names == ["tests"]:
            if not isinstance(row["tests"], str):
                raise UserError(f'"tests" must be text, got {type(row["tests"]).__name__}', hint=PROBLEM_FORM)
            return problem_of_assertions(identity, row["tests"], prelude)
        return _in_apps_form(identity, _object(row["input_output"]), prelude)
    except NothingAssertedError:
        raise
    except UserError as error:
        raise UserError(error.what, where=where, hint=error.hint) from error


def _object(value: Any) -> dict[str, Any]:
    """The tests in APPS form. The published files hold them as text that contains JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError) as error:
            raise UserError('the text of "input_output" must be JSON', hint=PROBLEM_FORM) from error
    if not isinstance(value, dict):
        raise UserError(f'"input_output" must be an object, got {type(value).__name__}', hint=PROBLEM_FORM)
    return value


def _in_apps_form(identity: ProblemId, tests: dict[str, Any], prelude: str | None) -> Problem | None:
    if not tests:
        return None
    inputs, outputs, fn_name = tests.get("inputs"), tests.get("outputs"), tests.get("fn_name")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise UserError('"inputs" and "outputs" of "input_output" must be lists', hint=PROBLEM_FORM)
    if fn_name is not None and not isinstance(fn_name, str):
        raise UserError('"fn_name" must be text', hint="the name of the function, or leave it out")
    return problem_of_inputs(identity, inputs, outputs, fn_name or None, prelude)
