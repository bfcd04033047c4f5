"""Data sets from local files, the generator and the hub."""

from dataclasses import replace
from pathlib import Path

import pytest

from peft_study.config.compose import compose_cell
from peft_study.config.schema import DatasetConfig
from peft_study.data.loading import load
from peft_study.errors import UserError
from tests.conftest import write_jsonl

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"


def local(path: Path, **changes: object) -> DatasetConfig:
    return replace(compose_cell(["model=tiny-llama", "dataset=conala"]).dataset, path=str(path), **changes)  # type: ignore[arg-type]


def test_a_folder_gives_its_three_files(small_data: Path) -> None:
    splits = load(local(small_data))

    assert splits.sizes() == {"train": 32, "validation": 8, "test": 8}
    assert splits.test[0].id == "test-0"
    assert splits.test[0].instruction == "sort list `xs`"
    assert splits.origin == "file:small"


def test_the_limit_cuts_every_split_and_keeps_ids_and_fingerprint(small_data: Path) -> None:
    whole, cut = load(local(small_data)), load(local(small_data, limit=3))

    assert cut.sizes() == {"train": 3, "validation": 3, "test": 3}
    assert cut.test == whole.test[:3]
    assert cut.fingerprint == whole.fingerprint


def test_one_file_is_split_the_same_way_every_time(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "all.jsonl", [{"nl": f"n{i}", "cmd": f"c{i}"} for i in range(50)])

    first, second = load(local(path)), load(local(path))

    assert first.sizes() == {"train": 40, "validation": 5, "test": 5}
    assert first == second
    texts = [sample.instruction for split in (first.train, first.validation, first.test) for sample in split]
    assert sorted(texts) == sorted(f"n{i}" for i in range(50))


def test_other_field_names(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "all.jsonl", [{"intent": f"n{i}", "snippet": "c"} for i in range(10)])

    splits = load(local(path, instruction_field="intent", answer_field="snippet"))

    assert splits.sizes()["train"] == 8


def test_rows_without_text_are_dropped_and_counted(tmp_path: Path) -> None:
    rows: list[object] = [{"nl": "a", "cmd": "b"}, {"nl": None, "cmd": "b"}, {"nl": "a", "cmd": "  "}]
    for split in ("train", "validation", "test"):
        write_jsonl(tmp_path / f"{split}.jsonl", rows)

    splits = load(local(tmp_path))

    assert splits.sizes() == {"train": 1, "validation": 1, "test": 1}
    assert splits.dropped == {"train": 2, "validation": 2, "test": 2}


def test_blank_lines_a_byte_order_mark_and_line_separators_inside_text_are_fine(tmp_path: Path) -> None:
    row = '{"nl": "a\u2028b", "cmd": "c"}'
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text(f"\ufeff{row}\r\n\n{row}\n", encoding="utf-8")

    assert load(local(tmp_path)).train[1].instruction == "a\u2028b"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", ["not JSON", "train.jsonl, line 2, column 2"]),
        ("[1, 2]", ["holds a list", "line 2"]),
        ('{"nl": "a"}', ["lacks the field 'cmd'", "line 2", "dataset.answer_field"]),
        ('{"nl": "a", "cmd2": "b"}', ["did you mean 'cmd2'?"]),
        ('{"nl": 3, "cmd": "b"}', ["'nl' holds a int"]),
        ("[" * 100_000, ["not JSON", "line 2"]),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, says: list[str]) -> None:
    good = {"nl": "a", "cmd": "b"}
    write_jsonl(tmp_path / "train.jsonl", [good, line])
    for split in ("validation", "test"):
        write_jsonl(tmp_path / f"{split}.jsonl", [good])

    with pytest.raises(UserError) as caught:
        load(local(tmp_path))

    for words in says:
        assert words in str(caught.value)


def test_bytes_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_bytes(b'{"nl": "caf\xe9", "cmd": "b"}\n')

    with pytest.raises(UserError, match="not UTF-8"):
        load(local(tmp_path))


def test_a_hub_that_cannot_be_reached_says_what_to_try() -> None:
    dataset = compose_cell(["dataset=codealpacapy"]).dataset

    with pytest.raises(UserError, match="cannot be loaded from the hub") as caught:
        load(dataset)

    assert "dataset.path" in str(caught.value)


def test_the_generated_set_has_its_sizes() -> None:
    splits = load(compose_cell(["model=tiny-llama"]).dataset)

    assert splits.sizes() == {"train": 2000, "validation": 300, "test": 1000}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("conala", {"train": 2134, "validation": 201, "test": 543}),
        ("codealpacapy", {"train": 905, "validation": 130, "test": 259}),
    ],
)
def test_real_data(name: str, sizes: dict[str, int]) -> None:
    if not (REAL_DATA / name).is_dir():
        pytest.skip(f"no copy of {name} beside the checkout")

    assert load(local(REAL_DATA / name)).sizes() == sizes
