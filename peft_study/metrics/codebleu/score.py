"""CodeBLEU of a corpus of candidates, by all conventions in one pass."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from peft_study.data.line_ends import with_line_feeds
from peft_study.metrics.codebleu import flow
from peft_study.metrics.codebleu.conventions import CONVENTIONS, STRICT, Convention
from peft_study.metrics.codebleu.pooling import COLUMNS, COMPONENTS, Program, components, count, total
from peft_study.metrics.codebleu.trees import Tree
from peft_study.metrics.codebleu.walk import OverLimitError
from peft_study.metrics.scores import Floats, Pool, Scores, check_lengths

MAX_CHARACTERS = 20_000
"""A longer candidate or reference is cut to its beginning. With walk.MAX_STEPS this bounds the time of a pair.

The slowest texts in tests/unit/test_codebleu_hostile.py (`-m slow`) took 7 seconds a pair on one core. They are open
strings, which Python 3.11's tokenizer reads in quadratic time. All others took about one second.
"""


@dataclass(frozen=True, eq=False)
class CodeBleu(Scores):
    """The scores and the counts that they are computed from.

    Attributes:
        counts: for every convention by name, (samples, pooling.COLUMNS).
    """

    counts: Mapping[str, Floats] = field(default_factory=dict)


def score_codebleu(candidates: Sequence[str], references: Sequence[str]) -> CodeBleu:
    """Score one candidate per sample.

    Args:
        candidates: generated programs, which may be any text; a carriage return counts as a line end.
        references: the reference of each sample.

    Returns:
        The scores of the corpus, pooled over the samples' counts, and those of each sample:

        - for every convention C ("strict", "codexglue", "package", "pypi"): "codebleu_C" and its components
          "codebleu_C_ngram", "_weighted_ngram", "_syntax" and "_dataflow";
        - "codebleu": the strict score;
        - "codebleu_no_dataflow_share": share of samples whose reference has no data flow (strict);
        - "codebleu_over_limit_share": share of samples with a text that was cut or a data flow that was given up.

    Raises:
        ValueError: the inputs are empty, or there are not as many references as lists of candidates.
    """
    check_lengths(candidates, references)
    rows: dict[str, list[list[float]]] = {convention.name: [] for convention in CONVENTIONS}
    over_limit = []
    for candidate_text, reference_text in zip(candidates, references, strict=True):
        # Candidate and reference share a reader, because equal shapes must have equal numbers.
        reader = _Reader()
        for convention in CONVENTIONS:
            candidate = reader.read(with_line_feeds(convention.cut(candidate_text)), convention)
            reference = reader.read(with_line_feeds(reference_text), convention)
            rows[convention.name].append(count(candidate, reference, convention))
        over_limit.append(reader.over_limit)
    return _report({name: np.array(counted) for name, counted in rows.items()}, over_limit)


def score_first_candidates(candidates: Sequence[Sequence[str]], references: Sequence[str]) -> Scores:
    """Score the first candidate of every sample.

    Args:
        candidates: of every sample, best first.
        references: the reference of each sample.

    Returns:
        the scores of `score_codebleu`. A corpus score is not the mean of the samples' scores. The samples' scores are
        therefore recorded, and the corpus scores come with the counts that they are computed from.

    Raises:
        ValueError: the inputs are empty, or there are not as many references as lists of candidates.
    """
    scored = score_codebleu([texts[0] for texts in candidates], references)
    names = ["codebleu", *(f"codebleu_{convention.name}" for convention in CONVENTIONS)]
    return Scores(
        scored.metrics,
        [{} for _ in references],
        recorded=[{name: sample[name] for name in names} for sample in scored.samples],
        pools=[
            Pool(
                scored.counts[convention.name],
                partial(corpus_score, convention=convention),
                (f"codebleu_{convention.name}", *(["codebleu"] if convention is STRICT else [])),
            )
            for convention in CONVENTIONS
        ],
    )


def corpus_score(counts: Floats, convention: Convention) -> Floats:
    """Return the CodeBLEU of corpora from the sums of their samples' counts.

    Args:
        counts: (..., pooling.COLUMNS).
        convention: by which they were counted.

    Returns:
        (...), from 0 to 1; NaN if the references have nothing to match.
    """
    return total(components(counts, convention), convention)


class _Reader:
    """Parses the programs of one sample, each distinct text once."""

    def __init__(self) -> None:
        self.over_limit = False  # a text was cut, or a data flow was given up
        self._shapes: dict[Hashable, int] = {}
        self._programs: dict[tuple[str, bool], Program] = {}

    def read(self, text: str, convention: Convention) -> Program:
        self.over_limit |= len(text) > MAX_CHARACTERS
        text = text[:MAX_CHARACTERS]
        code = convention.clean(text)
        # `package` is `codexglue` on cut candidates, so most texts are parsed once for both.
        key = (code, convention.as_evaluators)
        if key not in self._programs:
            self._programs[key] = self._parse(*key)
        program = self._programs[key]
        return replace(program, words=text.split()) if convention.as_evaluators else program

    def _parse(self, code: str, as_evaluators: bool) -> Program:
        tree = Tree(code, as_evaluators)
        try:
            edges = flow.edges(tree)
        except OverLimitError:
            self.over_limit = True
            edges = Counter()
        return Program(tree.words(), tree.shapes(self._shapes), edges)


def _report(counts: Mapping[str, Floats], over_limit: Sequence[bool]) -> CodeBleu:
    without_flow = counts[STRICT.name][:, COLUMNS.index("reference_edges")] == 0
    shares = {"codebleu_no_dataflow_share": without_flow, "codebleu_over_limit_share": np.array(over_limit)}
    metrics: dict[str, float | None] = {name: float(flags.mean()) for name, flags in shares.items()}
    samples: list[dict[str, float | None]] = [
        {name: float(flags[index]) for name, flags in shares.items()} for index in range(len(over_limit))
    ]
    for convention in CONVENTIONS:
        metrics |= _named(counts[convention.name].sum(axis=0, keepdims=True), convention)[0]
        for sample, scores in zip(samples, _named(counts[convention.name], convention), strict=True):
            sample |= scores
    for values in (metrics, *samples):
        values["codebleu"] = values[f"codebleu_{STRICT.name}"]
    return CodeBleu(metrics=metrics, samples=samples, counts=counts)


def _named(counts: Floats, convention: Convention) -> list[dict[str, float | None]]:
    by_component = components(counts, convention)
    table = np.column_stack([total(by_component, convention), by_component])
    prefix = f"codebleu_{convention.name}"
    names = [prefix, *(f"{prefix}_{component}" for component in COMPONENTS)]
    return [
        {name: None if math.isnan(value) else value for name, value in zip(names, values, strict=True)}
        for values in table.tolist()
    ]
