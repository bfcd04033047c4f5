"""Score pairs with the PyPI package codebleu 0.7, the reference of the convention `pypi`.

The package needs old grammars, so install it in a separate environment and run this file with that Python:

    python -m venv old && old/bin/pip install codebleu==0.7.0 'tree-sitter<0.23' tree-sitter-python==0.21.0
    old/bin/python scripts/score_with_codebleu_package.py tests/unit/fixtures/codebleu_pairs.json \
        tests/unit/fixtures/codebleu_package_scores.json

CodeXGLUE's evaluator is an older version of the same code. The reference of the convention `codexglue` is the package,
changed to what that version did: it removes comments as Java's, reads a pair as one line, has no soft keywords, and
counts a missing data flow as 0.

The package joins sets of strings, so that some data-flow scores depend on Python's hash seed. Every pair is scored
under several seeds. If its scores differ, they are null, and the lowest and the highest are recorded.
"""

import argparse
import json
import keyword
import logging
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

SEEDS = range(8)


def score_once(pairs):
    """Score each pair separately; None if the package raises."""
    from codebleu import calc_codebleu

    logging.disable(logging.WARNING)
    rows = []
    for candidate, reference in pairs:
        try:
            rows.append(calc_codebleu([reference], [candidate], lang="python"))
        except Exception:
            rows.append(None)
    return rows


def codexglue_once(pairs):
    """Score each pair as CodeXGLUE's evaluator scores the files of the study's authors; None if it raises."""
    import codebleu
    from codebleu import dataflow_match, syntax_match
    from codebleu.parser import remove_comments_and_docstrings

    for module in (dataflow_match, syntax_match):
        module.remove_comments_and_docstrings = lambda text, _: remove_comments_and_docstrings(text, "java")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "python.txt").write_text("\n".join(keyword.kwlist), encoding="utf-8")
        rows = []
        for pair in pairs:
            candidate, reference = (text.replace("\n", " ").replace("\t", " ").strip() for text in pair)
            try:
                row = codebleu.calc_codebleu([reference], [candidate], lang="python", keywords_dir=Path(folder))
            except Exception:
                rows.append(None)
                continue
            parts = [value for name, value in row.items() if name != "codebleu"]
            rows.append(row | {"codebleu": sum(parts) / 4})
    return rows


def corpus_once(pairs):
    """Score all pairs as one corpus."""
    from codebleu import calc_codebleu

    return calc_codebleu([reference for _, reference in pairs], [candidate for candidate, _ in pairs], lang="python")


def under_seed(pairs, seed):
    """Score in a fresh interpreter with this hash seed."""
    command = [sys.executable, __file__, "-", "--once"]
    environment = os.environ | {"PYTHONHASHSEED": str(seed)}
    done = subprocess.run(command, input=json.dumps(pairs), env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def agreed(scores):
    """The scores if all seeds give the same, else None."""
    return scores[0] if all(score == scores[0] for score in scores) else None


def spread(scores):
    """The lowest and the highest CodeBLEU of one pair, or None where the package raised."""
    totals = [score["codebleu"] for score in scores if score]
    return [min(totals), max(totals)] if totals else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "pairs", type=argparse.FileType(encoding="utf-8"), help="JSON: a list of [candidate, reference]"
    )
    parser.add_argument("output", type=Path, nargs="?", help="target file of the scores")
    parser.add_argument("--once", action="store_true", help="print the scores under the hash seed of this interpreter")
    options = parser.parse_args()
    pairs = json.load(options.pairs)
    if options.once:
        rows = score_once(pairs)
        scorable = [pair for pair, row in zip(pairs, rows, strict=True) if row]
        corpus = corpus_once(scorable)
        print(json.dumps({"pairs": rows, "corpus": corpus, "codexglue": codexglue_once(pairs)}))
        return
    runs = [under_seed(pairs, seed) for seed in SEEDS]
    by_pair = list(zip(*(run["pairs"] for run in runs), strict=True))
    same = [pair for pair, scores in zip(pairs, by_pair, strict=True) if agreed(scores)]
    result = {
        "versions": {name: version(name) for name in ("codebleu", "tree-sitter", "tree-sitter-python")},
        "python": ".".join(map(str, sys.version_info[:2])),
        "hash_seeds": list(SEEDS),
        "corpus_of_agreed_pairs": agreed([under_seed(same, seed)["corpus"] for seed in SEEDS[:2]]),
        "pairs": [agreed(scores) for scores in by_pair],
        "codexglue_pairs": [agreed(scores) for scores in zip(*(run["codexglue"] for run in runs), strict=True)],
        "spreads": [spread(scores) for scores in by_pair],
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
