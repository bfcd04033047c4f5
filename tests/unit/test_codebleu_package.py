"""Two conventions compared with the PyPI package codebleu 0.7, which scored the pairs in a separate environment.

`pypi` is compared with the unchanged package. `codexglue` is compared with the package changed back to CodeXGLUE's
evaluator, from which it was made. Newer grammars parse broken code differently, and code on one line is often broken.
The second comparison leaves such pairs out.
"""

import json
import os
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from peft_study.metrics.codebleu import CODEXGLUE, PYPI, CodeBleu, score_codebleu
from peft_study.metrics.codebleu.trees import Tree

ROOT = Path(__file__).parents[2]
FIXTURES = Path(__file__).parent / "fixtures"
NAMES = {
    "codebleu": "codebleu_pypi",
    "ngram_match_score": "codebleu_pypi_ngram",
    "weighted_ngram_match_score": "codebleu_pypi_weighted_ngram",
    "syntax_match_score": "codebleu_pypi_syntax",
    "dataflow_match_score": "codebleu_pypi_dataflow",
}
CODEXGLUE_NAMES = {name: ours.replace("pypi", "codexglue") for name, ours in NAMES.items()}
TOLERANCE = 1e-6
PAIRS: list[list[str]] = json.loads((FIXTURES / "codebleu_pairs.json").read_text(encoding="utf-8"))
THEIRS: dict[str, Any] = json.loads((FIXTURES / "codebleu_package_scores.json").read_text(encoding="utf-8"))


def parses(code: str) -> bool:
    tree = Tree(code, as_evaluators=True)
    return not any(node.broken for node in tree.nodes)


ON_ONE_LINE = [
    index
    for index, (pair, scores) in enumerate(zip(PAIRS, THEIRS["codexglue_pairs"], strict=True))
    if scores and all(parses(CODEXGLUE.clean(text)) for text in pair)
]


@pytest.fixture(scope="module")
def ours() -> CodeBleu:
    return score(PAIRS)


def score(pairs: list[list[str]]) -> CodeBleu:
    return score_codebleu([candidate for candidate, _ in pairs], [reference for _, reference in pairs])


def test_the_fixture_is_of_the_package_and_the_grammar_that_it_needs() -> None:
    assert THEIRS["versions"]["codebleu"] == "0.7.0"
    assert THEIRS["versions"]["tree-sitter-python"] == "0.21.0"
    assert len(THEIRS["pairs"]) == len(PAIRS)
    assert sum(scores is None for scores in THEIRS["pairs"]) == 1
    assert len(ON_ONE_LINE) > 40


@pytest.mark.parametrize("index", [index for index, scores in enumerate(THEIRS["pairs"]) if scores])
def test_every_score_of_a_pair_is_the_packages(ours: CodeBleu, index: int) -> None:
    scores = {name: ours.samples[index][NAMES[name]] for name in NAMES}

    assert scores == pytest.approx(THEIRS["pairs"][index], abs=TOLERANCE)


@pytest.mark.parametrize("index", ON_ONE_LINE)
def test_every_score_of_a_pair_is_codexglues(ours: CodeBleu, index: int) -> None:
    scores = {name: ours.samples[index][CODEXGLUE_NAMES[name]] for name in NAMES}

    assert scores == pytest.approx(THEIRS["codexglue_pairs"][index], abs=TOLERANCE)


@pytest.mark.parametrize("index", [index for index, scores in enumerate(THEIRS["pairs"]) if not scores])
def test_scores_lie_in_the_packages_range_if_it_depends_on_the_hash_seed(ours: CodeBleu, index: int) -> None:
    low, high = THEIRS["spreads"][index]

    assert low < high
    total = ours.samples[index]["codebleu_pypi"]
    assert total is not None
    assert low - TOLERANCE <= total <= high + TOLERANCE


def test_the_corpus_score_is_the_packages() -> None:
    agreed = [pair for pair, scores in zip(PAIRS, THEIRS["pairs"], strict=True) if scores]

    metrics = score(agreed).metrics

    assert {name: metrics[NAMES[name]] for name in NAMES} == pytest.approx(
        THEIRS["corpus_of_agreed_pairs"], abs=TOLERANCE
    )


def data_folder() -> Path:
    folder = Path(os.environ.get("PEFT_STUDY_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "conala" / "test.jsonl").is_file():
        pytest.skip("no data: set PEFT_STUDY_DATA to a folder with conala/test.jsonl and codealpacapy/test.jsonl")
    return folder


def perturbed(reference: str, other: str, generator: random.Random) -> str:
    """A candidate: right, empty, another sample's, cut, with tokens dropped, renamed, reordered, longer."""
    tokens = re.findall(r"\w+|\s+|[^\w\s]", reference)
    names = sorted({token for token in tokens if token.isidentifier()})
    renamed = dict(zip(names, generator.sample(names, len(names)), strict=True))
    lines = reference.split("\n")
    return generator.choice(
        [
            reference,
            "",
            other,
            reference[: generator.randrange(len(reference) + 1)],
            "".join(token for token in tokens if generator.random() > 0.1),
            "".join(renamed.get(token, token) for token in tokens),
            "\n".join(generator.sample(lines, len(lines))),
            f"{reference}\n{other}  # é",
            re.sub(r"\d+", "7", reference).replace("(", "( "),
        ]
    )


@pytest.mark.slow
def test_real_references_score_as_in_the_package(tmp_path: Path) -> None:
    """The scores are equal if both programs parse. The two grammars recover from errors differently."""
    interpreter = os.environ.get("PEFT_STUDY_CODEBLEU_PYTHON")
    if not interpreter:
        pytest.skip("set PEFT_STUDY_CODEBLEU_PYTHON to a Python with codebleu 0.7.0, tree-sitter-python 0.21.0")
    folder = data_folder()
    references = [
        str(json.loads(line)["cmd"])
        for name in ("conala", "codealpacapy")
        for line in (folder / name / "test.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    generator = random.Random(0)
    pairs = [[perturbed(text, generator.choice(references), generator), text] for text in references]
    source, output = tmp_path / "pairs.json", tmp_path / "scores.json"
    source.write_text(json.dumps(pairs), encoding="utf-8")
    script = ROOT / "scripts" / "score_with_codebleu_package.py"
    subprocess.run([interpreter, str(script), str(source), str(output)], check=True)
    theirs = json.loads(output.read_text(encoding="utf-8"))["pairs"]

    samples = score(pairs).samples

    compared = 0
    for (candidate, reference), expected, sample in zip(pairs, theirs, samples, strict=True):
        if expected and all(parses(PYPI.clean(text)) for text in (candidate, reference)):
            compared += 1
            assert {name: sample[NAMES[name]] for name in NAMES} == pytest.approx(expected, abs=TOLERANCE), candidate
    assert compared > 500
