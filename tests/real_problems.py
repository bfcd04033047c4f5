"""MBPP and HumanEval as problems of the judge, with their own solutions and copies of them that are wrong."""

import ast
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_study.data.syntax import parse
from peft_study.judging.problems import Problem, problem_of_assertions

FOLDER = Path(os.environ.get("PEFT_STUDY_DATA") or Path(__file__).parents[2] / "shared" / "data")

WRONG_VALUE = '''

def _wrong(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float, complex)):
        return value + 1
    if isinstance(value, (str, list, tuple)):
        return value + type(value)("?")
    if isinstance(value, (set, frozenset)):
        return value | {"?"}
    if isinstance(value, dict):
        return {**value, "?": "?"}
    return "?"


def _spoilt(name):
    return lambda *arguments, **named: _wrong(_own[name](*arguments, **named))

'''


@dataclass(frozen=True)
class RealProblem:
    """A published problem.

    Attributes:
        problem: its tests.
        solution: its own solution.
        functions: what the tests call of it.
    """

    problem: Problem
    solution: str
    functions: tuple[str, ...]

    @property
    def mutant(self) -> str:
        """The solution, except that each function the tests call returns another value than it found.

        What it finds comes from a second copy of the solution, so that one that calls itself is wrong only once.
        """
        own = f"_own = {{'__name__': 'own'}}\nexec({self.solution!r}, _own)\n"
        spoilt = "".join(f"{name} = _spoilt({name!r})\n" for name in self.functions)
        return f"{self.solution}\n{WRONG_VALUE}\n{own}{spoilt}"


def mbpp() -> list[RealProblem]:
    """All of MBPP; a skip where the file is not at hand."""
    return [_mbpp(row) for row in _rows("mbpp/all.jsonl")]


def humaneval() -> list[RealProblem]:
    """All of HumanEval; a skip where the file is not at hand."""
    return [_humaneval(row) for row in _rows("humaneval/test.jsonl")]


def _mbpp(row: dict[str, str]) -> RealProblem:
    tests = "\n".join([row["test_setup_code"], *row["test_list"]])
    problem = problem_of_assertions(f"MBPP/{row['task_id']}", tests)
    assert problem is not None
    called = {node.func.id for node in _nodes(tests) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    defined = [node.name for node in _nodes(row["code"]) if isinstance(node, ast.FunctionDef)]
    return RealProblem(problem, row["code"], tuple(name for name in dict.fromkeys(defined) if name in called))


def _nodes(source: str) -> Iterator[ast.AST]:
    tree = parse(source)
    assert tree is not None
    return ast.walk(tree)


def _humaneval(row: dict[str, str]) -> RealProblem:
    problem = problem_of_assertions(row["task_id"], f"{row['test']}\ncheck({row['entry_point']})\n")
    assert problem is not None
    return RealProblem(problem, row["prompt"] + row["canonical_solution"], (row["entry_point"],))


def _rows(name: str) -> list[dict[str, str]]:
    file = FOLDER / name
    if not file.is_file():
        pytest.skip(f"{file} is not at hand; PEFT_STUDY_DATA names its folder")
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
