"""Data sets from local files, the generator and the hub."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from peft_study.config.compose import compose_cell
from peft_study.config.naming import name_of
from peft_study.config.schema import DatasetConfig
from peft_study.data.loading import Splits, load
from peft_study.data.samples import Sample
from peft_study.errors import UserError
from tests.conftest import write_jsonl

CODEALPACA = ["model=tiny-llama", "dataset=codealpacapy", "dataset.layout=codealpaca"]
REAL_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


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


def test_a_path_below_the_home_folder_of_no_user_is_refused() -> None:
    cell = compose_cell(["model=tiny-llama", "dataset=conala", "dataset.path='~no-such-user/data'"])

    name_of(cell)
    with pytest.raises(UserError, match="the data path does not exist"):
        load(cell.dataset)


def test_one_file_is_split_the_same_way_every_time(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "all.jsonl", [{"nl": f"n{i}", "cmd": f"c{i}"} for i in range(50)])

    first, second = load(local(path)), load(local(path))

    assert first.sizes() == {"train": 40, "validation": 5, "test": 5}
    assert first == second
    texts = [sample.instruction for split in (first.train, first.validation, first.test) for sample in split]
    assert sorted(texts) == sorted(f"n{i}" for i in range(50))


@pytest.mark.parametrize(("rows", "refused"), [(2, True), (5, True), (7, True), (8, False), (9, False)])
def test_one_file_needs_eight_rows(tmp_path: Path, rows: int, refused: bool) -> None:
    path = write_jsonl(tmp_path / "all.jsonl", [{"nl": f"n{i}", "cmd": f"c{i}"} for i in range(rows)])

    if refused:
        with pytest.raises(UserError) as caught:
            load(local(path))
        assert "needs eight rows" in str(caught.value)
    else:
        assert min(load(local(path)).sizes().values()) == 1


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


def test_a_bad_byte_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_bytes(b'{"nl": "a", "cmd": "b"}\n\xff\n')

    with pytest.raises(UserError, match="not UTF-8") as caught:
        load(local(path))

    assert "all.jsonl, line 2" in str(caught.value)


def alpaca(output: str, instruction: str = "do it", addition: str = "") -> dict[str, object]:
    return {"instruction": instruction, "input": addition, "output": output}


def rebuilt(path: Path) -> Splits:
    return load(compose_cell([*CODEALPACA, f"dataset.path={path}"]).dataset)


def everything(splits: Splits) -> list[Sample]:
    return [*splits.train, *splits.validation, *splits.test]


@pytest.mark.parametrize("as_list", [True, False], ids=["a JSON list", "JSONL"])
def test_codealpacapy_is_rebuilt_from_the_raw_data(
    tmp_path: Path, as_list: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [alpaca(f"x = {index}", f"set x to {index}") for index in range(20)] + [alpaca("<p>")] * 5
    path = write_jsonl(tmp_path / "raw.json", [json.dumps(rows, indent=1)] if as_list else list(rows))

    splits = rebuilt(path)

    assert splits.sizes() == {"train": 16, "validation": 2, "test": 2}
    assert splits.dropped == {"no Python": 5}
    assert splits.test[0].id == "test-0"
    assert {(sample.instruction, sample.answer) for sample in everything(splits)} == {
        (f"set x to {index}", f"x = {index}") for index in range(20)
    }
    assert "train has 16 samples, the study's has 2192" in caplog.text


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("print(1)", None),
        ("def f():\n    return '\\d'", None),
        ("[1, 2]", None),
        ("a + 1", None),
        ('"""text"""\nx = 1', None),
        ("", "blank"),
        (" \n", "blank"),
        ("SELECT * FROM table;", "no Python"),
        ("let x = 1", "no Python"),
        ("a\0b", "no Python"),
        ("print 1", "no Python"),
        ("(" * 10_000, "no Python"),
        ("yes", "a bare word, number or text"),
        ("-42", "a bare word, number or text"),
        ("'A sentence.'", "a bare word, number or text"),
        ("True\nFalse", "a bare word, number or text"),
        ("#header {}", "a bare word, number or text"),
    ],
)
def test_what_is_no_python_program_is_left_out_and_counted(tmp_path: Path, output: str, reason: str | None) -> None:
    good: list[object] = [alpaca(f"x = {index}") for index in range(10)]

    splits = rebuilt(write_jsonl(tmp_path / "raw.jsonl", [*good, alpaca(output)]))

    assert splits.dropped == ({reason: 1} if reason else {})
    assert len(everything(splits)) == (10 if reason else 11)


def test_an_input_stands_behind_its_instruction(tmp_path: Path) -> None:
    rows: list[object] = [alpaca("x = 1", "add", "1, 2"), *(alpaca("x = 1", "none", " ") for _ in range(9))]

    splits = rebuilt(write_jsonl(tmp_path / "raw.jsonl", rows))

    assert {sample.instruction for sample in everything(splits)} == {"add\n1, 2", "none"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            '[{"instruction": "a"},\n {"instruction"]',
            ["a file is not JSON", "raw.json, line 2, column", "one JSON list"],
        ),
        ('[{"instruction": "a", "input": "", "output": "b"}, 3]', ["an item holds a int", "raw.json, item 2"]),
        ('[{"instruction": "a", "output": "b"}]', ["lacks the field 'input'", "raw.json, item 1"]),
        ('{"instruction": "a", "input": "", "output": "b"}\n3', ["a line holds a int", "raw.json, line 2"]),
        ("", ["the train split of codealpacapy is empty", "eight rows"]),
    ],
)
def test_bad_raw_data_is_named(tmp_path: Path, content: str, says: list[str]) -> None:
    path = tmp_path / "raw.json"
    path.write_text(content)

    with pytest.raises(UserError) as caught:
        rebuilt(path)

    for words in says:
        assert words in str(caught.value)


def test_raw_data_is_one_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="read from one file"):
        rebuilt(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (CODEALPACA, "rebuilds a data set from a file"),
        (["model=tiny-llama", "dataset.layout=apps"], "dataset.layout must be pairs, got apps: minipy is generated"),
        (["model=tiny-llama", "dataset.layout=mbpp"], "dataset.layout must be pairs, got mbpp: minipy is generated"),
        (["dataset=apps", "dataset.stop_at_newline=true"], "dataset.stop_at_newline must be false"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        compose_cell(overrides)


def rows_of(layout: str, end: str) -> list[object]:
    """A small data set of a layout, with this line end in prose and code."""
    prose, program = f"write{end}it", f"def f(n):{end}    return n"
    if layout == "pairs":
        return [{"nl": prose, "cmd": program}]
    if layout == "codealpaca":
        return [alpaca(f"{program} + {index}", prose, f"1{end}2") for index in range(10)]
    if layout == "mbpp":
        tests = {"test_list": [f"assert f(1){end}assert f(2)"]}
        return [{"task_id": number, "text": prose, "code": program, **tests} for number in (11, 511, 601)]
    if layout == "humaneval":
        test = {"test": f"def check(f):{end}    assert f(1)", "entry_point": "f", "task_id": "HumanEval/0"}
        return [{"prompt": f"def f(n):{end}", "canonical_solution": f"    return n{end}", **test}]
    # A program reads its input byte by byte, so that stays as it is.
    tests = {"input_output": json.dumps({"inputs": ["1\r\n"], "outputs": ["1\n"]}), "difficulty": "interview"}
    texts = {"question": prose, "solutions": json.dumps([program]), "starter_code": f"def f(n):{end}    "}
    return [{"problem_id": index, **texts, **tests} for index in range(501)]


NAMES = {"pairs": "conala", "codealpaca": "codealpacapy", "mbpp": "mbpp", "humaneval": "humaneval", "apps": "apps"}


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=["CRLF", "CR"])
@pytest.mark.parametrize("layout", NAMES)
def test_line_ends_of_any_kind_are_read_as_line_feeds(tmp_path: Path, layout: str, end: str) -> None:
    loaded = []
    for folder, line_end in ((tmp_path / "lf", "\n"), (tmp_path / "other", end)):
        for split in ("train", "validation", "test"):
            path = write_jsonl(folder / f"{split}.jsonl", rows_of(layout, line_end))
        place = folder if layout in ("pairs", "apps") else path
        overrides = [f"dataset={NAMES[layout]}", f"dataset.layout={layout}", f"dataset.path={place}"]
        loaded.append(load(compose_cell(["model=tiny-llama", "method=zero-shot", *overrides]).dataset))

    expected, read = loaded

    assert everything(read) == everything(expected)
    assert all("\n" in sample.answer for sample in read.test)
    if layout != "mbpp" or end == "\r":
        assert all(sample.reference.count(end) == sample.answer.count("\n") > 0 for sample in read.test)
    # It stands for the files as they are, so that results made before know their data again.
    assert read.fingerprint != expected.fingerprint


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("minipy", "994b0319920bb9fab2328b821cb729d6686a04c9f403cb30ce0e9dadedc023c9"),
        ("conala", "8ab03b70b42e918b57712607121774c866221862bb06651f2df4882070cabaf2"),
    ],
)
def test_fingerprints_in_earlier_results_still_hold(name: str, fingerprint: str) -> None:
    if name != "minipy" and not (REAL_DATA / name).is_dir():
        pytest.skip(f"no copy of {name} beside the checkout")
    dataset = compose_cell(["model=tiny-llama"]).dataset if name == "minipy" else local(REAL_DATA / name)

    assert load(dataset).fingerprint == fingerprint


def test_a_hub_that_cannot_be_reached_says_what_to_try() -> None:
    dataset = compose_cell(["dataset=codealpacapy"]).dataset

    with pytest.raises(UserError, match="cannot be loaded from the hub") as caught:
        load(dataset)

    assert "dataset.path" in str(caught.value)


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


@pytest.mark.parametrize(
    ("value", "cluster"), [("28538536", "28538536"), ("28538536-12", "28538536"), (28538536, "28538536"), (None, None)]
)
def test_a_question_that_several_samples_phrase_is_kept(value: object, cluster: str | None, tmp_path: Path) -> None:
    rows = [{"nl": f"n{index}", "cmd": "c", "question_id": value} for index in range(10)]
    path = write_jsonl(tmp_path / "all.jsonl", rows)
    without = write_jsonl(tmp_path / "plain.jsonl", [{"nl": row["nl"], "cmd": "c"} for row in rows])

    splits = load(DatasetConfig(name="pairs", path=str(path)))

    assert {sample.cluster for sample in splits.train} == {cluster}
    assert splits.fingerprint == load(DatasetConfig(name="pairs", path=str(without))).fingerprint
