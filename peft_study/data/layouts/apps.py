"""APPS: contest problems that are scored by running the code (Hendrycks et al. 2021, arXiv 2105.09938)."""

import json
import logging
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from peft_study.config.schema import DatasetConfig
from peft_study.data import jsonl
from peft_study.data.layouts.base import BaseLayout, Row, Tables, add_unique
from peft_study.data.samples import LEVELS, ProgramTests, Sample
from peft_study.errors import UserError

logger = logging.getLogger(__name__)

SEED = 42
VALIDATION_SIZE, TRAIN_SIZE = 500, 4_500
TESTED_PER_LEVEL = 250  # of 5,000 test problems, the study scores 750
# Python reads integers of at most 4,300 digits at once, because longer ones take quadratic time; APPS has integers of
# over 9,000.
DIGITS_AT_ONCE = 4_000


class Layout(BaseLayout):
    """The study's splits of the published problems.

    The training problems, shuffled as `datasets` does with seed 42, give 500 for validation and then 4,500 for
    training. Of the test problems, the first 250 of each level are kept.

    A training or validation problem without a solution is dropped. A test problem without one stays, with an empty
    reference: its tests score it.
    """

    expected = "a folder with train.jsonl and test.jsonl, as published"
    takes_folder = True
    takes_file = False

    def hub_tables(self, dataset: DatasetConfig) -> dict[str, str]:
        return {"train": "train", "test": "test"}

    def minimum(self, dataset: DatasetConfig, split: str) -> str:
        if split == "test":
            return f"it needs one test problem whose difficulty is {', '.join(LEVELS[:-1])} or {LEVELS[-1]}"
        return f"the first {VALIDATION_SIZE} training problems are for validation: it needs one more"

    def read(self, path: Path) -> Tables:
        return {split: jsonl.read_rows(path / f"{split}.jsonl") for split in ("train", "test")}

    def samples(self, tables: Tables, dataset: DatasetConfig, dropped: dict[str, int]) -> dict[str, list[Sample]]:
        """As in `BaseLayout`; two problems with one id are an error."""
        rows = _shuffled(list(tables["train"]))
        parts = {
            "train": rows[VALIDATION_SIZE : VALIDATION_SIZE + TRAIN_SIZE],
            "validation": rows[:VALIDATION_SIZE],
            "test": _first_of_each_level(tables["test"]),
        }
        return {split: _samples(split, part, dropped) for split, part in parts.items()}


def _shuffled(rows: list[Row]) -> list[Row]:
    import datasets

    # The study's own call, so that the order is its order.
    return [rows[index] for index in datasets.Dataset.from_dict({"index": range(len(rows))}).shuffle(SEED)["index"]]


def _first_of_each_level(rows: Iterable[Row]) -> list[Row]:
    by_level: dict[str, list[Row]] = {level: [] for level in LEVELS}
    for where, row in rows:
        level_rows = by_level.get(jsonl.text_field(row, "difficulty", where) or "")
        if level_rows is not None and len(level_rows) < TESTED_PER_LEVEL:
            level_rows.append((where, row))
            # The file is hundreds of megabytes: the rest of it is not read.
            if all(len(part) == TESTED_PER_LEVEL for part in by_level.values()):
                break
    return [row for rows_of_level in by_level.values() for row in rows_of_level]


def _samples(split: str, rows: Sequence[Row], dropped: dict[str, int]) -> list[Sample]:
    samples: list[Sample] = []
    seen: set[str] = set()
    for where, row in rows:
        sample = _sample(split, where, row)
        if sample is not None:
            add_unique(seen, sample.id, "problem_id", where)
            samples.append(sample)
    if len(samples) < len(rows):
        dropped[split] = len(rows) - len(samples)
        lacks = "a question" if split == "test" else "a question or solution"
        logger.warning("apps: %d problems of %s lack %s and were left out", dropped[split], split, lacks)
    # Some published problems have no tests, and some no solutions.
    untested = sum(not (sample.tests and sample.tests.inputs) for sample in samples) if split == "test" else 0
    if untested:
        logger.warning("apps: %d test problems have no tests to score by", untested)
    return samples


def _sample(split: str, where: str, row: dict[str, Any]) -> Sample | None:
    problem = row.get("problem_id", row.get("id"))
    if not isinstance(problem, int | str):
        what = f"problem_id must be a number or a text, got {problem!r}"
        raise UserError(what, where=f"problem_id, {where}", hint="an id that no other problem has")
    question = jsonl.text_field(row, "question", where) or ""
    solutions = _solutions(jsonl.text_field(row, "solutions", where))
    if not question.strip() or not (solutions or split == "test"):
        return None
    return Sample(
        id=f"{split}-{problem}",
        instruction=question,
        # Drawn by problem, so that no other problem's presence changes it.
        answer=random.Random(f"{SEED} {problem}").choice(solutions) if solutions else "",  # noqa: S311 - no secret
        level=jsonl.text_field(row, "difficulty", where),
        tests=_tests(jsonl.text_field(row, "input_output", where)),
        starter_code=jsonl.text_field(row, "starter_code", where) or "",
    )


def _solutions(text: str | None) -> list[str]:
    values = _parsed(text)
    if not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, str) and value.strip() and jsonl.has_utf8_form(value)]


def _tests(text: str | None) -> ProgramTests | None:
    values = _parsed(text)
    if not isinstance(values, dict):
        return None
    inputs, outputs, fn_name = values.get("inputs"), values.get("outputs"), values.get("fn_name")
    # An input without its output, or the reverse, tests nothing.
    pairs = list(zip(inputs, outputs)) if isinstance(inputs, list) and isinstance(outputs, list) else []  # noqa: B905
    name = fn_name if isinstance(fn_name, str) and fn_name else None
    if not pairs and not name:
        return None
    return ProgramTests(tuple(test_input for test_input, _ in pairs), tuple(expected for _, expected in pairs), name)


def _parsed(text: str | None) -> Any:
    """The value of a field that holds JSON as text; None if it is empty or malformed."""
    try:
        return json.loads(text or "null", parse_int=_integer)
    except (ValueError, RecursionError):
        return None


def _integer(digits: str) -> int:
    if len(digits) <= DIGITS_AT_ONCE:
        return int(digits)
    sign, value = (-1, 0) if digits.startswith("-") else (1, 0)
    digits = digits.removeprefix("-")
    for start in range(0, len(digits), DIGITS_AT_ONCE):
        part = digits[start : start + DIGITS_AT_ONCE]
        value = value * 10 ** len(part) + int(part)
    return sign * value
