"""CodeBLEU of hostile texts, and equal scores under every hash seed."""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peft_study.metrics.codebleu import CodeBleu, score_codebleu
from peft_study.metrics.codebleu.cleaning import without_java_comments, without_python_comments
from peft_study.metrics.codebleu.score import MAX_CHARACTERS

FIXTURES = Path(__file__).parent / "fixtures"
REFERENCE = "def f(a, b=1):\n    for c in a:\n        b = b + c\n    return b\n"


def nested(line: str, depth: int) -> str:
    return "".join(" " * level + line + "\n" for level in range(depth)) + " " * depth + "a = b\n"


def hostile(size: int) -> dict[str, str]:
    """Texts of about `size` characters, some longer."""
    return {
        "parentheses": "(" * size,
        "closed parentheses": "(" * (size // 2) + ")" * (size // 2),
        "only closing": ")" * size,
        "calls in calls": "f(" * (size // 3) + ")" * (size // 3),
        "brackets": "[{(" * (size // 3),
        "indentation": nested("if a:", 190),
        "loops": nested("for a in b:", 90),
        "while loops": nested("while a:", 90),
        "one-line loops": "for a in b: " * (size // 12),
        "minus": "-" * size + "1",
        "attributes": "a" + ".b" * (size // 2),
        "sum": "a+" * (size // 2),
        "assignments": "a=" * (size // 2) + "1",
        "conditionals": "a if b else " * (size // 12),
        "lambdas": "lambda:" * (size // 7),
        "branches": "".join(f"if a{i}:\n b{i} = a{i}\nelse:\n c{i} = 1\n" for i in range(400)),
        "alternatives": "if a:\n b = 1\n" + "".join(f"elif c{i}:\n d{i} = 1\n" for i in range(700)),
        "many from many": "a, " * (size // 6) + "= f(" + "b, " * (size // 6),
        "a default of many": "while a:\n def f(a=g(" + "b, " * (size // 3),
        "statements": "x;" * (size // 2),
        "lines": "x\n" * (size // 2),
        "continuations": "\\\n" * (size // 2),
        "comments of Java": "/*" * (size // 2),
        "open strings": "'\\" * (size // 2),
        "triple quotes": "'''" * (size // 3),
        "format strings": "f'{" * (size // 3),
        "NUL": "\0" * size,
        "NUL in code": "a\0b = 1\n" * 100,
        "lone surrogates": "\ud800 = '\udfff'\n" * 500,
        "beyond the basic plane": "x = '\U0001f600'\ny = x\n" * 300,
        "combining": "e\u0301 = n\u0303\n" * 300,
        "mixed line ends": "x = 1\r\ny = x\rz = y\n\x0b\x0c\x85\u2028" * 200,
        "byte order mark": "\ufeffx = 1",
        "form feeds": "\x0c" * size,
        "tabs and spaces": "".join(("\t" if i % 2 else " ") * (i % 9) + "if x:\n" for i in range(1_000)),
        "numbers": "9" * size,
        "huge": "x = 1\n" * 10 * size,
        "white space": " \t\r\n" * size,
        "fences": "```python\nx = 1\n```\n" * 500,
    }


def score_against_everything(text: str) -> None:
    """Score a text as candidate, as reference, and with itself."""
    for candidate, reference in ((text, REFERENCE), (REFERENCE, text), (text, text)):
        scores = score_codebleu([candidate], [reference])
        for value in scores.metrics.values():
            assert value is None or 0.0 <= value <= 1.0 + 1e-12
    # A text that holds code is a perfect candidate for itself.
    assert scores.metrics["codebleu_strict"] in (None, pytest.approx(1.0))


@pytest.mark.parametrize("name", hostile(1))
def test_any_text_is_scored(name: str) -> None:
    score_against_everything(hostile(2_000)[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile(1))
def test_any_text_is_scored_in_bounded_time(name: str) -> None:
    text = hostile(MAX_CHARACTERS)[name]
    started = time.perf_counter()

    score_against_everything(text)

    # The slowest takes 13 seconds on one core, in Python 3.11's tokenizer. The limit allows for a busy machine.
    assert time.perf_counter() - started < 60


def test_the_recursion_limit_does_not_matter() -> None:
    deep = "x = " + "(" * 5_000 + "y" + ")" * 5_000
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit_in_use() + 60)
    try:
        scores = score_codebleu([deep], [deep])
    finally:
        sys.setrecursionlimit(limit)

    # x is computed from y, and y is where that comes from.
    assert scores.counts["strict"][0, -1] == 2
    assert scores.metrics["codebleu_strict"] == 1


def limit_in_use() -> int:
    frame, depth = sys._getframe(), 1
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def test_a_longer_text_is_scored_by_its_beginning() -> None:
    padding = "#" * MAX_CHARACTERS

    cut = score_codebleu(["x = 1\n" + padding + "\ny = 2"], ["x = 1"])

    assert cut.metrics["codebleu_strict"] == 1
    assert cut.metrics["codebleu_over_limit_share"] == 1
    assert score_codebleu(["x = 1"], ["x = 1"]).metrics["codebleu_over_limit_share"] == 0


def test_a_data_flow_with_too_many_steps_is_given_up_and_counted() -> None:
    loops = nested("for a in b:", 40)

    scores = score_codebleu([loops, loops, REFERENCE], [loops, REFERENCE, REFERENCE])

    assert [sample["codebleu_over_limit_share"] for sample in scores.samples] == [1, 1, 0]
    assert scores.samples[0]["codebleu_strict_dataflow"] is None
    assert scores.samples[1]["codebleu_strict_dataflow"] == 0
    assert scores.samples[2]["codebleu_strict_dataflow"] == 1
    within = score_codebleu([nested("for a in b:", 12)], [REFERENCE])
    assert within.metrics["codebleu_over_limit_share"] == 0


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("x = 1 // y\nz", "x = 1  \nz"),
        ("a /* b */ c", "a   c"),
        ("a /* b", "a /* b"),
        ("'//' + \"/*\" // c", "'//' + \"/*\"  "),
        (r"'\'//' // c", r"'\'//'  "),
        ("don't // c", "don't  "),
        ("# kept", "# kept"),
        ("a\n\n  \nb", "a\nb"),
    ],
)
def test_comments_are_removed_as_in_java(text: str, left: str) -> None:
    assert without_java_comments(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("x = 1  # one", "x = 1  "),
        ('def f():\n    """Say."""\n    return 1', "def f():\n    return 1"),
        ("'Say.'\nx = 'y'", "x = 'y'"),
        ("x = a + \\\n    b", "x = a +    b"),
        ("x = (", "x = ("),
        ("if x:\n  y\n z", "if x:\n  y\n z"),
    ],
)
def test_comments_and_docstrings_are_removed_as_in_python(text: str, left: str) -> None:
    assert without_python_comments(text) == left


SCORE_ALL = """
import json, sys
from peft_study.metrics.codebleu import score_codebleu
pairs = json.load(open(sys.argv[1], encoding="utf-8"))
scores = score_codebleu([c for c, _ in pairs], [r for _, r in pairs])
print(json.dumps([scores.metrics, scores.samples, {name: rows.tolist() for name, rows in scores.counts.items()}]))
"""


def test_five_hash_seeds_give_the_same_scores(tmp_path: Path) -> None:
    pairs = json.loads((FIXTURES / "codebleu_pairs.json").read_text(encoding="utf-8"))
    # Every candidate with the next reference too, and loops over several names, whose order may depend on the seed.
    pairs += [[candidate, reference] for (candidate, _), (_, reference) in itertools.pairwise(pairs)]
    pairs += [["while a:\n  b = c + d * e - a\n  a = b + c", "while a:\n  b = d * e + c - a\n  a = c + b"]]
    source = tmp_path / "pairs.json"
    source.write_text(json.dumps(pairs), encoding="utf-8")

    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCORE_ALL, str(source)],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (0, 1, 2, 31, 4_294_967_295)
    }

    assert len(outputs) == 1
    assert len(json.loads(outputs.pop())[1]) == len(pairs)


def test_neither_metrics_nor_their_package_load_a_parser_or_torch() -> None:
    code = "import sys, peft_study.metrics.codebleu; print([m for m in ('tree_sitter', 'torch') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_samples_have_the_scores_of_the_corpus() -> None:
    scores: CodeBleu = score_codebleu(["x = 1", "f(x)"], ["x = 1", "f(x)"])

    json.dumps([scores.metrics, *scores.samples])
    assert set(scores.samples[0]) == set(scores.metrics)
