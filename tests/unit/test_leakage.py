"""What of a test split also stands in train or validation, and the report's cache."""

import json
import random
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_study.config.compose import compose_cell
from peft_study.data.leakage import Leakage, cached_leakage, leakage
from peft_study.data.loading import load
from peft_study.data.samples import Sample
from tests.unit.test_loading_data import REAL_DATA, local

SENTENCE = "return the second largest element of the list of integers called values"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "peft_study" / "leakage"


def samples(split: str, *pairs: tuple[str, str]) -> list[Sample]:
    return [Sample(f"{split}-{index}", *pair) for index, pair in enumerate(pairs)]


def of_instructions(test: str, other: str) -> Leakage:
    return leakage(samples("test", (test, "a")), samples("train", ("something else entirely", "b"), (other, "c")))


@pytest.mark.parametrize(
    ("test", "other", "same", "similar"),
    [
        (SENTENCE, SENTENCE, 1, 1),
        ("Sort  the\n list", " sort the LIST ", 1, 1),
        ("\uff33ort \ufb01les", "sort files", 1, 1),  # full-width and ligature forms
        ("Straße", "STRASSE", 1, 1),
        ("x", "X", 1, 1),
        (SENTENCE, SENTENCE.replace("values", "value"), 0, 1),
        (SENTENCE, SENTENCE.replace("second", "third"), 0, 0),
        ("abcd", "abce", 0, 0),
        ("sort the list", "sort the dictionary", 0, 0),
        # Of 10 runs of five characters, 8 and then 7 are in both.
        ("abcdefghijkl", "abcdefghijklmn", 0, 1),
        ("abcdefghijk", "abcdefghijklmn", 0, 0),
    ],
)
def test_instructions_are_the_same_or_similar(test: str, other: str, same: int, similar: int) -> None:
    found = of_instructions(test, other)

    assert (found.same_instruction.count, found.similar_instruction.count) == (same, similar)
    assert found.similar_instruction.examples == ((("test-0", "train-1"),) if similar else ())


@pytest.mark.parametrize(
    ("test", "other", "same"),
    [("f(x)", " f(x)\n", 1), ("f(x)", "F(x)", 0), ("f(x)", "f( x)", 0), ("", "", 0)],
    ids=["space around", "case", "space inside", "no reference"],
)
def test_an_answer_is_shared_as_it_stands(test: str, other: str, same: int) -> None:
    found = leakage(samples("test", ("one", test)), samples("train", ("another", other)))

    assert found.same_answer.count == same


def test_counts_shares_and_the_first_place_of_the_first_few() -> None:
    test = samples("test", *((f"task number {index}", f"{index}") for index in range(20)))
    late = samples("train", *((sample.instruction, "") for sample in test[10:]))
    others = [*late, *samples("validation", *((sample.instruction.upper(), "") for sample in test))]

    found = leakage(test, others).same_instruction

    assert (found.count, found.share) == (20, 1.0)
    assert found.examples == tuple((f"test-{index}", f"validation-{index}") for index in range(5))
    assert leakage(test[12:], others).same_instruction.examples[0] == ("test-12", "train-2")


TEXTS = st.lists(st.text("abc ", min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(test=TEXTS, others=TEXTS, edits=st.lists(st.integers(0, 39), max_size=6), seed=st.integers(0, 99))
def test_no_similar_pair_is_missed(test: list[str], others: list[str], edits: list[int], seed: int) -> None:
    edited = list(random.Random(seed).choice(test))
    for place in edits:
        edited[place % len(edited)] = "d"
    others = [*others, "".join(edited)]

    found = leakage(samples("test", *((t, "") for t in test)), samples("train", *((t, "") for t in others)))

    assert found.similar_instruction.count == sum(any(jaccard(t, other) >= 0.8 for other in others) for t in test)


def jaccard(one: str, other: str) -> float:
    a, b = ({text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in map(collapsed, (one, other)))
    return len(a & b) / len(a | b)


def collapsed(text: str) -> str:
    return " ".join(text.split())


def test_long_texts_without_rare_words_are_told_apart() -> None:
    words = SENTENCE.split() + [f"{first}{second}" for first in "bcdfg" for second in ("alpha", "omega", "input")]
    drawn = random.Random(0)
    texts = [" ".join(drawn.choices(words, k=150)) for _ in range(300)]

    found = leakage(samples("test", *((t, "") for t in texts[:100])), samples("train", *((t, "") for t in texts[99:])))

    assert (found.same_instruction.count, found.similar_instruction.count) == (1, 1)


def test_a_large_test_split_is_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = random.Random(1)
    texts = ["".join(draws.choices("abcd", k=9)) for _ in range(60)]
    test = samples("test", *((text, "") for text in texts))
    train = samples("train", *((f"{text}e", "") for text in reversed(texts)))
    whole = leakage(test, train)

    monkeypatch.setattr("peft_study.data.leakage.PAIRS_AT_ONCE", 7 * len(train))

    assert leakage(test, train) == whole
    assert whole.similar_instruction.count == len(test)
    assert whole.similar_instruction.examples[0] == ("test-0", "train-59")


def test_a_data_set_carries_its_report_whatever_the_limit(tmp_path: Path, cache: Path, small_data: Path) -> None:
    whole, cut = load(local(small_data)), load(local(small_data, limit=1))

    assert whole.leakage.same_instruction.count == 8
    assert whole.leakage.same_answer.examples[0] == ("test-0", "train-0")
    assert cut.leakage == whole.leakage
    assert [file.name for file in cache.iterdir()] == [f"{whole.fingerprint}.json"]


def test_a_report_is_read_back_from_the_cache(cache: Path) -> None:
    test, others = samples("test", ("a", "b")), samples("train", ("a", "b"))
    made = cached_leakage(test, others, "f" * 64)

    assert cached_leakage([], [], "f" * 64) == made
    assert cached_leakage([], [], "e" * 64) != made


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"version": 1}',
        b'{"version": 1, "leakage": {"same_instruction": {}}}',
        b'{"version": 1, "leakage": {}}',
    ],
)
def test_a_damaged_cache_is_made_anew(cache: Path, content: bytes) -> None:
    test, others = samples("test", ("a", "b")), samples("train", ("a", "b"))
    cache.mkdir(parents=True)
    file = cache / "f.json"
    file.write_bytes(content)

    assert cached_leakage(test, others, "f").same_instruction.count == 1
    assert json.loads(file.read_text())["leakage"]["same_instruction"]["count"] == 1


def test_another_versions_report_is_made_anew(cache: Path) -> None:
    test, others = samples("test", ("a", "b")), samples("train", ("a", "b"))
    cached_leakage(test, others, "f")
    file = cache / "f.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 0}))

    assert cached_leakage([], [], "f").same_instruction.count == 0


@pytest.mark.parametrize("hindrance", ["a file in the way", "nowhere", "read-only"])
def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hindrance: str
) -> None:
    place = tmp_path / "place"
    if hindrance == "a file in the way":
        place.write_text("")
    elif hindrance == "nowhere":
        place = Path("/proc/none")
    else:
        place.mkdir()
        place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))

    found = cached_leakage(samples("test", ("a", "b")), samples("train", ("a", "b")), "f")

    assert found.same_instruction.count == 1


@pytest.mark.parametrize("named", [None, "", "relative/folder"])
def test_the_cache_lies_in_the_home_folder_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if named is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", named)

    cached_leakage([], [], "f")

    assert (tmp_path / "home" / ".cache" / "peft_study" / "leakage" / "f.json").is_file()


@pytest.mark.parametrize(
    ("name", "same_instructions", "similar_instructions", "same_answers"),
    [("minipy", 0, 45, 109), ("conala", 0, 0, 6), ("codealpacapy", 0, 6, 11)],
)
def test_real_data(
    cache: Path, name: str, same_instructions: int, similar_instructions: int, same_answers: int
) -> None:
    if name != "minipy" and not (REAL_DATA / name).is_dir():
        pytest.skip(f"no copy of {name} beside the checkout")
    dataset = compose_cell(["model=tiny-llama"]).dataset if name == "minipy" else local(REAL_DATA / name)

    found = load(dataset).leakage

    assert found.same_instruction.count == same_instructions
    assert found.similar_instruction.count == similar_instructions
    assert found.same_answer.count == same_answers
