"""CodeBLEU (Ren et al. 2020, arXiv 2009.10297) for Python: n-grams, keywords, syntax, data flow, a quarter each.

Published scores of this name follow different conventions, so all of them are scored at once (`conventions.py`). A
sample becomes counts that add up (`pooling.py`). One formula scores the corpus, a sample and a resampled corpus.
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
