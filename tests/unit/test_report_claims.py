"""The ten claims: on the paper's numbers as in the paper, on others as their rules say, by the test at hand."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from peft_study.metrics.intervals import RESAMPLES
from peft_study.report.claims.comparison import Scope, Test
from peft_study.report.claims.paper import CLAIMS, check_all
from peft_study.report.claims.verdicts import Finding, Verdict
from peft_study.report.read.reference import paper_rows
from peft_study.report.read.rows import frame_of, load
from peft_study.report.study import Study
from peft_study.results.schema import MemoryKind, RunResult, Status
from tests.report_cells import result, study

CONFIRMED, REFUTED, UNDECIDED = Verdict.confirmed, Verdict.refuted, Verdict.not_decided
CODELLAMA = "codellama-7b"


def findings(frame: pd.DataFrame, resamples: int = RESAMPLES) -> dict[int, Finding]:
    return {finding.number: finding for finding in check_all(Study(frame, resamples))}


Record = RunResult | tuple[RunResult, Sequence[Sequence[bool]]]


def of(root: Path, *records: Record) -> dict[int, Finding]:
    frame = load([study(root, *records)]).frame
    return findings(frame, resamples=500)


def with_seeds(*records: Record) -> list[Record]:
    """Each cell three times, by seeds that change nothing: the spread between runs is known, and small."""
    repeated: list[Record] = []
    for record in records:
        plain, matched = record if isinstance(record, tuple) else (record, None)
        for seed in (1, 2, 3):
            copy = replace(plain, cell_id=f"{plain.cell_id}-{seed}", config=plain.config | {"seed": seed})
            repeated.append(copy if matched is None else (copy, matched))
    return repeated


MANY = 1_000_000
"""Test samples, so that every difference is told."""


def em(share: float, at_1: float | None = None, **others: float) -> Mapping[str, float]:
    return {"em@1": share if at_1 is None else at_1, "em@10": share, **others}


def test_the_papers_numbers_confirm_its_claims_where_they_are_published() -> None:
    found = findings(paper_rows())

    # Figures 3 and 7 are only drawn: no curve of ICL, no RAG on CodeAlpacaPy.
    unpublished = {2, 9}
    assert [one.number for one in CLAIMS] == list(range(1, 11))
    assert {number: one.verdict for number, one in found.items()} == {
        number: UNDECIDED if number in unpublished else CONFIRMED for number in range(1, 11)
    }
    by_sign = [number for number in found if "as printed in the paper" in found[number].explanation]
    assert by_sign == [1, 3, 4, 5, 6, 8, 9, 10]
    assert all(one.adjusted_p_value is None for one in found.values())


@pytest.mark.parametrize(
    ("number", "name", "values"),
    [
        (1, "CodeLlama-7B on Conala, EM@10: ICL against Zero-shot", "29.83 against 7.73, +22.10"),
        (3, "Conala, EM@10 of 3 models: LoRA against Full fine-tuning", "18.48 against 11.85, +6.63"),
        (4, "CodeAlpacaPy, EM@10 of 9 models: LoRA against IA3", "11.53 against 11.03, +0.50"),
        (6, "CodeLlama-7B, peak of training: QLoRA-4bit against LoRA", "9.16 GB against 19.06 GB, ratio 0.48"),
        (5, "CodeLlama-7B and CodeGen-350M-mono on Conala, EM@10: LoRA against LoRA", "39.31 against 25.60, +13.71"),
        (6, "CodeAlpacaPy, EM@10 of 1 model: QLoRA-4bit against LoRA", "15.80 against 15.92, -0.12"),
        (7, "CodeLlama-34B, peak of training: QLoRA-4bit against the limit", "23.59 GB against 24.00 GB, ratio 0.98"),
        (8, "CodeLlama-7B on Conala, EM@10: LoRA against RAG", "39.31 against 35.17, +4.14"),
        (10, "CodeLlama-7B-Instruct, introductory Pass@5: QLoRA-4bit against Zero-shot", "12.40 against 8.80, +3.60"),
    ],
)
def test_findings_show_the_papers_numbers(number: int, name: str, values: str) -> None:
    found = findings(paper_rows())[number]

    assert found.numbers[name] == values
    assert all(cell.startswith("paper/") for cell in found.cells)


def test_the_papers_turned_round_refute_its_claims() -> None:
    frame = paper_rows()
    scores = [name for name in frame if "@" in name or "tests_passed" in name]
    frame[scores] = 1 - frame[scores]
    frame["train_peak_bytes"] = 30e9 - frame["train_peak_bytes"].where(frame["model"] != "codellama-34b", 1e9)

    found = findings(frame)

    assert {number for number, one in found.items() if one.verdict is REFUTED} == {1, 3, 4, 5, 6, 7, 8, 9, 10}


@pytest.mark.parametrize("frame", [frame_of([]), paper_rows().head(1)])
def test_little_is_not_enough(frame: pd.DataFrame) -> None:
    assert {finding.verdict for finding in check_all(Study(frame))} == {UNDECIDED}


def test_findings_are_plain_json() -> None:
    plain = json.loads(json.dumps([one.to_json() for one in check_all(Study(paper_rows()))]))

    assert plain[0]["verdict"] == "confirmed"
    assert plain[0]["comparisons"][0]["first"] == 0.2983
    assert list(plain[0]["numbers"]) == [
        "CodeLlama-7B on Conala, EM@10: ICL against Zero-shot",
        "CodeLlama-7B on CodeAlpacaPy, EM@10: ICL against Zero-shot",
    ]


def wins(first: int, second: int, samples: int = 100) -> tuple[list[list[bool]], list[list[bool]]]:
    """Matches of two runs, of which each alone is right on so many samples."""
    one = [[index < first] for index in range(samples)]
    other = [[first <= index < first + second] for index in range(samples)]
    return one, other


@pytest.mark.parametrize(
    ("first", "second", "verdict"), [(30, 5, CONFIRMED), (5, 30, REFUTED), (11, 9, UNDECIDED), (9, 11, UNDECIDED)]
)
def test_predictions_are_compared_in_pairs(first: int, second: int, verdict: Verdict, tmp_path: Path) -> None:
    icl, zero = wins(first, second)

    found = of(
        tmp_path,
        *with_seeds((result(method="icl", num_examples=8, metrics=em(first / 100)), icl)),
        (result(method="zero-shot", metrics=em(second / 100)), zero),
    )[1]

    assert found.verdict is verdict
    (compared,) = found.comparisons
    assert compared.test is Test.paired
    assert compared.difference == pytest.approx((first - second) / 100)
    assert found.adjusted_p_value is not None
    assert (found.adjusted_p_value < 0.05) == (verdict is not UNDECIDED)
    assert len(found.cells) == 4


@pytest.mark.parametrize(
    ("change", "test"),
    [
        ("none", Test.paired),
        ("other samples", Test.intervals),
        ("other predictions", Test.intervals),
        ("no predictions", Test.intervals),
        ("no intervals", Test.intervals),
    ],
)
def test_the_strongest_test_that_the_data_allows_is_taken(change: str, test: Test, tmp_path: Path) -> None:
    icl, zero = wins(30, 5)
    if change == "other samples":
        zero = [[index < 4] for index in range(80)]
    if change == "other predictions":
        zero = [[False]] * 100
    both = {} if change == "no intervals" else {"em@10": [0.2, 0.4]}
    of_zero = {} if change == "no intervals" else {"em@10": [0.02, 0.08]}
    kept = change not in {"no predictions", "no intervals"}

    found = of(
        tmp_path,
        *with_seeds((result(method="icl", num_examples=8, metrics=em(0.3), intervals=both), icl if kept else [])),
        (result(method="zero-shot", metrics=em(0.05), intervals=of_zero), zero if kept else []),
    )[1]

    assert [one.test for one in found.comparisons] == [test]
    assert "Seen on 1 model and 1 data set." in found.explanation
    assert str(test) in found.test
    assert found.verdict is CONFIRMED


def test_seeds_are_averaged_sample_by_sample(tmp_path: Path) -> None:
    runs = [[[index < right] for index in range(100)] for right in (49, 51, 50)]
    lora = [(result(seed=seed, metrics=em(sum(map(any, run)) / 100)), run) for seed, run in enumerate(runs)]

    found = of(tmp_path, *lora, (result(method="full", metrics=em(0.2)), [[index < 20] for index in range(100)]))[3]

    (compared,) = found.comparisons
    assert compared.test is Test.paired
    assert (compared.first, compared.second) == (pytest.approx(0.5), pytest.approx(0.2))
    assert found.verdict is CONFIRMED
    assert len(found.cells) == 4


def test_models_count_alike_however_many_seeds_they_have(tmp_path: Path) -> None:
    """The interval and the p-value are of the difference that is shown: over seeds first, then over models."""
    shares = {("a", "lora"): [0.7, 0.7, 0.7], ("b", "lora"): [0.1], ("a", "full"): [0.6], ("b", "full"): [0.25]}
    records = [
        (result(model, method, seed=seed, metrics=em(share)), [[index < 100 * share] for index in range(100)])
        for (model, method), of_seeds in shares.items()
        for seed, share in enumerate(of_seeds)
    ]

    (compared,) = of(tmp_path, *records)[3].comparisons

    assert compared.test is Test.paired
    assert compared.difference == pytest.approx(-0.025)
    assert compared.low is not None
    assert compared.high is not None
    assert compared.low < compared.difference < compared.high


def test_intervals_count_models_alike_too(tmp_path: Path) -> None:
    """Three narrow seeds of one model, a wide one of the other: the mean of both widths, beside that of the others."""
    records = [
        *(result("a", seed=seed, metrics=em(0.5), intervals={"em@10": [0.49, 0.51]}) for seed in range(3)),
        result("b", metrics=em(0.5), intervals={"em@10": [0.41, 0.59]}),
        *(result(name, "full", metrics=em(0.5), intervals={"em@10": [0.44, 0.56]}) for name in "ab"),
    ]

    (compared,) = of(tmp_path, *records)[3].comparisons

    # 99 degrees of freedom, of 100 samples, in place of a normal distribution.
    assert compared.low == pytest.approx(-math.hypot(0.05, 0.06) * 1.98422 / 1.95996, abs=1e-5)


def test_a_seed_without_the_score_is_passed_over(tmp_path: Path) -> None:
    lora = [
        (result(seed=1, metrics={"em@1": 0.1}), [[True]] * 100),
        (result(seed=2, metrics=em(0.5)), [[n < 50] for n in range(100)]),
    ]
    full = (result(method="full", metrics=em(0.2)), [[n < 20] for n in range(100)])

    (compared,) = of(tmp_path, *lora, full)[3].comparisons

    assert compared.test is Test.paired
    assert compared.cells == (lora[1][0].cell_id, full[0].cell_id)


def curve(dataset: str, scores: Mapping[int, float], model: str = CODELLAMA) -> list[RunResult]:
    return [
        result(model, "icl", dataset, num_examples=number, seed=seed, metrics=em(share), test_samples=MANY)
        for number, share in scores.items()
        for seed in (1, 2, 3)
    ]


AS_CLAIMED = {"conala": {1: 0.1, 8: 0.3, 16: 0.25}, "codealpacapy": {1: 0.1, 4: 0.3, 8: 0.25}}


@pytest.mark.parametrize(
    ("dataset", "scores", "verdict"),
    [
        ("conala", {1: 0.1, 4: 0.2, 8: 0.3, 16: 0.25}, CONFIRMED),
        ("conala", {1: 0.1, 4: 0.2, 8: 0.3, 16: 0.35}, REFUTED),
        ("conala", {1: 0.1, 4: 0.4, 8: 0.3, 16: 0.25}, REFUTED),
        ("conala", {1: 0.1, 4: 0.2, 8: 0.3}, UNDECIDED),
        ("codealpacapy", {1: 0.1, 3: 0.2, 4: 0.3, 8: 0.25}, CONFIRMED),
        ("codealpacapy", {1: 0.1, 3: 0.2, 4: 0.2, 5: 0.3, 8: 0.25}, REFUTED),
        ("codealpacapy", {1: 0.3, 8: 0.25}, UNDECIDED),
    ],
)
def test_where_the_peak_is(dataset: str, scores: Mapping[int, float], verdict: Verdict, tmp_path: Path) -> None:
    other = {name: points for name, points in AS_CLAIMED.items() if name != dataset}

    found = of(tmp_path, *curve(dataset, scores), *(cell for one in other.items() for cell in curve(*one)))[2]

    assert found.verdict is verdict, found.explanation


def test_a_peak_that_may_be_chance_confirms_nothing(tmp_path: Path) -> None:
    scores = {"conala": {1: 0.3, 5: 0.3, 8: 0.301, 16: 0.1}, "codealpacapy": {1: 0.3, 4: 0.301, 5: 0.3, 8: 0.1}}
    cells = [
        result(
            CODELLAMA, "icl", data, num_examples=n, metrics=em(share), intervals={"em@10": [share - 0.04, share + 0.04]}
        )
        for data, points in scores.items()
        for n, share in points.items()
    ]

    assert of(tmp_path, *cells)[2].verdict is UNDECIDED


@pytest.mark.parametrize("scores", [{1: 0.1, 2: 0.3, 4: 0.2}, {1: 0.1, 2: 0.3, 4: 0.4}])
def test_a_peak_elsewhere_decides_nothing(scores: Mapping[int, float], tmp_path: Path) -> None:
    found = of(tmp_path, *curve("conala", AS_CLAIMED["conala"]), *curve("minipy", scores))[2]

    assert found.verdict is UNDECIDED
    assert "No in-context learning on CodeAlpacaPy." in found.explanation
    assert "Outside of the claim: minipy" in found.explanation


def test_a_curve_is_of_the_models_that_have_all_of_it(tmp_path: Path) -> None:
    whole = [cell for one in AS_CLAIMED.items() for cell in curve(*one)]
    found = of(tmp_path, *whole, *curve("conala", {1: 0.9}, "codegen2-1b"))[2]

    assert found.verdict is CONFIRMED
    assert found.comparisons[0].first == pytest.approx(0.3)


def test_models_without_a_common_curve_are_no_short_curve(tmp_path: Path) -> None:
    numbers = {CODELLAMA: (1, 4, 8), "codegen2-1b": (1, 8, 16)}
    cells = [cell for model, points in numbers.items() for cell in curve("conala", dict.fromkeys(points, 0.3), model)]

    found = of(tmp_path, *cells)[2]

    assert "Conala: no model has EM@10 for every number of examples." in found.explanation


GIGABYTE = 1_000_000_000


@pytest.mark.parametrize(
    ("peak", "share", "kind", "verdict"),
    [
        (5, 0.5, MemoryKind.cuda_allocated, CONFIRMED),
        (5, 0.495, MemoryKind.cuda_allocated, CONFIRMED),
        (5, 0.45, MemoryKind.cuda_allocated, REFUTED),
        (6, 0.5, MemoryKind.cuda_allocated, REFUTED),
        (5, 0.5, MemoryKind.cpu_peak_rss, UNDECIDED),
    ],
)
def test_half_the_memory_at_no_worse_a_score(
    peak: int, share: float, kind: MemoryKind, verdict: Verdict, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"memory_kind": kind, "test_samples": MANY}
    plain = result(metrics=em(0.5), train_peak_bytes=10 * GIGABYTE, **settings)
    small = result(metrics=em(share), train_peak_bytes=peak * GIGABYTE, quantization="nf4", **settings)

    assert of(tmp_path, *with_seeds(plain, small))[6].verdict is verdict


@pytest.mark.parametrize(("samples", "verdict"), [(200, UNDECIDED), (2_000, CONFIRMED)])
def test_equal_scores_of_few_samples_do_not_show_that_methods_are_equal(
    samples: int, verdict: Verdict, tmp_path: Path
) -> None:
    """Without predictions the margin that 200 samples resolve is above 5 points."""
    plain = result(metrics=em(0.5), train_peak_bytes=10 * GIGABYTE, test_samples=samples)
    small = result(metrics=em(0.5), train_peak_bytes=5 * GIGABYTE, test_samples=samples, quantization="nf4")

    found = of(tmp_path, *with_seeds(plain, small))[6]

    assert found.verdict is verdict, found.explanation


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({"train_peak_bytes": 23 * GIGABYTE}, CONFIRMED),
        ({"train_peak_bytes": 24 * GIGABYTE}, REFUTED),
        ({"status": Status.oom, "train_peak_bytes": None}, REFUTED),
        ({"status": Status.oom, "train_peak_bytes": None, "device_bytes": 16e9}, UNDECIDED),
        ({"status": Status.oom, "train_peak_bytes": None, "device_bytes": None}, UNDECIDED),
        ({"status": Status.failed, "train_peak_bytes": None}, UNDECIDED),
        ({"train_peak_bytes": 23 * GIGABYTE, "memory_kind": MemoryKind.cpu_peak_rss}, UNDECIDED),
    ],
)
def test_the_largest_model_fits(settings: dict[str, Any], verdict: Verdict, tmp_path: Path) -> None:
    assert of(tmp_path, result("codellama-34b-python", quantization="nf4", **settings))[7].verdict is verdict


@pytest.mark.parametrize(("status", "verdict"), [(Status.oom, REFUTED), (Status.failed, UNDECIDED)])
def test_one_that_fits_does_not_make_good_one_that_did_not(status: Status, verdict: Verdict, tmp_path: Path) -> None:
    cells = [
        result("codellama-34b-python", quantization="nf4", seed=1, train_peak_bytes=23 * GIGABYTE),
        result("codellama-34b-python", quantization="nf4", seed=2, train_peak_bytes=None, status=status),
    ]

    assert of(tmp_path, *cells)[7].verdict is verdict


LEVEL_GAINS = {"introductory": 0.10, "interview": 0.02, "competition": 0.0}


def levels(gains: Mapping[str, float], of: float = 0.1) -> dict[str, float]:
    """Scores by level, so much above a base."""
    names = ("apps_tests_passed_share", "apps_pass@5")
    return {f"{level}/{name}": of + gain for level, gain in gains.items() for name in names}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, CONFIRMED),
        ({"none": {**LEVEL_GAINS, "introductory": -0.05}}, REFUTED),
        ({"nf4": {**LEVEL_GAINS, "competition": 0.08}}, REFUTED),
        ({"nf4": None}, UNDECIDED),
        ({"none": {"introductory": 0.1, "interview": 0.0}}, UNDECIDED),
    ],
)
def test_gains_are_of_both_methods_and_all_levels(
    change: Mapping[str, Mapping[str, float] | None], verdict: Verdict, tmp_path: Path
) -> None:
    gains = {"none": LEVEL_GAINS, "nf4": LEVEL_GAINS, **change}
    cells = [apps_cell("zero-shot", "none", dict.fromkeys(LEVEL_GAINS, 0.0))]
    cells += [apps_cell("lora", bits, own) for bits, own in gains.items() if own is not None]

    assert of(tmp_path, *with_seeds(*cells))[10].verdict is verdict


def apps_cell(method: str, quantization: str, gains: Mapping[str, float], half: float = 0.001) -> RunResult:
    scores = levels(gains)
    ends = {name: [score - half, score + half] for name, score in scores.items()}
    return result(CODELLAMA, method, "apps", quantization=quantization, metrics=scores, intervals=ends)


def test_a_gain_that_may_be_chance_refutes_nothing(tmp_path: Path) -> None:
    cells = [apps_cell("zero-shot", "none", dict.fromkeys(LEVEL_GAINS, 0.0), half=0.15)]
    gains = {**LEVEL_GAINS, "interview": 0.08}
    cells += [apps_cell("lora", bits, gains, half=0.15) for bits in ("none", "nf4")]

    assert of(tmp_path, *with_seeds(*cells))[10].verdict is UNDECIDED


def test_large_and_small_are_ranked_on_the_same_data(tmp_path: Path) -> None:
    """The small model that is best on all of its data is not the best on what the large one was run on."""
    cells = [
        result(CODELLAMA, "lora", "conala", metrics=em(0.3), size_class="llm"),
        result("codet5p-220m", "lora", "conala", metrics=em(0.2)),
        result("codegen-350m-mono", "lora", "conala", metrics=em(0.1)),
        result("codegen-350m-mono", "lora", "codealpacapy", metrics=em(0.9)),
    ]

    (compared, _) = of(tmp_path, *cells)[5].comparisons

    assert (compared.first, compared.second) == (0.3, 0.2)


@pytest.mark.parametrize(("share", "verdict"), [(0.3, CONFIRMED), (0.2, UNDECIDED), (0.1, REFUTED)])
def test_large_models_are_ahead_and_the_ratio_is_told(share: float, verdict: Verdict, tmp_path: Path) -> None:
    small = result("codegen-350m-mono", metrics=em(0.2), test_samples=10_000)
    large = result(CODELLAMA, metrics=em(share), size_class="llm", test_samples=10_000)

    found = of(tmp_path, *with_seeds(small, large))[5]

    assert found.verdict is verdict
    assert f"{share / 0.2:.3f} (" in found.explanation
    ratio, low, high = found.comparisons[0].ratio or (0, 0, 0)
    assert low is not None
    assert high is not None
    # The delta method on the logarithm of two independent shares.
    error = math.sqrt((1 - share) / share / 10_000 + 0.8 / 0.2 / 10_000)
    assert (low, high) == pytest.approx((ratio * math.exp(-1.96 * error), ratio * math.exp(1.96 * error)), rel=2e-3)


def test_what_a_claim_does_not_speak_of_decides_nothing(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        result(metrics=em(0.1)),
        result(method="icl", num_examples=8, metrics=em(0.5)),
        result(method="rag", num_examples=8, metrics=em(0.6)),
    )

    assert found[8].verdict is UNDECIDED
    assert "Outside of the claim: tiny-llama on minipy" in found[8].explanation
    assert found[9].verdict is UNDECIDED
    assert "Outside of the claim: minipy" in found[9].explanation


@pytest.mark.parametrize(
    ("rag", "verdict"),
    [
        ({"conala": 0.5, "codealpacapy": 0.2}, CONFIRMED),
        ({"conala": 0.5, "codealpacapy": 0.305}, CONFIRMED),
        ({"conala": 0.5, "codealpacapy": 0.4}, REFUTED),
    ],
)
def test_retrieval_helps_on_one_data_set_alone(rag: Mapping[str, float], verdict: Verdict, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"num_examples": 4, "test_samples": MANY}
    cells = [result(CODELLAMA, "rag", dataset, metrics=em(share), **settings) for dataset, share in rag.items()]
    cells += [result(CODELLAMA, "icl", dataset, metrics=em(0.3), **settings) for dataset in rag]

    assert of(tmp_path, *with_seeds(*cells))[9].verdict is verdict


def test_no_difference_is_not_shown_by_a_wide_interval(tmp_path: Path) -> None:
    cells = []
    for dataset, share in (("conala", 0.5), ("codealpacapy", 0.2)):
        for method, score in (("rag", share), ("icl", 0.2)):
            ends = {"em@10": [score - 0.05, score + 0.05]}
            cells.append(result(CODELLAMA, method, dataset, num_examples=4, metrics=em(score), intervals=ends))

    assert of(tmp_path, *cells)[9].verdict is UNDECIDED


@pytest.mark.parametrize(("samples", "verdict"), [(10, UNDECIDED), (40, CONFIRMED)])
def test_a_handful_of_samples_tells_nothing(samples: int, verdict: Verdict, tmp_path: Path) -> None:
    lora = result(metrics=em(1.0), test_samples=samples), [[True]] * samples
    full = result(method="full", metrics=em(0.0), test_samples=samples), [[False]] * samples

    assert of(tmp_path, *with_seeds(lora, full))[3].verdict is verdict


def test_a_cell_that_failed_counts_where_it_stands(tmp_path: Path) -> None:
    """Of two precisions the later one is shown, and the cell of it that did not fit."""
    cells = [
        result("codellama-34b-python", quantization="nf4", seed=1, precision="fp16", train_peak_bytes=20 * GIGABYTE),
        result(
            "codellama-34b-python", quantization="nf4", seed=2, finished_at="2026-02-01", train_peak_bytes=20 * GIGABYTE
        ),
        result("codellama-34b-python", quantization="nf4", seed=3, status=Status.oom, train_peak_bytes=None),
    ]

    assert of(tmp_path, *cells)[7].verdict is REFUTED


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    cells = [
        result("codellama-34b-python", quantization="nf4", seed=1, train_peak_bytes=20 * GIGABYTE),
        result("codellama-34b-python", quantization="nf4", seed=2, status=Status.oom, rank=64, memory_kind=None),
    ]

    found = of(tmp_path, *cells)[7]

    assert found.cells == (cells[0].cell_id,)
    assert "codellama-34b-python/QLoRA-4bit/minipy (1 oom)" in found.explanation


def test_scores_on_other_samples_are_told(tmp_path: Path) -> None:
    cells = [result(metrics=em(0.5), test_samples=50), result(method="full", metrics=em(0.2))]

    assert "but: tiny-llama/LoRA/minipy on 50." in of(tmp_path, *cells)[3].explanation


def test_of_many_comparisons_one_may_go_wrong_by_chance(tmp_path: Path) -> None:
    """Eight models agree; a ninth does not, by a difference with a p-value between 0.05/9 and 0.05."""
    records: list[Record] = []
    for index in range(9):
        icl, zero = wins(30, 5) if index else wins(6, 17)
        shares = (0.30, 0.05) if index else (0.06, 0.17)
        records += with_seeds((result(f"model-{index}", "icl", num_examples=8, metrics=em(shares[0])), icl))
        records.append((result(f"model-{index}", "zero-shot", metrics=em(shares[1])), zero))

    found = of(tmp_path, *records)[1]

    against = [one for one in found.comparisons if one.difference < 0]
    assert len(against) == 1
    assert against[0].p_value is not None
    assert 0.05 / 9 < against[0].p_value < 0.05
    assert found.verdict is UNDECIDED
    assert "8 of 9 hold" in found.explanation


def test_one_seed_of_a_trained_method_decides_nothing(tmp_path: Path) -> None:
    lora, full = wins(60, 5)
    records = [(result(metrics=em(0.6)), lora), (result(method="full", metrics=em(0.05)), full)]

    found = of(tmp_path, *records)[3]

    assert found.verdict is UNDECIDED
    assert [one.scope for one in found.comparisons] == [Scope.runs]
    assert (found.comparisons[0].p_value or 1) < 1e-6


@pytest.mark.parametrize(("shares", "verdict"), [((0.49, 0.51), CONFIRMED), ((0.1, 0.9), UNDECIDED)])
def test_one_seed_is_judged_by_the_spread_of_the_studys_other_methods(
    shares: Sequence[float], verdict: Verdict, tmp_path: Path
) -> None:
    """Twice the pooled variance of a run is the doubt that two single runs leave."""
    lora, full = wins(60, 5)
    others = [
        (result(method=method, seed=seed, metrics=em(share)), [[index < 100 * share] for index in range(100)])
        for method in ("ia3", "prefix", "prompt")
        for seed, share in enumerate(shares)
    ]

    found = of(tmp_path, (result(metrics=em(0.6)), lora), (result(method="full", metrics=em(0.05)), full), *others)[3]

    assert found.verdict is verdict
    assert [(one.scope, one.pooled) for one in found.comparisons] == [(Scope.methods, True)]


@pytest.mark.parametrize("share", [-1.0, 2.0, 1e300])
def test_a_score_beyond_a_share_ends_no_report(share: float, tmp_path: Path) -> None:
    """Anybody may edit a record, or write to a project of W&B."""
    assert of(tmp_path, result(metrics=em(share)), result(method="full"))[3].verdict is UNDECIDED


def test_a_number_that_no_cell_can_have_measured_is_unknown(tmp_path: Path) -> None:
    """Its square would exceed the largest float, and end the report."""
    records = [
        result(seed=seed, metrics=em(share), intervals={"em@10": [0.4, 0.6]}) for seed, share in enumerate((0.5, 1e200))
    ]

    assert of(tmp_path, *records, result(method="full"))[3].comparisons[0].first == 0.5


def test_prompting_without_a_draw_needs_one_seed(tmp_path: Path) -> None:
    rag, zero = wins(60, 5)
    frame = load(
        [
            study(
                tmp_path,
                (result(method="rag", num_examples=4, metrics=em(0.6)), rag),
                (result(method="zero-shot", metrics=em(0.05)), zero),
            )
        ],
    ).frame
    evidence = Study(frame).evidence

    compared = evidence.compare("", evidence.find("rag"), evidence.find("zero-shot"), "em@10")

    assert compared is not None
    assert compared.scope is Scope.methods
    # McNemar's statistic of 60 against 5.
    assert compared.p_value == pytest.approx(math.erfc(55 / math.sqrt(65) / math.sqrt(2)), rel=1e-6)


def test_the_best_of_many_equal_ones_is_not_better(tmp_path: Path) -> None:
    """The best of 40 numbers of examples is above zero-shot at p < 0.05 if it is taken for chosen beforehand."""
    generator = np.random.default_rng(7)
    zero = generator.random(200) < 0.3
    records: list[Record] = [(result(method="zero-shot", metrics=em(zero.mean())), zero[:, None].tolist())]
    for number in range(1, 41):
        for seed in (1, 2, 3):
            hits = generator.random(200) < 0.3
            records.append(
                (result(method="icl", num_examples=number, seed=seed, metrics=em(hits.mean())), hits[:, None].tolist())
            )
    frame = load([study(tmp_path, *records)]).frame
    evidence = Study(frame, resamples=2_000).evidence
    (zero_shot,) = evidence.find("zero-shot")
    best = evidence.best(evidence.find("icl"), "em@10")
    assert best is not None

    fixed = evidence.compare("", list(best.chosen), [zero_shot], "em@10")
    chosen = evidence.compare("", [best], [zero_shot], "em@10")

    assert fixed is not None
    assert chosen is not None
    assert chosen.choices == 40
    assert chosen.difference == fixed.difference
    assert (fixed.p_value or 1) < 0.05 < (chosen.p_value or 0)
    # The interval of a choice holds for all 40 at once.
    assert chosen.high is not None
    assert fixed.high is not None
    assert chosen.high > fixed.high
