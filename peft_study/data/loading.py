"""From a data set's settings to its three splits."""

import logging
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from peft_study.config.schema import DatasetConfig, DatasetLayout, DatasetSource
from peft_study.data import apps, codealpaca, humaneval, jsonl, mbpp
from peft_study.data.fingerprints import fingerprint
from peft_study.data.leakage import Leakage, cached_leakage
from peft_study.data.line_ends import with_line_feeds
from peft_study.data.samples import Sample
from peft_study.errors import UserError

logger = logging.getLogger(__name__)

Row = tuple[str, dict[str, Any]]
T = TypeVar("T")
SPLITS = ("train", "validation", "test")
CODE_AND_PROSE = ("instruction", "answer", "starter_code", "assertions")
"""The fields of a sample whose line ends do not matter; inputs of tests are bytes that a program reads."""
CLUSTER_FIELD = "question_id"
"""CoNaLa's field with the question of a sample: several samples phrase the same one, and are not independent."""
# A single file is shuffled with this seed, whatever the cell's, so that all cells see the same test split.
SINGLE_FILE_SEED = 0
SINGLE_FILE_SHARES = (0.8, 0.1, 0.1)


@dataclass(frozen=True)
class Splits:
    """A data set, ready for use.

    Attributes:
        train: samples to train on, or to take examples from.
        validation: samples to choose a checkpoint by.
        test: samples to score.
        origin: where the samples come from, for the record.
        fingerprint: SHA-256 of all samples in order, with the line ends of their files, before any limit.
        dropped: rows that were left out, by split, or by reason where that was before the data was split.
        leakage: what of the test split also stands in the others, before any limit.
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
    """Load the splits of a data set from the hub, local files or its generator, with a line feed for every line end.

    Raises:
        UserError: something is missing, unreadable or empty; the message says what to try.
    """
    dropped: dict[str, int] = {}
    if dataset.path is not None:
        rows, origin = _local(dataset, Path(dataset.path).expanduser(), dropped), f"file:{Path(dataset.path).name}"
    elif dataset.source is DatasetSource.generated:
        rows, origin = _generated(dataset), f"generated:{dataset.name}"
    else:
        rows, origin = _from_hub(dataset, dropped), f"hub:{dataset.hub_id}@{dataset.revision or 'default'}"
    for split in SPLITS:
        if not rows[split] and (split == "test" or dataset.layout is not DatasetLayout.humaneval):
            raise UserError(
                f"the {split} split of {dataset.name} is empty", where=origin, hint=f"{_needed(dataset)} at least"
            )
    if dataset.path is None or dataset.layout is not DatasetLayout.pairs:
        _warn_about_sizes(dataset, rows)
    content = fingerprint(sample for split in SPLITS for sample in rows[split])
    rows = {split: [_with_line_feeds(sample) for sample in rows[split]] for split in SPLITS}
    cut = {split: tuple(rows[split][: dataset.limit]) for split in SPLITS}
    return Splits(
        train=cut["train"],
        validation=cut["validation"],
        test=cut["test"][: dataset.test_limit],
        origin=origin,
        fingerprint=content,
        dropped=dropped,
        leakage=cached_leakage(rows["test"], [*rows["train"], *rows["validation"]], content),
    )


def _with_line_feeds(sample: Sample) -> Sample:
    changed: dict[str, Any] = {
        name: with_line_feeds(text) for name in CODE_AND_PROSE if "\r" in (text := getattr(sample, name))
    }
    if "answer" in changed:
        changed["published_answer"] = sample.answer
    return replace(sample, **changed) if changed else sample


def _needed(dataset: DatasetConfig) -> str:
    if dataset.layout is DatasetLayout.apps:
        return f"the first {apps.VALIDATION_SIZE} training problems are for validation: it needs one more"
    if dataset.layout is DatasetLayout.mbpp:
        return "tasks 11 to 510 are the test split, 511 to 600 validation, 601 to 974 training: it needs one of each"
    if dataset.path is not None and Path(dataset.path).expanduser().is_file():
        return "one file is split 80/10/10: it needs six rows"
    return "it needs one sample"


def _generated(dataset: DatasetConfig) -> dict[str, list[Sample]]:
    from peft_study.data import minipy

    if dataset.name != "minipy":
        raise UserError(f"nothing generates {dataset.name!r}", where="dataset.source", hint="dataset=minipy")
    return {split: list(minipy.generate(split)) for split in SPLITS}


def _local(dataset: DatasetConfig, path: Path, dropped: dict[str, int]) -> dict[str, list[Sample]]:
    _check_path(dataset, path)
    if dataset.layout is DatasetLayout.apps:
        return apps.split(jsonl.read_rows(path / "train.jsonl"), jsonl.read_rows(path / "test.jsonl"), dropped)
    if dataset.layout is DatasetLayout.codealpaca:
        pairs = codealpaca.python_pairs(jsonl.read_objects(path), dropped)
        return {
            split: [Sample(f"{split}-{index}", *pair) for index, pair in enumerate(part)]
            for split, part in _split_one_file(path, pairs).items()
        }
    if dataset.layout is DatasetLayout.mbpp:
        return mbpp.split(jsonl.read_objects(path))
    if dataset.layout is DatasetLayout.humaneval:
        return humaneval.split(jsonl.read_objects(path))
    if path.is_dir():
        located = {split: jsonl.read_rows(path / f"{split}.jsonl") for split in SPLITS}
        return {split: _samples(split, rows, dataset, dropped) for split, rows in located.items()}
    parts = _split_one_file(path, list(jsonl.read_rows(path)))
    return {split: _samples(split, part, dataset, dropped) for split, part in parts.items()}


def _check_path(dataset: DatasetConfig, path: Path) -> None:
    expected = {
        DatasetLayout.pairs: "a folder with train.jsonl, validation.jsonl and test.jsonl, or one JSONL file to split"
        " 80/10/10",
        DatasetLayout.apps: "a folder with train.jsonl and test.jsonl, as published",
        DatasetLayout.codealpaca: "one file, the JSON list or JSONL of CodeAlpaca",
        DatasetLayout.mbpp: "one file, the JSONL of all problems or the JSON list of the sanitized ones",
        DatasetLayout.humaneval: "one file, the JSONL of the problems",
    }[dataset.layout]
    where = f"dataset.path={path}"
    if not path.exists():
        raise UserError("the data path does not exist", where=where, hint=expected)
    if dataset.layout is DatasetLayout.apps and not path.is_dir():
        raise UserError("APPS is read from a folder", where=where, hint=expected)
    if dataset.layout not in (DatasetLayout.pairs, DatasetLayout.apps) and path.is_dir():
        raise UserError(f"{dataset.name} is read from one file", where=where, hint=expected)


def _split_one_file(path: Path, items: list[T]) -> dict[str, list[T]]:
    random.Random(SINGLE_FILE_SEED).shuffle(items)  # noqa: S311 - a reproducible split, no secret
    train_end = round(len(items) * SINGLE_FILE_SHARES[0])
    validation_end = round(len(items) * (SINGLE_FILE_SHARES[0] + SINGLE_FILE_SHARES[1]))
    logger.info("%s split 80/10/10 with seed %d", path.name, SINGLE_FILE_SEED)
    return {"train": items[:train_end], "validation": items[train_end:validation_end], "test": items[validation_end:]}


def _from_hub(dataset: DatasetConfig, dropped: dict[str, int]) -> dict[str, list[Sample]]:
    if dataset.layout is DatasetLayout.apps:
        tables = _hub_tables(dataset, {"train": "train", "test": "test"})
        return apps.split(tables["train"], tables["test"], dropped)
    if dataset.layout is DatasetLayout.mbpp:
        tables = _hub_tables(dataset, {split: split for split in SPLITS})
        return mbpp.split(row for split in SPLITS for row in tables[split])
    if dataset.layout is DatasetLayout.humaneval:
        return humaneval.split(_hub_tables(dataset, {"test": "test"})["test"])
    tables = _hub_tables(dataset, dict(zip(SPLITS, ("train", dataset.validation_split, "test"), strict=True)))
    return {split: _samples(split, rows, dataset, dropped) for split, rows in tables.items()}


def _hub_tables(dataset: DatasetConfig, names: Mapping[str, str]) -> dict[str, Iterable[Row]]:
    """The rows of each split, by the name that the hub has for it; read as they are asked for."""
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(
            _place(dataset), data_files=dict(dataset.hub_files) or None, revision=dataset.revision
        )
        tables = {split: loaded[name] for split, name in names.items()}
    except Exception as error:  # datasets raises many kinds for one cause: the hub's answer, or none
        raise UserError(
            f"{dataset.hub_id} cannot be loaded from the hub: {type(error).__name__}: {_first_line(error)}",
            where=f"dataset={dataset.name}",
            hint="check the network or the cache (HF_HUB_OFFLINE=1 uses only that), or dataset.path=FOLDER",
        ) from error
    return {split: _located(f"{dataset.hub_id}, {split}", table) for split, table in tables.items()}


def _place(dataset: DatasetConfig) -> str:
    """Where `datasets` finds the rows; offline, and with files named, only in the hub's cache, not in its own."""
    import datasets
    from huggingface_hub import snapshot_download

    place = str(dataset.hub_id)
    if not (datasets.config.HF_HUB_OFFLINE and dataset.hub_files) or Path(place).exists():
        return place
    files = list(dataset.hub_files.values())
    return snapshot_download(
        place, repo_type="dataset", revision=dataset.revision, allow_patterns=files, local_files_only=True
    )


def _located(source: str, rows: Iterable[dict[str, Any]]) -> Iterable[Row]:
    return ((f"{source} row {number}", row) for number, row in enumerate(rows))


def _samples(split: str, located: Iterable[Row], dataset: DatasetConfig, dropped: dict[str, int]) -> list[Sample]:
    samples = []
    for index, (where, row) in enumerate(located):
        instruction = jsonl.text_field(row, dataset.instruction_field, where, "dataset.instruction_field")
        answer = jsonl.text_field(row, dataset.answer_field, where, "dataset.answer_field")
        if not (instruction or "").strip() or not (answer or "").strip():
            # The study drops such rows of train and validation; a test sample without a reference cannot be scored.
            dropped[split] = dropped.get(split, 0) + 1
            continue
        assert instruction is not None
        assert answer is not None
        samples.append(Sample(f"{split}-{index}", instruction, answer, cluster=_cluster(row)))
    if dropped.get(split):
        logger.warning(
            "%s: %d rows of %s lack an instruction or answer and were left out", dataset.name, dropped[split], split
        )
    return samples


def _cluster(row: Mapping[str, Any]) -> str | None:
    """The question that a sample phrases; published ids are "QUESTION" or "QUESTION-NUMBER"."""
    value = row.get(CLUSTER_FIELD)
    question = "" if value is None or isinstance(value, list | dict) else str(value).partition("-")[0]
    return question or None


def _warn_about_sizes(dataset: DatasetConfig, rows: Mapping[str, list[Sample]]) -> None:
    for split, expected in dataset.sizes.items():
        if split in rows and len(rows[split]) != expected:
            logger.warning("%s: %s has %d samples, the study's has %d", dataset.name, split, len(rows[split]), expected)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
