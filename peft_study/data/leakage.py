"""Test samples that are also in the splits that a model learns from."""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from peft_study.data.samples import Sample
from peft_study.results.cache import cache_folder
from peft_study.results.store import write_atomically

# Raise it when the same samples would give another report, so that cached reports are computed again.
VERSION = 2
GRAM_LENGTH = 5
EXAMPLES = 5
PAIRS_AT_ONCE = 4_000_000
"""Of test samples with other samples: 48 MB if all of them share a gram."""


@dataclass(frozen=True)
class Overlap:
    """How much of the test split is also in other splits, by one measure.

    Attributes:
        count: test samples that have a match.
        share: the same as a share of all test samples, from 0 to 1.
        examples: the first few, each as its id and the id of the sample that it matches.
    """

    count: int
    share: float
    examples: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, matches: dict[str, str], total: int) -> Self:
        """Count matches, given as other ids by test id in the order of the test split."""
        return cls(len(matches), len(matches) / total if total else 0.0, tuple(list(matches.items())[:EXAMPLES]))

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """Restore an overlap from JSON, which has no tuples."""
        return cls(int(record["count"]), float(record["share"]), tuple((str(a), str(b)) for a, b in record["examples"]))


@dataclass(frozen=True)
class Leakage:
    """The overlap of the test split with train and validation.

    Attributes:
        same_instruction: instructions that are equal up to case, white space and Unicode's compatible forms (NFKC).
        similar_instruction: instructions whose sets of character 5-grams have a Jaccard index of at least 0.8, after
            the same normalization; equal ones are included.
        same_answer: answers that are equal up to white space around them; empty references are skipped.
    """

    same_instruction: Overlap
    similar_instruction: Overlap
    same_answer: Overlap


def cached_leakage(test: Sequence[Sample], others: Sequence[Sample], fingerprint: str) -> Leakage:
    """The report of `leakage`, from the user's cache if it has one of the same data.

    A cache that cannot be read or written is ignored.

    Args:
        test: the whole test split.
        others: the whole training split, then the validation split.
        fingerprint: of all of it.
    """
    # All cells of a data set ask for the same report.
    folder = cache_folder("leakage")
    if folder is None:
        return leakage(test, others)
    file = folder / f"{fingerprint}.json"
    report = _read(file)
    if report is None:
        report = leakage(test, others)
        _write(file, report)
    return report


def leakage(test: Sequence[Sample], others: Sequence[Sample]) -> Leakage:
    """Compare a test split with the others; exact, without estimates.

    Args:
        test: the test split.
        others: the samples to compare with; of several matches, the report names the first.
    """
    texts, other_texts = _instructions(test), _instructions(others)
    same = _equal(texts, other_texts)
    similar = same | _similar({id_: text for id_, text in texts.items() if text and id_ not in same}, other_texts)
    return Leakage(
        same_instruction=Overlap.of(same, len(test)),
        similar_instruction=Overlap.of({id_: similar[id_] for id_ in texts if id_ in similar}, len(test)),
        same_answer=Overlap.of(_equal(_answers(test), _answers(others)), len(test)),
    )


def normalized(text: str) -> str:
    """Return an instruction in the form in which instructions are compared: NFKC, folded case, single spaces."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def _instructions(samples: Sequence[Sample]) -> dict[str, str]:
    return {sample.id: normalized(sample.instruction) for sample in samples}


def _answers(samples: Sequence[Sample]) -> dict[str, str]:
    return {sample.id: sample.answer.strip() for sample in samples}


def _equal(texts: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    # Of equal texts the first one counts, so they are entered from the last to the first.
    ids_by_text = {text: id_ for id_, text in reversed(others.items())}
    return {id_: ids_by_text[text] for id_, text in texts.items() if text and text in ids_by_text}


def _similar(texts: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    """Find for each text the first similar one among the others; both and the result are by id."""
    from sklearn.feature_extraction.text import CountVectorizer

    if not texts or not others:
        return {}
    # Exact counts from sparse products: an estimate such as MinHash's would vary with its hash functions.
    vectorizer = CountVectorizer(analyzer=_grams, dtype=np.int32)
    grams = vectorizer.fit_transform([*texts.values(), *others.values()])
    sizes = np.asarray(grams.sum(axis=1)).ravel()
    ids, other_ids = list(texts), list(others)
    grams_of_others = grams[len(ids) :].T.tocsr()
    rows_at_once = max(1, PAIRS_AT_ONCE // len(other_ids))
    similar: dict[str, str] = {}
    for start in range(0, len(ids), rows_at_once):
        shared = (grams[start : min(start + rows_at_once, len(ids))] @ grams_of_others).tocoo()
        rows, columns = shared.row + start, shared.col
        # A Jaccard index of 0.8 or more, in integers: shared / (a + b - shared) >= 4 / 5. A quotient could round it.
        is_similar = 9 * shared.data >= 4 * (sizes[rows] + sizes[len(ids) + columns])
        for row, column in sorted(zip(rows[is_similar], columns[is_similar], strict=True)):
            similar.setdefault(ids[row], other_ids[column])
    return similar


def _grams(text: str) -> frozenset[str]:
    """All sequences of five characters; a shorter text is its only one."""
    return frozenset(text[start : start + GRAM_LENGTH] for start in range(max(1, len(text) - GRAM_LENGTH + 1)))


def _read(file: Path) -> Leakage | None:
    # A damaged file, or one of another version, is computed again.
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["version"] != VERSION:
            return None
        return Leakage(**{name: Overlap.from_json(overlap) for name, overlap in record["leakage"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(file: Path, report: Leakage) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"version": VERSION, "leakage": asdict(report)}) + "\n")
    except OSError:
        return  # a home folder that cannot be written, as in some containers
