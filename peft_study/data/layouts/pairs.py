"""Pairs of an instruction and its answer: CoNaLa, CodeAlpacaPy, and any data of a user."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from peft_study.config.schema import DatasetConfig
from peft_study.config.sources import local_path
from peft_study.data import jsonl
from peft_study.data.layouts.base import SINGLE_FILE_MINIMUM, SPLITS, BaseLayout, Row, Tables, split_single_table
from peft_study.data.samples import Sample

logger = logging.getLogger(__name__)

CLUSTER_FIELD = "question_id"
"""CoNaLa's field with the question of a sample: several samples phrase the same one, and are not independent."""
SINGLE = "all"
"""The table of a single file, which is still to be split."""


class Layout(BaseLayout):
    """One object a row, with the fields that `dataset.instruction_field` and `dataset.answer_field` name."""

    expected = "a folder with train.jsonl, validation.jsonl and test.jsonl, or one JSONL file to split 80/10/10"
    takes_folder = True
    is_published = False

    def hub_tables(self, dataset: DatasetConfig) -> dict[str, str]:
        """As in `BaseLayout`; the hub's name of the validation split is a setting."""
        return {"train": "train", "validation": dataset.validation_split, "test": "test"}

    def minimum(self, dataset: DatasetConfig, split: str) -> str:
        is_file = dataset.path is not None and local_path(dataset.path).is_file()
        return SINGLE_FILE_MINIMUM if is_file else super().minimum(dataset, split)

    def read(self, path: Path) -> Tables:
        if path.is_dir():
            return {split: jsonl.read_rows(path / f"{split}.jsonl") for split in SPLITS}
        return {SINGLE: jsonl.read_rows(path)}

    def samples(self, tables: Tables, dataset: DatasetConfig, dropped: dict[str, int]) -> dict[str, list[Sample]]:
        if SINGLE in tables:
            tables = split_single_table(dataset, list(tables[SINGLE]))
        return {split: _samples(split, tables[split], dataset, dropped) for split in SPLITS}


def _samples(split: str, rows: Iterable[Row], dataset: DatasetConfig, dropped: dict[str, int]) -> list[Sample]:
    samples = []
    for index, (where, row) in enumerate(rows):
        instruction = jsonl.text_field(row, dataset.instruction_field, where, "dataset.instruction_field") or ""
        answer = jsonl.text_field(row, dataset.answer_field, where, "dataset.answer_field") or ""
        if not instruction.strip() or not answer.strip():
            # The study drops such rows of train and validation; a test sample without a reference cannot be scored.
            dropped[split] = dropped.get(split, 0) + 1
            continue
        samples.append(Sample(f"{split}-{index}", instruction, answer, cluster=_cluster(row)))
    if dropped.get(split):
        logger.warning(
            "%s: %d rows of %s lack an instruction or answer and were left out", dataset.name, dropped[split], split
        )
    return samples


def _cluster(row: Mapping[str, Any]) -> str | None:
    """The question that a sample phrases; published ids are "QUESTION" or "QUESTION-NUMBER"."""
    value = row.get(CLUSTER_FIELD)
    # Intervals draw samples of one question together: they are not independent.
    question = "" if value is None or isinstance(value, list | dict) else str(value).partition("-")[0]
    return question or None
