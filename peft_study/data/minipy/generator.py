"""Split the operations into train, validation and test, and draw the samples."""

import zlib
from collections.abc import Callable
from functools import cache

from peft_study.data.minipy import mappings, sequences, statements, texts
from peft_study.data.minipy.checking import make_checks
from peft_study.data.minipy.drafts import Draft, Source
from peft_study.data.samples import Sample
from peft_study.errors import UserError, near_names

SEED = 2308_10462  # the study's number at arXiv
SIZES = {"train": 2_000, "validation": 300, "test": 1_000}
NEW_SHARE = 0.3
"""Share of validation and of test samples whose combination of pieces is in no other split."""
UNSEEN_SHARE = 0.03
"""Share of test that uses a function which no other split uses."""
FAMILIES: tuple[tuple[Callable[[Source], Draft], int], ...] = (
    (sequences.comprehension, 36),
    (sequences.slicing, 14),
    (sequences.sorting, 5),
    (texts.chain, 11),
    (mappings.entries, 10),
    (mappings.sets, 5),
    (mappings.arithmetic, 6),
    (statements.changes, 7),
    (statements.bindings, 5),
)
_POOLS = (
    *(sequences.GATHERERS, sequences.WORD_MAPS, texts.STEPS, texts.ENDS),
    *(mappings.SET_RESULTS, mappings.AMOUNT_RESULTS, statements.CHANGES),
)
UNSEEN = tuple(piece.name for pool in _POOLS for piece in pool if piece.weight == 0)
"""Pieces that only the test split draws."""


def _split_of(pieces: tuple[str, ...]) -> str:
    """The only split that may have a combination of pieces; "any" if each of them may."""
    # A checksum decides, so that the split depends neither on the order of drawing nor on Python's hash seed.
    core = tuple(piece for piece in pieces if piece != "bind")
    if len(core) < 2:
        return "any"
    bucket = zlib.crc32("/".join(core).encode()) % 10
    return "test" if bucket < 3 else "validation" if bucket == 3 else "any"


def generate(split: str) -> list[Sample]:
    """Draw one split; the same list on every machine and for every hash seed.

    Raises:
        UserError: for a split other than train, validation and test.
    """
    if split not in SIZES:
        raise UserError(
            f"the split of minipy must be train, validation or test, got {split!r}", hint=near_names(split, SIZES)
        )
    return list(_splits()[split])


@cache
def _splits() -> dict[str, tuple[Sample, ...]]:
    # Together, so that no instruction occurs twice, and once a process: a sweep's cells share them.
    drawn: set[str] = set()
    return {split: tuple(_draw_split(split, size, drawn)) for split, size in SIZES.items()}


def _draw_split(split: str, size: int, drawn: set[str]) -> list[Sample]:
    # Random hashes a text by SHA-512, so the draws do not depend on Python's hash seed.
    rng = Source(f"{SEED}-{split}")
    unseen = round(size * UNSEEN_SHARE) if split == "test" else 0
    new = 0 if split == "train" else round(size * NEW_SHARE)
    kinds = ["unseen"] * unseen + ["new"] * new + ["any"] * (size - unseen - new)
    rng.shuffle(kinds)
    return [_draw_sample(rng, split, f"{split}-{number}", kind, drawn) for number, kind in enumerate(kinds)]


def _draw_sample(rng: Source, split: str, sample_id: str, kind: str, drawn: set[str]) -> Sample:
    families, weights = zip(*FAMILIES, strict=True)
    rng.unseen_weight = 1_000 if kind == "unseen" else 0
    while True:
        draft = rng.choices(families, weights=weights)[0](rng)
        if draft.instruction in drawn:
            continue
        if kind == "unseen":
            if not any(piece in UNSEEN for piece in draft.pieces):
                continue
        elif _split_of(draft.pieces) != (split if kind == "new" else "any"):
            continue
        # An answer that fails on most inputs has no checks.
        checks = make_checks(draft, rng)
        if checks:
            drawn.add(draft.instruction)
            return Sample(sample_id, draft.instruction, draft.answer, checks)
