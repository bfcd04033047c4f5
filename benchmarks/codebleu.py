"""Time CodeBLEU in all three conventions on as many pairs as the study's test splits hold, on a single core.

    OMP_NUM_THREADS=1 python -m benchmarks.codebleu --package-python old/bin/python

543 one-line pairs and 628 functions are taken from Python's standard library, and each candidate is its reference with
some tokens changed. With --package-python (see scripts/score_with_codebleu_package.py) the PyPI package codebleu 0.7
scores the same pairs in the same run. It has one convention, this project three. Writes results/codebleu.json.
"""

import argparse
import ast
import json
import random
import re
import statistics
import subprocess
import sysconfig
import textwrap
import time
from pathlib import Path

from benchmarks import record
from peft_study.metrics.codebleu import score_codebleu

MODULES: tuple[str, ...] = (
    "argparse",
    "ast",
    "calendar",
    "configparser",
    "dataclasses",
    "difflib",
    "doctest",
    "fractions",
    "ftplib",
)
MODULES += ("inspect", "ipaddress", "mailbox", "optparse", "pathlib", "pdb", "pickle", "plistlib", "pydoc", "shutil")
MODULES += ("smtplib", "statistics", "string", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "trace")
MODULES += ("turtle", "typing", "uuid", "warnings", "weakref", "zipfile")
ONE_LINERS, FUNCTIONS = 543, 628
ROUNDS = 5
Corpus = tuple[list[str], list[str]]
PACKAGE = """
import json, logging, statistics, sys, time
from codebleu import calc_codebleu
logging.disable(logging.WARNING)
seconds = []
for corpus in json.load(sys.stdin):
    rounds = []
    for _ in range({rounds}):
        started = time.perf_counter()
        calc_codebleu(corpus[1], corpus[0], lang="python")
        rounds.append(time.perf_counter() - started)
    seconds.append(rounds)
print(json.dumps(seconds))
"""


def sources() -> list[str]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    return [(folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES]


def pieces() -> tuple[list[str], list[str]]:
    """Samples of one-line statements, and of functions of 3 to 30 lines."""
    one_liners, functions = [], []
    for source in sources():
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.FunctionDef | ast.Assign | ast.Expr | ast.Return):
                continue
            text = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno]))
            length = text.count("\n") + 1
            if isinstance(node, ast.FunctionDef) and 3 <= length <= 30:
                functions.append(text)
            elif not isinstance(node, ast.FunctionDef) and length == 1 and 15 <= len(text) <= 100:
                one_liners.append(text)
    generator = random.Random(0)
    return generator.sample(one_liners, ONE_LINERS), generator.sample(functions, FUNCTIONS)


def with_candidates(references: list[str]) -> Corpus:
    """Pair each reference with a candidate that differs in some names and numbers."""
    generator = random.Random(1)

    def change(match: re.Match[str]) -> str:
        return generator.choice(["x", "value", "0"]) if generator.random() < 0.2 else match.group()

    return [re.sub(r"\b[a-z_]\w*\b|\b\d+\b", change, text) for text in references], references


def measure(corpus: Corpus) -> list[float]:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        score_codebleu(*corpus)
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package-python", help="a Python with codebleu 0.7.0, to measure it in the same run")
    options = parser.parse_args()
    one_liners, functions = pieces()
    corpora = {"one_line_pairs": with_candidates(one_liners), "functions": with_candidates(functions)}
    figures = {}
    for name, corpus in corpora.items():
        seconds = measure(corpus)
        figures[name] = {
            "pairs": len(corpus[1]),
            "reference_characters": sum(map(len, corpus[1])),
            "median_seconds": round(statistics.median(seconds), 3),
            "seconds": [round(value, 3) for value in seconds],
        }
    if options.package_python:
        command = [options.package_python, "-c", PACKAGE.format(rounds=ROUNDS)]
        done = subprocess.run(
            command, input=json.dumps(list(corpora.values())), check=True, capture_output=True, text=True
        )
        for figure, theirs in zip(figures.values(), json.loads(done.stdout), strict=True):
            median = statistics.median(theirs)
            figure["package_median_seconds"] = round(median, 3)
            figure["ours_to_package"] = round(figure["median_seconds"] / median, 2)
    record.write(
        "codebleu",
        {"conventions": "three for ours, one for the package", "figures": figures},
        ("tree-sitter", "tree-sitter-python", "numpy"),
    )


if __name__ == "__main__":
    main()
