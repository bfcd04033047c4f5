"""APPS: its splits, its solutions and tests, wherever the rows come from."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peft_study.config.compose import compose_cell
from peft_study.config.schema import DatasetConfig
from peft_study.data.loading import Splits, load
from peft_study.data.samples import LEVELS
from peft_study.errors import UserError
from tests.conftest import write_jsonl

HUGE = "-" + "7" * 9_000
TRAIN_ROWS = 520
# What numpy's default generator, which `datasets` shuffles with, makes of 5,000 rows and seed 42.
PUBLISHED_ORDER = [1535, 1183, 3378, 3825, 643, 90]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def problem(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "problem_id": number,
        "question": f"Read {number} numbers and print their sum.",
        "solutions": json.dumps([f"print({number}, {draw})" for draw in range(5)]),
        "input_output": json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]}),
        "difficulty": "interview",
        "url": "",
        "starter_code": "",
    } | changes


def published(levels: tuple[str, ...] = ("interview", "competition", "introductory"), each: int = 3) -> list[Any]:
    return [problem(number, difficulty=levels[number // each]) for number in range(len(levels) * each)]


def apps(folder: Path, train: list[Any], test: list[Any], **changes: Any) -> DatasetConfig:
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "test.jsonl", test)
    return replace(compose_cell(["dataset=apps"]).dataset, path=str(folder), **changes)


def loaded(folder: Path, *first: dict[str, Any], test: list[Any] | None = None) -> Splits:
    """APPS with these problems first in the published training file, which the shuffle sends to some split."""
    rows: list[Any] = [*first, *(problem(number) for number in range(len(first), TRAIN_ROWS))]
    return load(apps(folder, rows, published() if test is None else test))


def by_problem(splits: Splits) -> dict[int, Any]:
    samples = [*splits.train, *splits.validation]
    return {int(sample.id.rpartition("-")[2]): sample for sample in samples}


def test_the_first_500_of_the_shuffle_are_validation_and_the_rest_train(tmp_path: Path) -> None:
    splits = load(apps(tmp_path, [problem(number) for number in range(5_000)], published()))

    assert (len(splits.train), len(splits.validation)) == (4_500, 500)
    assert [sample.id for sample in splits.validation[:6]] == [f"validation-{number}" for number in PUBLISHED_ORDER]
    assert len(by_problem(splits)) == 5_000


def test_the_first_250_of_each_level_are_tested_the_easy_ones_first(tmp_path: Path) -> None:
    test = published(each=260)

    splits = loaded(tmp_path, test=test)

    assert [sample.level for sample in splits.test] == [level for level in LEVELS for _ in range(250)]
    assert [splits.test[start].id for start in (0, 250, 500)] == ["test-520", "test-0", "test-260"]


def test_a_solution_is_drawn_by_problem_and_seed_alone(tmp_path: Path) -> None:
    splits = loaded(tmp_path / "one")
    fewer = loaded(tmp_path / "other", problem(0, solutions="[]"))

    answers = {number: sample.answer for number, sample in by_problem(splits).items()}
    assert {answer.rpartition(" ")[2] for answer in answers.values()} == {f"{draw})" for draw in range(5)}
    assert {number: sample.answer for number, sample in by_problem(fewer).items()} == {
        number: answer for number, answer in answers.items() if number != 0
    }


@pytest.mark.parametrize(
    "solutions",
    ["", None, "[]", '["  "]', "[3]", "not JSON", '{"a": "b"}', '["\\ud800"]', "[" * 100_000],
    ids=["empty", "null", "none", "blank", "a number", "malformed", "an object", "half a character", "too deep"],
)
def test_a_problem_without_a_solution_is_dropped_unless_it_is_tested(tmp_path: Path, solutions: str | None) -> None:
    splits = loaded(
        tmp_path, problem(0, solutions=solutions), test=[problem(0, solutions=solutions, difficulty="introductory")]
    )

    assert sum(splits.dropped.values()) == 1
    assert "test" not in splits.dropped
    assert 0 not in by_problem(splits)
    assert (splits.test[0].answer, splits.test[0].tests is None) == ("", False)


@pytest.mark.parametrize(
    ("given", "inputs", "outputs", "fn_name"),
    [
        ('{"inputs": ["1\\n", "2\\n"], "outputs": ["1", "4"]}', ("1\n", "2\n"), ("1", "4"), None),
        ('{"inputs": [[1, [2]]], "outputs": [{"a": null}], "fn_name": "f"}', ([1, [2]],), ({"a": None},), "f"),
        (f'{{"inputs": [[{HUGE}]], "outputs": [12]}}', ([-(10**9_000 - 1) // 9 * 7],), (12,), None),
        ('{"inputs": ["1", "2"], "outputs": ["1"]}', ("1",), ("1",), None),
        ('{"inputs": [], "outputs": [], "fn_name": "f"}', (), (), "f"),
    ],
    ids=["standard input", "call", "an integer of 9,000 digits", "an input without output", "a name alone"],
)
def test_tests_are_read_as_they_stand(
    tmp_path: Path, given: str, inputs: tuple[Any, ...], outputs: tuple[Any, ...], fn_name: str | None
) -> None:
    tests = by_problem(loaded(tmp_path, problem(0, input_output=given)))[0].tests

    assert tests is not None
    assert (tests.inputs, tests.outputs, tests.fn_name) == (inputs, outputs, fn_name)


@pytest.mark.parametrize("given", ["", None, "[]", "{}", "not JSON", '{"inputs": 3, "outputs": 4}', "[" * 100_000])
def test_a_test_problem_without_tests_is_kept_and_said(
    tmp_path: Path, given: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    splits = loaded(tmp_path, test=[problem(0, input_output=given), problem(1)])

    assert [sample.tests is None for sample in splits.test] == [True, False]
    assert "1 test problems have no tests" in caplog.text


def test_other_sizes_than_the_studys_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        loaded(tmp_path)

    assert "apps: train has 20 samples, the study's has 4500" in caplog.text
    assert "apps: test has 9 samples, the study's has 750" in caplog.text


@pytest.mark.parametrize("changes", [{"difficulty": "competition"}, {"starter_code": "def f():"}, {"input_output": ""}])
def test_what_a_program_is_scored_by_is_part_of_the_fingerprint(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain = loaded(tmp_path / "plain", test=[problem(0)])
    changed = loaded(tmp_path / "changed", test=[problem(0, **changes)])

    assert changed.test[0].instruction == plain.test[0].instruction
    assert changed.fingerprint != plain.fingerprint


def test_integers_of_any_length_have_a_fingerprint(tmp_path: Path) -> None:
    texts = [f'{{"inputs": [[{{"a": {number}}}]], "outputs": [1]}}' for number in (HUGE, HUGE[:-1] + "8")]
    one, other = (
        loaded(tmp_path / str(number), test=[problem(0, input_output=text)]) for number, text in enumerate(texts)
    )

    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"problem_id": 0}, "lacks the field 'question'"),
        (problem(0, question=3), "'question' holds a int"),
        (problem(0, starter_code=["def f():"]), "'starter_code' holds a list"),
        (
            {name: value for name, value in problem(0).items() if name != "problem_id"},
            "problem_id must be .*, got None",
        ),
        (problem(1), "problem_id must be unique, got test-1"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    test = [problem(1), row]

    with pytest.raises(UserError, match=says) as caught:
        loaded(tmp_path, test=[{**each, "difficulty": "interview"} for each in test])

    assert "test.jsonl, line 2" in str(caught.value)


def test_a_file_is_refused_and_a_small_copy_says_what_it_lacks(tmp_path: Path) -> None:
    few = apps(tmp_path, published(), published())

    with pytest.raises(UserError, match="the train split of apps is empty") as empty:
        load(few)
    with pytest.raises(UserError, match="the test split of apps is empty") as untested:
        loaded(tmp_path / "untested", test=[problem(0, difficulty="easy")])
    with pytest.raises(UserError, match="read from a folder") as no_folder:
        load(replace(few, path=str(tmp_path / "train.jsonl")))

    assert "first 500 training problems are for validation" in str(empty.value)
    assert "introductory, interview or competition" in str(untested.value)
    assert "train.jsonl and test.jsonl" in str(no_folder.value)


def test_the_hubs_parquet_gives_the_same_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    train = [problem(number) for number in range(TRAIN_ROWS)]
    local = load(apps(tmp_path / "local", train, published()))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    for split, rows in (("train", train), ("test", published())):
        folder = tmp_path / "hub" / "all" / split
        folder.mkdir(parents=True)
        datasets.Dataset.from_list(rows).to_parquet(folder / "0000.parquet")

    of_hub = load(replace(compose_cell(["dataset=apps"]).dataset, hub_id=str(tmp_path / "hub")))

    assert of_hub.fingerprint == local.fingerprint
    assert of_hub.sizes() == {"train": 20, "validation": 500, "test": 9}
