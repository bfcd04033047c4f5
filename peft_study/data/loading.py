"""From a data set's settings to its three splits."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft_study.config.schema import DatasetConfig, DatasetSource
from peft_study.config.sources import local_path
from peft_study.data.hub import read_tables
from peft_study.data.layouts import LAYOUTS
from peft_study.data.layouts.base import SPLITS
from peft_study.data.leakage import Leakage, cached_leakage
from peft_study.data.line_ends import with_line_feeds
from peft_study.data.samples import Sample, fingerprint
from peft_study.errors import UserError

logger = logging.getLogger(__name__)

CODE_AND_PROSE = ("instruction", "answer", "starter_code", "assertions")
"""The fields of a sample whose line ends do not matter. They do in the inputs of tests, which a program reads."""


@dataclass(frozen=True)
class Splits:
    """A data set, ready for use.

    Attributes:
        train: samples to train on, or to take examples from.
        validation: samples to choose a checkpoint by.
        test: samples to score.
        origin: the source of the samples, for the record.
        fingerprint: SHA-256 of all samples in order, with the line ends of their files, before any limit.
        dropped: number of rows that were left out, by split, or by reason if that was before the data was split.
        leakage: the overlap of the test split with the others, before any limit.
    """

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    origin: str
    fingerprint: str
    dropped: Mapping[str, int]
    leakage: Leakage

    def sizes(self) -> dict[str, int]:
        """The number of samples by split."""
        return {split: len(getattr(self, split)) for split in SPLITS}


def load(dataset: DatasetConfig) -> Splits:
    """Load the splits of a data set from the hub, local files or its generator, with line feeds as line ends.

    Raises:
        UserError: something is missing, unreadable or empty; the message says what to try.
    """
    dropped: dict[str, int] = {}
    rows, origin = _read(dataset, dropped)
    _check_sizes(dataset, rows, origin)
    # Before line ends change and limits apply, so that results of one data set have one fingerprint.
    content = fingerprint(sample for split in SPLITS for sample in rows[split])
    # A carriage return in a prompt or target would teach the model the line ends of a file.
    rows = {split: [_with_line_feeds(sample) for sample in rows[split]] for split in SPLITS}
    limited = {split: tuple(rows[split][: dataset.limit]) for split in SPLITS}
    return Splits(
        train=limited["train"],
        validation=limited["validation"],
        test=limited["test"][: dataset.test_limit],
        origin=origin,
        fingerprint=content,
        dropped=dropped,
        # Of whole splits, so that limited cells of a data set share its report.
        leakage=cached_leakage(rows["test"], [*rows["train"], *rows["validation"]], content),
    )


def _read(dataset: DatasetConfig, dropped: dict[str, int]) -> tuple[dict[str, list[Sample]], str]:
    """The samples by split, and their origin; `dropped` is filled with the number of rows left out."""
    layout = LAYOUTS[dataset.layout]
    if dataset.path is not None:
        path = local_path(dataset.path)
        _check_path(dataset, path)
        return layout.samples(layout.read(path), dataset, dropped), f"file:{Path(dataset.path).name}"
    if dataset.source is DatasetSource.generated:
        return _generated(dataset), f"generated:{dataset.name}"
    tables = read_tables(dataset, layout.hub_tables(dataset))
    return layout.samples(tables, dataset, dropped), f"hub:{dataset.hub_id}@{dataset.revision or 'default'}"


def _with_line_feeds(sample: Sample) -> Sample:
    changed: dict[str, Any] = {
        name: with_line_feeds(text) for name in CODE_AND_PROSE if "\r" in (text := getattr(sample, name))
    }
    # `raw_em` compares with the answer as its file has it.
    if "answer" in changed:
        changed["published_answer"] = sample.answer
    return replace(sample, **changed) if changed else sample


def _generated(dataset: DatasetConfig) -> dict[str, list[Sample]]:
    from peft_study.data import minipy

    if dataset.name != "minipy":
        what = f"dataset.source=generated has a generator for minipy alone, got {dataset.name!r}"
        raise UserError(what, where="dataset.source", hint="dataset=minipy")
    return {split: list(minipy.generate(split)) for split in SPLITS}


def _check_path(dataset: DatasetConfig, path: Path) -> None:
    layout, where = LAYOUTS[dataset.layout], f"dataset.path={path}"
    if not path.exists():
        raise UserError("the data path does not exist", where=where, hint=layout.expected)
    if path.is_dir() and not layout.takes_folder:
        raise UserError(f"{dataset.name} is read from one file, got a folder", where=where, hint=layout.expected)
    if not path.is_dir() and not layout.takes_file:
        raise UserError(f"{dataset.name} is read from a folder, got a file", where=where, hint=layout.expected)


def _check_sizes(dataset: DatasetConfig, rows: Mapping[str, list[Sample]], origin: str) -> None:
    """Refuse an empty split, and warn about other sizes than the study's."""
    layout = LAYOUTS[dataset.layout]
    for split in SPLITS if dataset.layout.has_training_split else ("test",):
        if not rows[split]:
            what = f"the {split} split of {dataset.name} is empty"
            raise UserError(what, where=origin, hint=f"{layout.minimum(dataset, split)} at least")
    if dataset.path is not None and not layout.is_published:  # a file of a user has any size
        return
    for split, expected in dataset.sizes.items():
        if split in rows and len(rows[split]) != expected:
            logger.warning("%s: %s has %d samples, the study's has %d", dataset.name, split, len(rows[split]), expected)
