"""The page's parts that need no browser: data in the document, the policy, packed rows, files of samples."""

import base64
import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from peft_study.report.groups import groups
from peft_study.report.page.contents import Contents, metrics_of, pack
from peft_study.report.page.document import document, embedded, policy
from peft_study.report.page.replicates import replicates_of
from peft_study.report.page.samples import LONGEST_TEXT, instruction_of, read_samples, write_samples
from peft_study.report.read.rows import frame_of, load
from peft_study.report.study import Study
from tests.report_cells import HOSTILE, prediction, write_cell


def unpacked(file: Path) -> list[dict[str, object]]:
    """What the page reads from a file of samples."""
    match = re.fullmatch(r'peftStudySamples\("[0-9]+","([A-Za-z0-9+/=]*)"\);\n', file.read_text(encoding="ascii"))
    assert match
    samples = json.loads(gzip.decompress(base64.b64decode(match[1])))
    assert isinstance(samples, list)
    return samples


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "<!-- <script>",
        "]]>",
        "a\u2028b\u2029c",
        "\ud800 alone",
        "\x00\x1b[31m",
        "'\"`${1}$$",
        "&lt;b&gt;",
        "</SCRIPT >",
    ],
)
def test_no_text_leaves_its_script_element(text: str) -> None:
    data = embedded({"text": text, text: 1})

    assert json.loads(data) == {"text": text, text: 1}
    assert not set(data) & set("<>&")
    assert data.isascii()


def test_a_number_that_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded({"score": float("nan")})


def test_the_document_has_one_policy_and_its_own_scripts_alone() -> None:
    page = document(HOSTILE, {"text": HOSTILE})

    assert page.count("<script") == page.count("</script>") == 3
    assert "onerror=" not in page.replace("onerror=&quot;", "").split("<script>")[0].split("report-data")[0]
    (policies,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src &#x27;none&#x27;" in policies
    assert "unsafe-inline" not in policies.split("style-src")[0]
    assert "unsafe-eval" not in policies
    # Nothing of the page is loaded from anywhere.
    assert not re.findall(r"<(?:link|img|iframe)|<script[^>]* src=", page.split("<script>")[0])


def test_the_policy_names_each_script_by_its_hash() -> None:
    # The SHA-256 of "alert(1)", by `printf 'alert(1)' | openssl dgst -sha256 -binary | base64`.
    assert "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='" in policy(["alert(1)"])


def test_rows_are_packed_by_column() -> None:
    frame = frame_of(
        [
            {"cell_id": "a", "model": "m", "seed": 1.0, "em@1": 0.1234567891, "token_lengths": {"bin_tokens": 8}},
            {"cell_id": "b", "model": None, "seed": 2.0, "em@1": None},
        ]
    )

    packed = pack(frame)

    assert packed["count"] == 2
    assert packed["columns"]["model"] == {"values": ["m"], "codes": [0, -1]}
    assert packed["columns"]["seed"] == {"values": [1, 2]}
    assert packed["columns"]["em@1"] == {"values": [0.123457, None]}
    # Nothing is known of the reason, and the page does not show a mapping.
    assert not {"reason", "token_lengths"} & set(packed["columns"])


def test_the_scores_that_say_most_come_first() -> None:
    row = dict.fromkeys(("em@1", "em@1_low", "em@1_high", "zz", "em@10", "pass@1", "top@1", "codebleu_low"), 0.5)

    metrics = metrics_of(frame_of([{"cell_id": "a", **row, "nothing": None}]))

    assert [metric["name"] for metric in metrics if metric["first"]] == ["em@1", "em@10", "pass@1"]
    # Where "codebleu" itself is missing, a metric of that name is one of its own.
    assert [metric["name"] for metric in metrics if not metric["first"]] == ["codebleu_low", "top@1", "zz"]


def test_samples_come_back_as_they_were(tmp_path: Path) -> None:
    written = [
        prediction("t-0", ["xs.sort()", HOSTILE], scores={"codebleu": 1.0, "lost": float("nan")}),
        prediction("t-1", ["\u2028", ""], verdicts={"strict": [["pass", "timeout"], ["fail", "error"]]}),
    ]
    cell = write_cell(tmp_path / "study", predictions=written)

    first, second = unpacked(write_samples(tmp_path, 7, read_samples(cell)))

    assert first["candidates"] == ["xs.sort()", HOSTILE]
    assert first["matched"] == [True, False]
    assert first["scores"] == {"codebleu": 1.0, "lost": None}
    assert first["instruction"] == "sort the list `xs` (t-0)"
    assert second["verdicts"] == {"strict": [["pass", "timeout"], ["fail", "error"]]}


def test_a_file_of_samples_is_the_same_each_time(tmp_path: Path) -> None:
    samples = [prediction("t-0", ["a", "b"])]

    first, second = (write_samples(tmp_path / name, 0, samples) for name in ("a", "b") if not (tmp_path / name).mkdir())

    assert first.read_bytes() == second.read_bytes()


def test_texts_beyond_reading_are_cut_and_counted(tmp_path: Path) -> None:
    (sample,) = unpacked(write_samples(tmp_path, 0, [prediction("t-0", ["x" * (LONGEST_TEXT + 5), "y"])]))

    assert [len(str(text)) for text in sample["candidates"]] == [LONGEST_TEXT, 1]  # type: ignore[attr-defined]
    assert sample["cut"] == 5


@pytest.mark.parametrize(
    ("prompt", "instruction"),
    [
        ("### Instruction:\na\n### Response:\nb\n\n### Instruction:\nc\n### Response:\n", "c"),
        ("[INST] solve it\n[/INST]\n```python\n", "solve it"),
        ("def f():\n", "def f():"),
        ("### Instruction:\nno end", "### Instruction:\nno end"),
        ("", ""),
    ],
)
def test_the_instruction_is_the_last_one(prompt: str, instruction: str) -> None:
    assert instruction_of(prompt) == instruction


@pytest.mark.parametrize(
    "line",
    [
        '{"id": 1}',
        '{"unknown": 1}',
        "[" * 200_000,
        '{"id": "a", "prompt": "b", "reference": "c", "candidates": "text", "matched": []}',
        '{"id": "a", "prompt": null, "reference": "c", "candidates": ["d"], "matched": [false]}',
        '{"id": "a", "prompt": "b", "reference": "c", "candidates": ["d"], "matched": null}',
    ],
)
def test_a_damaged_file_of_predictions_is_an_error_that_says_so(tmp_path: Path, line: str) -> None:
    cell = write_cell(tmp_path / "study", predictions=[prediction("t-0", ["a"])])
    (cell / "predictions.jsonl").write_text(line + "\n")

    with pytest.raises(ValueError, match=r"predictions\.jsonl, line 1, is not a prediction"):
        read_samples(cell)


@pytest.mark.parametrize(
    "fields",
    [
        {"scores": [1]},
        {"verdicts": {"strict": 3}},
        {"verdicts": {"strict": [3]}},
    ],
)
def test_fields_of_another_kind_do_not_stop_it(tmp_path: Path, fields: dict[str, object]) -> None:
    cell = write_cell(tmp_path / "study", predictions=[prediction("t-0", ["a"])])
    line = json.loads((cell / "predictions.jsonl").read_text())
    (cell / "predictions.jsonl").write_text(json.dumps(line | fields) + "\n")

    (sample,) = unpacked(write_samples(tmp_path, 0, read_samples(cell)))

    assert isinstance(sample["candidates"], list)
    assert isinstance(sample["matched"], list)


def test_a_metric_may_be_called_like_an_end_of_an_interval(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_cell(tmp_path / "study", seed=seed, metrics={"loss_low": 0.25})

    (intervals,) = replicates_of(Study(load([tmp_path / "study"]).frame)).intervals.values()

    assert list(intervals) == ["em@1"]


def test_contents_are_plain(tmp_path: Path) -> None:
    write_cell(tmp_path / "study", model=HOSTILE, reason=HOSTILE)
    frame = load([tmp_path / "study"]).frame

    data = Contents("t", "s", "now", "by", ["x"], Study(frame)).to_json()

    assert json.loads(embedded(data))["rows"]["columns"]["model"]["values"] == [HOSTILE]


def runs(*cells: tuple[str | None, str, int, str, float]) -> pd.DataFrame:
    """Rows of one model and data set: method, settings, seed, status and trained parameters of each."""
    return frame_of(
        [
            {
                **{"cell_id": str(place), "model": "m", "method": method, "quantization": "none", "dataset": "conala"},
                **{"settings": settings, "seed": float(seed), "status": status, "trainable_parameters": parameters},
            }
            for place, (method, settings, seed, status, parameters) in enumerate(cells)
        ]
    )


@pytest.mark.parametrize(
    ("frame", "lines", "others"),
    [
        (runs(("lora", "a", 1, "ok", 8), ("full", "a", 1, "ok", 9), ("lora", "a", 2, "ok", 8)), [[0, 2], [1]], {}),
        (
            runs(("lora", "b", 1, "ok", 4), ("lora", "a", 1, "ok", 8), ("lora", "a", 2, "ok", 8)),
            [[0], [1, 2]],
            {0: "trained parameters 4, not 8"},
        ),
        (
            runs(("lora", "a", 1, "ok", 8), ("lora", "b", 1, "oom", 8), ("lora", "a", 2, "failed", 8)),
            [[0, 2], [1]],
            {1: "in a setting that is not a column; see the configurations of the cells"},
        ),
        (
            runs(*(("lora", name, 1, "ok", size) for name, size in (("a", 8), ("b", 8), ("b", 4), ("b", 8), ("a", 8)))),
            [[0, 4], [1, 3], [2]],
            {2: "trained parameters 4, not 8"},
        ),
        (
            runs((None, "a", 1, "failed", 8), (None, "a", 2, "failed", 8), ("full", "a", 1, "ok", 8)),
            [[0], [1], [2]],
            {},
        ),
        (frame_of([]), [], {}),
    ],
    ids=["seeds alone", "another setting", "failed ones with their setting", "found another way", "no name", "no row"],
)
def test_rows_are_repeats_where_the_tables_take_them_together(
    frame: pd.DataFrame, lines: list[list[int]], others: dict[int, str]
) -> None:
    # Whatever the index, a row is known by its place.
    replicates = replicates_of(Study(frame.set_index(frame.index[::-1])))

    rows_of_line: dict[int, list[int]] = {}
    for row, line in enumerate(replicates.lines):
        rows_of_line.setdefault(line, []).append(row)
    assert sorted(rows_of_line.values()) == lines
    for group in groups(frame):
        assert rows_of_line[replicates.lines[group.frame.index[0]]] == group.frame.index.tolist()
    differences = {rows_of_line[line][0]: text for line, text in replicates.others.items()}
    assert {row: differences[row] for row in others} == others
    assert len(replicates.others) == len(lines) - len(groups(frame)) - int(frame["method"].isna().sum())
