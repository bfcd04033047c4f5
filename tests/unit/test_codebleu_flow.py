"""The edges of the data-flow match and the trees below them, on small programs."""

import pytest

from peft_study.metrics.codebleu import flow
from peft_study.metrics.codebleu.trees import Tree


def edges(code: str, as_evaluators: bool = False) -> dict[tuple[str, str, str], int]:
    """The edges as (variable, C for computed or < for coming from, its sources)."""
    counts = flow.edges(Tree(code, as_evaluators))
    signs = {"computedFrom": "C", "comesFrom": "<"}
    return {(name, signs[relation], "".join(sources)): count for (name, relation, sources), count in counts.items()}


# Variables are numbered by their first appearance, an edge's sources before its target. A source that comes from
# nowhere has an edge without sources.
EDGES = {
    "a name alone": ("x", {}),
    "assignment": ("x = y", {("1", "C", "0"): 1, ("0", "<", ""): 1}),
    "use": ("x = 1\ny = x", {("1", "C", "0"): 1, ("0", "<", ""): 1, ("2", "C", "1"): 1, ("1", "<", "1"): 1}),
    "part by part": ("a, b = 1, 2", {("1", "C", "0"): 1, ("3", "C", "2"): 1, ("0", "<", ""): 1, ("2", "<", ""): 1}),
    "as a whole": ("a, b = f(c)", {("2", "C", "01"): 1, ("3", "C", "01"): 1, ("0", "<", ""): 1, ("1", "<", ""): 1}),
    "repeated source": ("x = y + y", {("1", "C", "00"): 1, ("0", "<", ""): 1, ("0", "<", "0"): 1}),
    "augmented": ("x += y", {("1", "C", "0"): 1, ("0", "<", ""): 1}),
    "default": ("def f(x=1): return x", {("1", "<", "0"): 1, ("0", "<", ""): 1, ("1", "<", "1"): 1}),
    # x is read as it may have been left by either branch: one edge, two places.
    "branches": (
        "if c:\n    x = 1\nelse:\n    x = 2\nx",
        {("1", "C", "0"): 1, ("0", "<", ""): 1, ("1", "C", "2"): 1, ("2", "<", ""): 1, ("1", "<", "1"): 1},
    ),
    # In the second round `a` comes from the end of the first, and what the rounds find is joined.
    "loop": (
        "while True:\n    b = a\n    a = c",
        {("1", "C", "0"): 1, ("0", "<", "0"): 1, ("0", "C", "2"): 1, ("2", "<", "2"): 1},
    ),
    # Joining drops repetitions: y + y is one source here.
    "repeated source in a loop": (
        "for i in s:\n    x = y + y",
        {("1", "C", "0"): 1, ("0", "<", "0"): 1, ("3", "C", "2"): 1, ("2", "<", "2"): 2},
    ),
    "comprehension": ("[i for i in s]", {("0", "<", "0"): 1, ("0", "C", "1"): 1, ("1", "<", ""): 1}),
    "string": ("a.b = 'c'", {("1", "C", "0"): 1, ("2", "C", "0"): 1, ("0", "<", ""): 1}),
    "membership": ("x = a not in b", {("2", "C", "01"): 1, ("0", "<", ""): 1, ("1", "<", ""): 1}),
    "broken": ("for x in", {}),
    "empty": ("", {}),
    "not Latin": ("größe = länge", {("1", "C", "0"): 1, ("0", "<", ""): 1}),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str) -> None:
    code, expected = EDGES[name]

    assert edges(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        # The string's quotes and content are paired with `a`, `.` and `b`, and looked up in vain.
        ("a.b = 'c'", {}),
        # `not` and `in` count as names.
        (
            "x = a not in b",
            {("4", "C", "0123"): 1, ("0", "<", ""): 1, ("1", "<", ""): 1, ("2", "<", ""): 1, ("3", "<", ""): 1},
        ),
        # A call's function and arguments are parts like a tuple's.
        ("a, b = f(c)", {("1", "C", "0"): 1, ("3", "C", "2"): 1, ("0", "<", ""): 1, ("2", "<", ""): 1}),
        # The first umlaut is read with the space behind it, and so is another name than the second.
        ("ö = 1\nx = ö", {("1", "C", "0"): 1, ("3", "C", "2"): 1, ("0", "<", ""): 1, ("2", "<", ""): 1}),
    ],
)
def test_errors_of_the_published_evaluators(code: str, expected: dict[tuple[str, str, str], int]) -> None:
    assert edges(code, as_evaluators=True) == expected


def test_tokens_are_cut_by_character_with_columns_in_bytes() -> None:
    tree = Tree("é = a\ns = 'é' + '''b\nc'''", as_evaluators=True)

    assert tree.texts() == ["é", "=", "a", "s", "=", "'é'", "+", "'''b\nc'''"]
    # Behind each é everything is read a column late, and the line break within a token is lost.
    assert tree.texts_by_character() == ["é ", " ", "", "s", "=", "'é' ", " ", "''bc'''"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def f():\n    'doc'\n    x = 'kept'  # no\n", ["def", "f", "(", ")", ":", "x", "=", "'kept'"]),
        ("class A:\n    # first\n    r'''doc'''\n    'second'", ["class", "A", ":", "'second'"]),
        ("'doc'\nx", ["x"]),
        ("'all there is'", ["'all there is'"]),
        ("def f():\n    f'{x}'\n", ["def", "f", "(", ")", ":", "f'{x}'"]),
        ("if x:\n    'no docstring'", ["if", "x", ":", "'no docstring'"]),
        ("a  not   in b", ["a", "not in", "b"]),
        ("x = (", ["x", "=", "("]),
    ],
)
def test_comments_and_docstrings_are_not_words(code: str, words: list[str]) -> None:
    assert Tree(code, as_evaluators=False).words() == words


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("f(x)", "g(y)", True),
        ("a + b", "a * b", True),
        ("f(x)", "f(x, y)", False),
        ("x = 1", "x = '1'", False),
        ("x = 1", "1 = x", False),
        ("f(x=1)", "f(x==1)", False),
        ("x = $", "x = ?", False),
    ],
)
def test_trees_have_the_same_shape_if_they_print_the_same(first: str, second: str, same: bool) -> None:
    numbers: dict[object, int] = {}
    roots = []
    for code in (first, second):
        tree = Tree(code, as_evaluators=True)
        tree.shapes(numbers)
        roots.append(tree.nodes[0].shape)

    assert (roots[0] == roots[1]) == same
