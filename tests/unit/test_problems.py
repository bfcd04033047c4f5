"""Problems and candidates: the two forms, what each complaint says, and how assertions become verdicts."""

import ast
import json
import time
from pathlib import Path
from typing import Any

import pytest

from peft_study.errors import UserError
from peft_study.judging.asserts.instrument import instrument
from peft_study.judging.asserts.splitting import split_assertions
from peft_study.judging.compare import LongInteger
from peft_study.judging.inputs import Candidate, read_candidates, read_problems
from peft_study.judging.problems import problem_of_assertions, problem_of_inputs
from peft_study.sandbox.inside.prelude import ANY_LENGTH, APPS_PRELUDE
from peft_study.sandbox.jobs import Kind
from tests.conftest import write_jsonl

ASSERTS = "assert f(1) == 2\nassert f(2) == 3\n"
HUGE = "7" * 9_000


def problems_of(folder: Path, *rows: Any) -> Any:
    return read_problems(write_jsonl(folder / "P.jsonl", list(rows)))


# --- problems ---


def test_a_problem_of_standard_input(tmp_path: Path) -> None:
    row = {"problem_id": 7, "input_output": {"inputs": ["1 2\n", ["3", "4"]], "outputs": ["3\n", ["7", "8"]]}}

    problem = problems_of(tmp_path, row).judged[7]

    assert problem.kind is Kind.script
    assert [(case.stdin, case.expected) for case in problem.cases] == [(b"1 2\n", "3\n"), (b"3\n4", "7\n8")]
    job = problem.job("print(1)", problem.cases[0])
    assert (job.source, job.stdin, job.function) == ("print(1)", b"1 2\n", None)
    assert "7" not in repr(problem.job("print(1)", problem.cases[1])).replace(APPS_PRELUDE, "")


def test_a_problem_of_calls(tmp_path: Path) -> None:
    row = {
        "problem_id": "a",
        "input_output": {"inputs": [[1, [2]], ["x", {"k": None}]], "outputs": [[3], [4]], "fn_name": "f"},
    }

    problem = problems_of(tmp_path, row).judged["a"]

    assert (problem.kind, problem.function, problem.wrapped) == (Kind.call, "f", True)
    assert [json.loads(problem.job("", case).arguments) for case in problem.cases] == [[1, [2]], ["x", {"k": None}]]
    assert [case.expected for case in problem.cases] == [[3], [4]]


@pytest.mark.parametrize(
    ("outputs", "wrapped"),
    [([[3], [4]], True), ([[3], [4, 5]], False), ([[3], 4], False), ([3, 4], False), ([[], [3]], False)],
)
def test_answers_are_wrapped_where_all_are_lists_of_one(outputs: list[Any], wrapped: bool) -> None:
    problem = problem_of_inputs(1, [[0], [1]], outputs, "f")

    assert problem is not None
    assert problem.wrapped is wrapped


def test_the_published_form_is_json_inside_of_text(tmp_path: Path) -> None:
    rows = [
        {
            "problem_id": 1,
            "input_output": json.dumps({"inputs": ["1"], "outputs": ["2"]}),
            "question": "?",
            "solutions": "",
        },
        {"problem_id": 2, "input_output": ""},
        {"problem_id": 3, "input_output": "{}"},
    ]

    problems = problems_of(tmp_path, *rows)

    assert list(problems.judged) == [1]
    assert problems.untested == {2, 3}


def test_problems_without_tests_are_untested(tmp_path: Path) -> None:
    rows = [
        {"problem_id": 1, "tests": ASSERTS},
        {"problem_id": 2},
        {"problem_id": 3, "tests": None},
        {"problem_id": 4, "tests": " \n"},
        {"problem_id": 5, "input_output": {"inputs": [], "outputs": []}},
        {"problem_id": 6, "input_output": {"inputs": [], "outputs": [], "fn_name": "f"}},
        {"problem_id": "7", "input_output": {}},
        {"problem_id": 8, "tests": "def check(candidate):\n    candidate(1)\n\ncheck(f)\n"},
    ]

    problems = problems_of(tmp_path, *rows)

    assert list(problems.judged) == [1]
    assert problems.untested == {2, 3, 4, 5, 6, "7"}
    assert problems.unasserted == [8]
    assert problems.ids == {1, 2, 3, 4, 5, 6, "7", 8}


def test_integers_of_any_length_are_read(tmp_path: Path) -> None:
    row = f'{{"problem_id": 1, "input_output": {{"inputs": [[{HUGE}]], "outputs": [[-{HUGE}]], "fn_name": "f"}}}}'

    problem = problems_of(tmp_path, row).judged[1]

    assert problem.cases[0].arguments == f"[{HUGE}]".encode()
    assert problem.cases[0].expected == [LongInteger("-" + HUGE)]


def test_the_prelude_of_a_candidate() -> None:
    script = problem_of_inputs(1, ["1"], ["2"])
    call = problem_of_inputs(1, [[1]], [2], "f")
    own = problem_of_inputs(1, ["1"], ["2"], prelude="import json")
    asserting = problem_of_assertions(1, ASSERTS)
    preludes = [problem.job("x", problem.cases[0]).prelude for problem in (script, call, own, asserting) if problem]

    published = ANY_LENGTH + APPS_PRELUDE
    assert preludes == [
        published + "stdin = sys.stdin\nstdout = sys.stdout\n",
        published,
        ANY_LENGTH + "import json",
        "",
    ]
    assert script is not None
    assert "numpy" in script.job("print(np.sum([1]))", script.cases[0]).prelude
    assert "numpy" not in script.job("print(inp)", script.cases[0]).prelude


def test_the_published_prelude_gives_the_published_names() -> None:
    names: dict[str, Any] = {}
    exec(APPS_PRELUDE, names)

    assert names["heappush"] is names["heapq"].heappush
    assert {"deque", "lru_cache", "gcd", "List", "permutations", "random", "fractions", "time", "log2"} <= set(names)


@pytest.mark.parametrize(
    ("row", "what", "hint"),
    [
        ('{"problem_id": 1', "not JSON", "input_output"),
        ("[1]", "holds a list, not an object", "input_output"),
        ({"tests": ASSERTS}, '"problem_id" is missing', "problem_id"),
        ({"problem_id": True, "tests": ASSERTS}, '"problem_id" must be an integer or text', "problem_id"),
        ('{"problem_id": NaN, "tests": "assert f()"}', '"problem_id" must be an integer or text', "problem_id"),
        ({"problem_id": "", "tests": ASSERTS}, '"problem_id" must be an integer or text', "problem_id"),
        ({"problem_id": 0, "tests": ASSERTS}, "problem_id must be unique, got 0", "id"),
        (
            {"problem_id": 1, "tests": ASSERTS, "input_output": {"inputs": ["1"], "outputs": ["1"]}},
            '"input_output" and "tests"',
            "one of them",
        ),
        ({"problem_id": 1, "test": ASSERTS}, "'test'", "'tests'"),
        ({"problem_id": 1, "input_outputs": {}}, "'input_outputs'", "'input_output'"),
        ({"problem_id": 1, "tests": ["assert f()"]}, '"tests" must be text, got list', "tests"),
        ({"problem_id": 1, "tests": "assert f("}, "not Python ('(' was never closed, their line 1)", "assert"),
        ({"problem_id": 1, "tests": "assert f()\0"}, "not Python", "assert"),
        ({"problem_id": 1, "tests": "assert f('\ud800')"}, "surrogate", "surrogate"),
        ({"problem_id": 1, "tests": ASSERTS, "prelude": 3}, '"prelude" must be text', "leave it out"),
        ({"problem_id": 1, "input_output": "{"}, "must be JSON", "input_output"),
        ({"problem_id": 1, "input_output": [1]}, '"input_output" must be an object, got list', "input_output"),
        ({"problem_id": 1, "input_output": {"inputs": ["1"]}}, '"inputs" and "outputs"', "input_output"),
        (
            {"problem_id": 1, "input_output": {"inputs": ["1"], "outputs": []}},
            "inputs and outputs must have equal lengths, got 1 and 0",
            "one output",
        ),
        ({"problem_id": 1, "input_output": {"inputs": [3], "outputs": ["1"]}}, "must be text, got int", "fn_name"),
        (
            {"problem_id": 1, "input_output": {"inputs": ["1"], "outputs": [["1", 2]]}},
            "must be text, got list",
            "fn_name",
        ),
        ({"problem_id": 1, "input_output": {"inputs": ["\ud800"], "outputs": ["1"]}}, "surrogate", "surrogate"),
        (
            {"problem_id": 1, "input_output": {"inputs": [3], "outputs": [1], "fn_name": "f"}},
            "list of arguments",
            "[[1, 2]",
        ),
        (
            {"problem_id": 1, "input_output": {"inputs": [[]], "outputs": [1], "fn_name": 3}},
            '"fn_name" must be text',
            "leave",
        ),
        (
            {"problem_id": 1, "input_output": {"inputs": [[]], "outputs": [1], "fn_name": "f()"}},
            "fn_name must be the name of a function, got 'f()'",
            "two_sum",
        ),
        (
            {"problem_id": 1, "input_output": {"inputs": [[]], "outputs": [1], "fn_name": "class"}},
            "fn_name must be the name of a function, got 'class'",
            "two_sum",
        ),
        ({"problem_id": 1, "input_output": {"inputs": ["1"], "outputs": ["\ud800"]}}, "surrogate", "surrogate"),
        (
            {"problem_id": 1, "tests": ASSERTS, "prelude": "def f(:"},
            "prelude must be Python source (invalid",
            "before each",
        ),
        ({"problem_id": 1, "tests": ASSERTS, "prelude": "x = '\0'"}, "prelude must be Python source", "before each"),
        (
            {"problem_id": 1, "tests": ASSERTS, "prelude": "x = '\ud800'"},
            "the prelude contains a lone surrogate",
            "surrogate",
        ),
        (
            {"problem_id": 1, "input_output": {"inputs": ["1"], "outputs": ["1"]}, "prelude": "x ="},
            "prelude must be Python source",
            "before each",
        ),
        ({"problem_id": 1, "tests": f"assert f({'+'.join('1' * 900)}) == 900"}, "cannot be taken apart", "shorter"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: Any, what: str, hint: str) -> None:
    with pytest.raises(UserError) as raised:
        problems_of(tmp_path, {"problem_id": 0, "tests": ASSERTS}, "", row)

    assert what in raised.value.what
    assert str(raised.value.where).startswith(f"{tmp_path / 'P.jsonl'}, line 3")
    assert hint in str(raised.value.hint)


def test_a_file_without_any_tests_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no problem has tests"):
        problems_of(tmp_path, {"problem_id": 1})
    with pytest.raises(UserError, match="assert"):
        problems_of(tmp_path, {"problem_id": 1, "tests": "f(1)"})
    with pytest.raises(UserError, match="missing") as raised:
        read_problems(tmp_path / "nowhere.jsonl")
    assert raised.value.hint == "check the path"


# --- candidates ---


def test_candidates_keep_their_order(tmp_path: Path) -> None:
    rows = [{"problem_id": 2, "candidates": ["x", "\ud800", ""]}, {"problem_id": "2", "candidates": []}]

    candidates = read_candidates(write_jsonl(tmp_path / "C.jsonl", rows), {2, "2"})

    assert candidates == [Candidate(2, 0, "x"), Candidate(2, 1, "\ud800"), Candidate(2, 2, "")]


@pytest.mark.parametrize(
    ("row", "what", "hint"),
    [
        ("nonsense", "not JSON", "candidates"),
        ({"candidates": []}, '"problem_id" is missing', "candidates"),
        ({"problem_id": 1}, '"candidates" must be a list', "candidates"),
        ({"problem_id": 1, "candidates": "print(1)"}, '"candidates" must be a list', "candidates"),
        ({"problem_id": 1, "candidates": ["a", None]}, "candidate 1 must be text, got NoneType", "candidates"),
        ({"problem_id": 1, "candidates": [["a"]]}, "candidate 0 must be text, got list", "candidates"),
        ({"problem_id": 0, "candidates": []}, "problem_id must be unique, got 0", "on one line"),
        ({"problem_id": "1", "candidates": []}, "unknown problem '1'", "did you mean 1?"),
        ({"problem_id": "tusk", "candidates": []}, "unknown problem 'tusk'", "did you mean 'task'?"),
        ({"problem_id": 9, "candidates": []}, "unknown problem 9", "an id"),
    ],
)
def test_a_bad_line_of_candidates_is_named(tmp_path: Path, row: Any, what: str, hint: str) -> None:
    file = write_jsonl(tmp_path / "C.jsonl", [{"problem_id": 0, "candidates": ["x"]}, row])

    with pytest.raises(UserError) as raised:
        read_candidates(file, {0, 1, "task"})

    assert what in raised.value.what
    assert str(raised.value.where).startswith(f"{file}, line 2")
    assert hint in str(raised.value.hint)


# --- assertions ---


@pytest.mark.parametrize(
    ("tests", "sources"),
    [
        (ASSERTS, ["assert f(1) == 2\n", "assert f(2) == 3\n"]),
        ("assert f(1) == 2", ["assert f(1) == 2\n"]),
        (
            "import math\r\nassert f([1]) == 2, 'é'\r\n\r\nassert f(\r\n  math.pi) # two\r\n",
            ["import math\nassert f([1]) == 2, 'é'\n", "import math\nassert f(\n  math.pi)\n"],
        ),
        ("import é; assert f(é); assert f(é.é)\n", ["import é; assert f(é)\n", "import é; assert f(é.é)\n"]),
        (
            'def g():\n    """a\nassert b"""\nassert f(g(1))\nassert f(g(2))',
            [
                'def g():\n    """a\nassert b"""\nassert f(g(1))\n',
                'def g():\n    """a\nassert b"""\nassert f(g(2))\n',
            ],
        ),
        ("assert sum(1, 2) == 4\nassert sum(2, 2) == 5\n", ["assert sum(1, 2) == 4\n", "assert sum(2, 2) == 5\n"]),
        (
            "assert [f(i) for i in range(3)] == [1, 2, 3]\nassert sorted(f(4), key=lambda i: -i) == [5]\n",
            ["assert [f(i) for i in range(3)] == [1, 2, 3]\n", "assert sorted(f(4), key=lambda i: -i) == [5]\n"],
        ),
        (
            "class P:\n    def __init__(self, x, y=0):\n        self.x = x\nassert f(P(1)) == 2\nassert f(P(2)) == 3\n",
            [
                f"class P:\n    def __init__(self, x, y=0):\n        self.x = x\nassert f(P({x})) == {x + 1}\n"
                for x in (1, 2)
            ],
        ),
        (
            "def near(a, b):\n    return a - b < 1\nassert near(f(1), 2)\nassert near(f(2), 2)",
            [
                "def near(a, b):\n    return a - b < 1\nassert near(f(1), 2)\n",
                "def near(a, b):\n    return a - b < 1\nassert near(f(2), 2)\n",
            ],
        ),
        (
            "import math\nassert math.isclose(f(1), 2)\nassert f(2) == 2 and f(3) == f(3)",
            ["import math\nassert math.isclose(f(1), 2)\n", "import math\nassert f(2) == 2 and f(3) == f(3)\n"],
        ),
    ],
)
def test_flat_assertions_are_a_verdict_each(tests: str, sources: list[str]) -> None:
    split = split_assertions(tests)

    assert [source.replace("\n", "") for source in split] == [source.replace("\n", "") for source in sources]


def test_each_assertion_keeps_its_line() -> None:
    tests = "import math\n\nassert f(1) == 2\nassert f(\n    2) == 3\n\nassert f(3) == math.pi; assert f(4) == 5\n"

    lines = [[check.line for check in instrument(source).checks] for source in split_assertions(tests)]

    assert lines == [[3], [4], [7], [7]]


def test_thousands_of_assertions_are_split_quickly() -> None:
    tests = "".join(f"assert f({number}) == {number}\n" for number in range(3_000))
    started = time.perf_counter()

    assert len(split_assertions(tests)) == 3_000

    # 0.2 s, or 13 s if each assertion splits the whole source into lines.
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "tests",
    [
        "def check(candidate):\n    assert candidate(1) == 2\ncheck(f)\n",
        "for x in range(3):\n    assert f(x)\n",
        "assert f(1)\nx = 1\nassert f(x)\n",
        "assert f(1)\nprint('between')\nassert f(2)\n",
        "s = Stack()\nassert s.push(1) is None\nassert s.pop() == 1\n",
        "s = [Stack()]\nassert s[0].top.push(1) is None\nassert s[0].pop() == 1\n",
        "it = f()\nassert next(it) == 1\nassert next(it) == 2\n",
        "assert (y := f(1)) == 2\nassert f(y) == 3\n",
        "assert count() == 1\nassert count() == 2\n",
        "def one():\n    assert f(1)\none()\nassert f(2)\n",
        "if True:\n    assert f(1)\nassert f(2)\n",
        "xs = [3, 1]\nassert sort_in_place(xs) is None\nassert xs == [1, 3]\n",
        "assert add('k', 1) is None\nassert get('k') == 1\n",
        "calls = []\ndef log(x):\n    calls.append(x)\n    return x\nassert f(log(1)) == 2\nassert f(2) == 3\n",
        "def up():\n    global n\n    n = 1\n    return n\nassert f(up())\nassert f(2)\n",
        "def up(seen=[]):\n    seen.append(1)\n    return len(seen)\nassert f(up()) == 1\nassert f(up() + 0) == 2\n",
        "class B:\n    n = 0\n    def up(self):\n        B.n += 1\n        return B.n\n"
        "assert f(B().up()) == 1\nassert f(B().up() + 0) == 2\n",
        "class B:\n    @classmethod\n    def up(cls):\n        cls.n = 1\nassert f(B.up()) == 1\nassert f(2) == 2\n",
        "import random\nrandom.seed(0)\nassert f(random.random()) > 1\nassert f(1) > 1\n",
        "x = 1\nassert f(x) == 1\nassert f(2) == 2\n",
        "assert f(1) == 2\nassert f.calls == 1\n",
        "assert f(1) == 2\nassert len([f]) == 1\n",
        "assert f(1) == 2\nassert True\n",
        "assert 1 == f(1)\nassert 2 == f(1)\n",
        "assert f(1)\nassert not f(1)\n",
        "assert f(1)\nassert setattr(f(2), 'a', 3) is None\n",
        "from stack import f\nassert f(1) == 2\nassert f(2) == 3\n",
    ],
)
def test_assertions_that_may_act_on_each_other_stay_together(tests: str) -> None:
    assert split_assertions(tests) == [tests]


def test_tests_with_warnings_are_rewritten() -> None:
    """Warnings are errors here, and would be where a candidate is judged."""
    sources = split_assertions("import re\nassert f('\\d+') == re.compile('\\w')\nassert f('\\d')\n")

    assert [ast.dump(ast.parse(source)) for source in sources] == [
        ast.dump(ast.parse("import re\nassert f(r'\\d+') == re.compile(r'\\w')")),
        ast.dump(ast.parse("import re\nassert f(r'\\d')")),
    ]


def test_tests_nested_beyond_what_python_parses_are_refused() -> None:
    with pytest.raises(UserError, match="not Python"):
        problem_of_assertions(1, "assert " + "(" * 5_000 + ")" * 5_000)
