"""MBPP and HumanEval: their splits, and the assertions that score them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peft_study.config.compose import compose_cell
from peft_study.config.schema import DatasetConfig
from peft_study.data.loading import load
from peft_study.errors import UserError
from tests.conftest import write_jsonl
from tests.unit.test_loading_data import REAL_DATA


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def data(name: str, path: Path, **changes: Any) -> DatasetConfig:
    return replace(compose_cell([f"dataset={name}", "method=zero-shot"]).dataset, path=str(path), **changes)


def task(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "task_id": number,
        "text": f"Write a function to add {number}.",
        "code": f"def add(n):\r\n    return n + {number}",
        "test_list": [f"assert add(1) == {number + 1}", f"assert add(0) == {number}"],
        "test_setup_code": "",
    } | changes


def function(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "task_id": f"HumanEval/{number}",
        "prompt": "def double(n):\n",
        "canonical_solution": "    return 2 * n\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
        "entry_point": "double",
    } | changes


MBPP_TASKS = [task(number) for number in (1, 11, 510, 511, 600, 601, 974)]


def test_mbpp_is_split_by_task(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "all.jsonl", MBPP_TASKS)

    splits = load(data("mbpp", tmp_path / "all.jsonl"))

    assert [sample.id for sample in splits.train] == ["train-601", "train-974"]
    assert [sample.id for sample in splits.validation] == ["validation-511", "validation-600"]
    assert [sample.id for sample in splits.test] == ["test-11", "test-510"]
    first = splits.test[0]
    assert first.instruction == (
        "Write a function to add 11.\nYour code should pass these tests:\n\nassert add(1) == 12\nassert add(0) == 11"
    )
    assert first.answer == "def add(n):\n    return n + 11"
    assert first.assertions == "assert add(1) == 12\nassert add(0) == 11"


def test_the_sanitized_mbpp_is_read_as_well(tmp_path: Path) -> None:
    rows = [{**row, "prompt": row["text"], "test_imports": ["import math"]} for row in MBPP_TASKS]
    for row in rows:
        del row["text"], row["test_setup_code"]
    (tmp_path / "sanitized.json").write_text(json.dumps(rows))

    first = load(data("mbpp", tmp_path / "sanitized.json")).test[0]

    assert first.assertions == "import math\nassert add(1) == 12\nassert add(0) == 11"


def test_evalplus_writes_the_name_of_the_data_set_before_the_number(tmp_path: Path) -> None:
    named = [{**row, "task_id": f"Mbpp/{row['task_id']}"} for row in MBPP_TASKS]
    splits = [
        load(data("mbpp", write_jsonl(tmp_path / f"{index}.jsonl", list(rows))))
        for index, rows in enumerate((MBPP_TASKS, named))
    ]

    assert splits[0].test == splits[1].test
    assert splits[0].fingerprint == splits[1].fingerprint


def test_humaneval_is_a_test_split_alone(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "humaneval.jsonl", [function(0), function(7)])

    splits = load(data("humaneval", tmp_path / "humaneval.jsonl"))

    assert splits.sizes() == {"train": 0, "validation": 0, "test": 2}
    sample = splits.test[1]
    assert (sample.id, sample.instruction) == ("test-7", "def double(n):\n")
    assert sample.answer == "def double(n):\n    return 2 * n\n"
    namespace: dict[str, Any] = {}
    exec(sample.answer, namespace)
    exec(sample.assertions, namespace)
    with pytest.raises(AssertionError):
        exec(f"{sample.answer.replace('2 *', '3 *')}\n{sample.assertions}", {})


@pytest.mark.parametrize(
    ("name", "rows", "says", "where"),
    [
        ("mbpp", [task(11), task(11)], "task_id must be unique, got 11", "line 2"),
        ("mbpp", [task(11, task_id="11")], "task_id", "line 1"),
        ("mbpp", [task(11, task_id="HumanEval/11")], "task_id", "line 1"),
        ("mbpp", [task(11, task_id=None)], "task_id", "line 1"),
        ("mbpp", [task(11), task(12, task_id="Mbpp/11")], "task_id must be unique, got 11", "line 2"),
        (
            "mbpp",
            [task(11), task(12, test_list="assert True")],
            "'test_list' must be a list of texts, got str",
            "line 2",
        ),
        ("mbpp", [task(11, test_list=[1])], "'test_list' holds a int", "line 1"),
        ("mbpp", [task(11)], "the train split of mbpp is empty", "file:all.jsonl"),
        ("humaneval", [function(0), function(0)], "task_id must be unique, got test-0", "line 2"),
        ("humaneval", [function(0, entry_point="a b")], "entry_point must be .*, got 'a b'", "line 1"),
        ("humaneval", [{"task_id": "HumanEval/0"}], "lacks the field 'prompt'", "line 1"),
    ],
)
def test_a_wrong_row_is_named(name: str, rows: list[Any], says: str, where: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "all.jsonl", rows)

    with pytest.raises(UserError, match=says) as caught:
        load(data(name, tmp_path / "all.jsonl"))

    assert (caught.value.where or "").endswith(where)


@pytest.mark.parametrize("arguments", [["method=lora"], ["method=icl"], ["method=full"]])
def test_nothing_is_trained_on_or_shown_of_humaneval(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="humaneval has no training split"):
        compose_cell(["model=tiny-llama", "dataset=humaneval", *arguments])


@pytest.mark.parametrize(
    ("name", "file", "sizes"),
    [
        ("mbpp", "all.jsonl", {"train": 374, "validation": 90, "test": 500}),
        ("humaneval", "test.jsonl", {"train": 0, "validation": 0, "test": 164}),
    ],
)
def test_the_real_problems_are_as_many_as_published(name: str, file: str, sizes: dict[str, int]) -> None:
    path = REAL_DATA / name / file
    if not path.is_file():
        pytest.skip(f"no copy of {name} beside this checkout")

    assert load(data(name, path)).sizes() == sizes
