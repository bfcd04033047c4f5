"""Docstrings name what exists: every `Args:` entry a parameter, every `Attributes:` entry an attribute."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[2] / "peft_study"
FILES = sorted(PACKAGE.rglob("*.py"))
SECTION = re.compile(r"(?P<title>[A-Z][a-z]+):")
ENTRY = re.compile(r"\*{0,2}(?P<name>[\w.]+):(?: \S|$)")
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Entry(NamedTuple):
    """A line of a section that begins an entry; the name is None if the line is malformed."""

    section: str
    name: str | None
    line: str


def entries(docstring: str) -> Iterator[Entry]:
    """The entries of the `Args:`, `Attributes:` and `Raises:` sections of a docstring."""
    title = ""
    for line in docstring.splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if not text:
            continue
        if indent == 0:
            match = SECTION.fullmatch(text)
            title = match["title"] if match else ""
        elif title in ("Args", "Attributes", "Raises") and indent == 4:
            match = ENTRY.match(text)
            yield Entry(title, match["name"] if match else None, text)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names of a function's parameters."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in every if argument is not None}


def attributes(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> set[str]:
    """Fields, properties and what methods assign to `self`, of a class and of its bases in the package."""
    names: set[str] = set()
    for part in ast.walk(node):
        match part:
            case ast.AnnAssign(target=ast.Name(name)) | ast.FunctionDef(name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.Attribute(ast.Name("self"), name, ast.Store()):
                names.add(name)
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            names |= attributes(classes[base.id], classes)
    return names


def arguments_of(node: Definition, classes: dict[str, ast.ClassDef]) -> set[str]:
    """What may be passed to a function, or to a class: parameters of `__init__`, or fields."""
    if not isinstance(node, ast.ClassDef):
        return parameters(node)
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            return parameters(method)
    return attributes(node, classes)


def problems(tree: ast.Module, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    """What is wrong with the docstrings of a module."""
    for node in ast.walk(tree):
        if not isinstance(node, Definition):
            continue
        for entry in entries(ast.get_docstring(node) or ""):
            place = f"line {node.lineno}, {node.name}, {entry.section}"
            if entry.name is None:
                yield f"{place}: an entry must be `name: text`, got {entry.line!r}"
            elif entry.section == "Args" and entry.name not in arguments_of(node, classes):
                yield f"{place}: {entry.name!r} is not a parameter"
            elif entry.section == "Attributes" and (
                not isinstance(node, ast.ClassDef) or entry.name not in attributes(node, classes)
            ):
                yield f"{place}: {entry.name!r} is not an attribute"


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def test_every_entry_names_a_parameter_or_an_attribute(trees: dict[Path, ast.Module]) -> None:
    classes = {node.name: node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    wrong = [
        f"{path.relative_to(PACKAGE)}, {problem}" for path, tree in trees.items() for problem in problems(tree, classes)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_wrong_entry_is_noticed() -> None:
    source = '''
class Point:
    """A point.

    Attributes:
        x: metres.
        y: metres.
        and the rest of a sentence
    """

    x: float

def move(distance):
    """Move.

    Args:
        distance: metres,
            along the road.
        speed: metres a second.
    """
'''
    wrong = list(problems(ast.parse(source), {}))
    assert [text.partition(": ")[0].rpartition(", ")[0] for text in wrong] == [
        "line 2, Point",
        "line 2, Point",
        "line 13, move",
    ]
