"""What of a test split also stands in the splits that a model learns from."""

import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

from peft_study.data.samples import Sample
from peft_study.results.store import write_atomically

# Raise when the same samples would give another report: cached ones are then made anew.
VERSION = 2
GRAM_LENGTH = 5
EXAMPLES = 5


@dataclass(frozen=True)
class Overlap:
    """How much of the test split is found elsewhere by one measure.

    Attributes:
        count: test samples that are.
        share: of all test samples.
        examples: the first few, each as its id and the id of a sample in which it was found.
    """

    count: int
    share: float
    examples: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, found: dict[str, str], total: int) -> Self:
        """Sum up which test ids were found where, in the order of the test split."""
        return cls(len(found), len(found) / total if total else 0.0, tuple(list(found.items())[:EXAMPLES]))

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """Restore what JSON made lists of."""
        return cls(int(plain["count"]), float(plain["share"]), tuple((str(a), str(b)) for a, b in plain["examples"]))


@dataclass(frozen=True)
class Leakage:
    """The overlap of the test split with train and validation.

    Attributes:
        same_instruction: instructions that are equal up to case, white space and Unicode's compatible forms (NFKC).
        similar_instruction: instructions of which the sets of character 5-grams have a Jaccard index of 0.8 or
            more with another's, after the same normalisation; the equal ones are among them.
        same_answer: answers that are equal but for white space around them; empty references are passed over.
    """

    same_instruction: Overlap
    similar_instruction: Overlap
    same_answer: Overlap


def cached_leakage(test: Sequence[Sample], others: Sequence[Sample], fingerprint: str) -> Leakage:
    """The report of `leakage`, from the user's cache where the same data was looked at before.

    A cache that cannot be read or written costs time and nothing else.

    Args:
        test: the whole test split.
        others: the whole training split, then the validation split.
        fingerprint: of all of it.
    """
    file = _cache_file(fingerprint)
    known = _read(file) if file else None
    if known is None:
        known = leakage(test, others)
        if file:
            _write(file, known)
    return known


def leakage(test: Sequence[Sample], others: Sequence[Sample]) -> Leakage:
    """Compare a test split with the others; exact, without estimates.

    Args:
        test: the test split.
        others: the samples to look for it in; the first one found is named.
    """
    texts, other_texts = ({sample.id: _normal(sample.instruction) for sample in part} for part in (test, others))
    answers, other_answers = ({sample.id: sample.answer.strip() for sample in part} for part in (test, others))
    same = _equal(texts, other_texts)
    similar = same | _similar({id_: text for id_, text in texts.items() if text and id_ not in same}, other_texts)
    return Leakage(
        same_instruction=Overlap.of(same, len(test)),
        similar_instruction=Overlap.of({id_: similar[id_] for id_ in texts if id_ in similar}, len(test)),
        same_answer=Overlap.of(_equal(answers, other_answers), len(test)),
    )


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def _equal(texts: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    # Of equal texts the first one counts, so they are entered from the last to the first.
    places = {text: id_ for id_, text in reversed(others.items())}
    return {id_: places[text] for id_, text in texts.items() if text and text in places}


def _similar(texts: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    """Which texts have a similar one among the others.

    Sets with a Jaccard index of 4/5 or more share at least 4/5 of either. Of any 3/10 of a text's grams, a similar
    text therefore has a third; only pairs with so much in common are compared as a whole. It is asked of the rarest
    grams, which few pairs share (after the prefix filter of Bayardo, Ma and Srikant, 2007).
    """
    grams_of = {id_: _grams(text) for id_, text in texts.items()}
    frequency = Counter(chain.from_iterable(grams_of.values()))
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for id_, grams in grams_of.items():
        rarest = sorted(grams, key=lambda gram: (frequency[gram], gram))
        for gram in rarest[: _may_be_missing(len(grams)) + _asked(len(grams))]:
            holders[gram].append(id_)
    indexed = frozenset(holders)
    found: dict[str, str] = {}
    for other, text in others.items():
        grams = _grams(text)
        shared = Counter(chain.from_iterable(holders[gram] for gram in grams & indexed))
        for id_, number in shared.items():
            own = grams_of[id_]
            # The share of a common part in the union of both, without a division.
            if id_ not in found and number >= _asked(len(own)) and 9 * len(own & grams) >= 4 * (len(own) + len(grams)):
                found[id_] = other
    return found


def _may_be_missing(size: int) -> int:
    """How many of a text's grams a similar text may lack: a fifth, rounded down."""
    return size // 5


def _asked(size: int) -> int:
    return -(-size // 10)


def _grams(text: str) -> frozenset[str]:
    """All runs of five characters; of a shorter text itself."""
    return frozenset(text[start : start + GRAM_LENGTH] for start in range(max(1, len(text) - GRAM_LENGTH + 1)))


def _cache_file(fingerprint: str) -> Path | None:
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        # There are accounts without a home.
        return None
    return folder / "peft_study" / "leakage" / f"{fingerprint}.json"


def _read(file: Path) -> Leakage | None:
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        if plain["version"] != VERSION:
            return None
        return Leakage(**{name: Overlap.from_json(overlap) for name, overlap in plain["leakage"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(file: Path, found: Leakage) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"version": VERSION, "leakage": asdict(found)}) + "\n")
    except OSError:
        return
