"""CodeBLEU (Ren et al. 2020, arXiv 2009.10297) for Python: n-grams, keywords, syntax, data flow, a quarter each.

The scores in use under this name differ, so three conventions are scored at once (`conventions.py`). A sample becomes
counts that add up (`pooling.py`), from which the corpus, each sample and a bootstrap's corpora are scored alike.
"""

from peft_study.metrics.codebleu.conventions import CODEXGLUE, CONVENTIONS, PACKAGE, PYPI, STRICT, Convention
from peft_study.metrics.codebleu.score import CodeBleu, corpus_score, score_codebleu, score_first_candidates

__all__ = [
    "CODEXGLUE",
    "CONVENTIONS",
    "PACKAGE",
    "PYPI",
    "STRICT",
    "CodeBleu",
    "Convention",
    "corpus_score",
    "score_codebleu",
    "score_first_candidates",
]
