"""What the figures show, as data: from rows that can be checked by hand, and from the paper's own numbers."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy.stats import t

from peft_study.report.figures import FIGURES, Direction, Drawing, Mark, Panel, Series
from peft_study.report.figures.costs import pareto
from peft_study.report.names import model_name
from peft_study.report.read.paper import rows as paper_file
from peft_study.report.read.reference import paper_rows
from peft_study.report.read.rows import frame_of
from tests.report_cells import drawing_of

STORED = Path(__file__).parent / "fixtures" / "figures"
"""Drawings of the paper's rows and of `small_study`; `python -m tests.unit.test_figures` writes them anew."""


def cell(model: str, method: str, em: float, **other: Any) -> dict[str, Any]:
    """One finished cell's row; a score is a share, memory is in bytes."""
    row: dict[str, Any] = {
        "status": "ok",
        "model": model,
        "method": method,
        "kind": "prompting" if method in {"zero-shot", "icl", "rag"} else "adapter",
        "quantization": "none",
        "dataset": "conala",
        "num_examples": 0.0,
        "seed": 1.0,
        "test_samples": 543.0,
        "em@10": em,
        "memory_kind": "cuda_allocated",
        "device": "NVIDIA RTX A5000",
        "source": "multirun",
        **other,
    }
    parts = (row[name] for name in ("model", "method", "quantization", "dataset", "num_examples", "seed"))
    return {"cell_id": "_".join(f"{part:g}" if isinstance(part, float) else str(part) for part in parts), **row}


def small_study() -> pd.DataFrame:
    """Two models, whose every number is easily followed."""
    peak, lengths = {"train_peak_bytes": 4e9, "peak_bytes": 5e9}, {"0": 1, "8": 3, "24": 4}
    rows = [
        cell("codellama-7b", "zero-shot", 0.08, peak_bytes=3e9, generate_seconds=60.0),
        *(
            cell("codellama-7b", "icl", em, num_examples=number, seed=seed, peak_bytes=4e9, generate_seconds=120.0)
            for number, seed, em in ((1.0, 1.0, 0.10), (1.0, 2.0, 0.14), (8.0, 1.0, 0.30), (8.0, 2.0, 0.20))
        ),
        cell("codellama-7b", "rag", 0.35, num_examples=3.0, peak_bytes=4.5e9, generate_seconds=180.0),
        cell("codellama-7b", "lora", 0.40, train_seconds=540.0, generate_seconds=60.0, **peak),
        cell("codellama-7b", "lora", 0.36, quantization="nf4", train_peak_bytes=2e9, peak_bytes=2.5e9),
        cell("codet5p-220m", "full", 0.10, train_peak_bytes=1e9, peak_bytes=1.5e9),
        cell("codet5p-220m", "lora", 0.12, train_peak_bytes=0.8e9, peak_bytes=1.2e9),
    ]
    for row in rows:
        row["codebleu_codexglue"] = row["em@10"] / 2
        row["predicted_peak_bytes"] = row["peak_bytes"] * 0.8
        row["em@10_low"], row["em@10_high"] = row["em@10"] - 0.03, row["em@10"] + 0.02
    frame = frame_of(rows)
    histogram = {"bin_tokens": 8, "prompt": lengths, "target": {"8": 2, "16": 2}}
    frame["token_lengths"] = pd.Series([histogram] * len(frame), dtype=object)
    return frame


@cache
def drawings() -> dict[str, Drawing]:
    """Every drawing that is stored, by its file's name."""
    made = {f"paper-{name}": drawing_of(name, paper_rows()) for name in FIGURES}
    return made | {f"small-{name}": drawing_of(name, small_study(), paper_rows()) for name in FIGURES}


def series_of(drawing: Drawing, label: str, panel: int = 0) -> Series:
    return next(series for series in drawing.panels[panel].series if series.label == label)


def levels(panel: Panel) -> dict[str, float]:
    return {line.label: line.value for line in panel.lines}


@pytest.mark.parametrize("name", sorted(drawings()))
def test_a_drawing_is_the_stored_one(name: str) -> None:
    stored = json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))

    assert drawings()[name].to_json() == stored


def test_figure_1_of_the_papers_rows_has_the_papers_bars_from_the_smallest_to_the_largest() -> None:
    (panel,) = drawing_of("figure1", paper_rows()).panels

    heights = {str(x): y for series in panel.series for x, y in zip(series.x, series.y, strict=True)}
    printed = [float(line["peak_memory_gb"]) for line in paper_file("figure1")]
    assert [heights[name] for name in panel.categories] == sorted(printed)
    assert panel.categories[0] == "CodeT5+-220M, Full fine-tuning"
    assert panel.categories[-1] == "CodeLlama-34B, QLoRA-4bit"
    assert levels(panel) == {"24 GB": 24.0}


@pytest.mark.parametrize(("place", "dataset"), [(0, "conala"), (1, "codealpacapy")])
def test_figure_4_of_the_papers_rows_has_table_3s_lora_rows(place: int, dataset: str) -> None:
    panel = drawing_of("figure4", paper_rows()).panels[place]

    assert {series.label: (series.x[0], series.y[0]) for series in panel.series} == {
        model_name(line["model"]): (float(line[f"{dataset}_em@10"]), float(line[f"{dataset}_codebleu"]))
        for line in paper_file("table3")
        if line["method"] == "lora"
    }


@pytest.mark.parametrize(("place", "dataset"), [(0, "conala"), (1, "codealpacapy")])
def test_figure_5_of_the_papers_rows_has_the_papers_bars(place: int, dataset: str) -> None:
    panel = drawing_of("figure5", paper_rows()).panels[place]

    variants = {"LoRA": "none", "QLoRA-8bit": "int8", "QLoRA-4bit": "nf4"}
    drawn = {(x, variants[series.label]): y for series in panel.series for x, y in zip(series.x, series.y, strict=True)}
    assert drawn == {
        (model_name(line["model"]), line["quantization"]): float(line[f"{dataset}_em@10"])
        for line in paper_file("figure5")
    }


def test_seeds_become_a_mean_with_an_interval_and_a_single_run_keeps_its_own() -> None:
    drawing = drawing_of("figure3", small_study())

    curve = series_of(drawing, "CodeLlama-7B")
    assert (curve.x, curve.y) == ((0.0, 1.0, 8.0), (8.0, 12.0, 25.0))
    assert (curve.low[0], curve.high[0]) == (5.0, 10.0)
    # Two seeds, 10 and 14 %, each with an interval of 5 points: Student's distribution at few degrees of freedom.
    samples, runs = (5 / 2 / 1.959964) ** 2, 2.0**2
    half = t.ppf(0.975, ((samples + runs) / runs) ** 2) * math.sqrt(samples + runs)
    assert (curve.low[1], curve.high[1]) == pytest.approx((max(0.0, 12 - half), 12 + half), abs=1e-4)
    assert curve.cells[1] == ("codellama-7b_icl_none_conala_1_1", "codellama-7b_icl_none_conala_1_2")
    assert drawing.notes[0].startswith("Scores are means over seeds")


def test_costs_are_medians_over_seeds_as_in_the_tables() -> None:
    measured = ((1.0, 1e9, 60.0, 60.0), (2.0, 9e9, 120.0, 600.0), (3.0, 2e9, 600.0, 120.0))
    frame = frame_of(
        [
            cell(
                "m",
                "lora",
                0.1 * seed,
                seed=seed,
                train_peak_bytes=peak,
                train_seconds=train,
                generate_seconds=generate,
            )
            for seed, peak, train, generate in measured
        ]
    )

    memory = series_of(drawing_of("figure1", frame), "LoRA")
    time = series_of(drawing_of("quality-time", frame), "LoRA")
    assert (memory.y, memory.low, memory.high) == ((2.0,), (1.0,), (9.0,))
    # Two minutes of training and two of generation; 12 is the median of the cells' sums.
    assert (time.x, time.y) == ((4.0,), (20.0,))


def test_what_to_compare_with_is_marked_as_such() -> None:
    drawing = drawing_of("figure3", small_study(), paper_rows())

    paper = series_of(drawing, "CodeLlama-7B (paper)")
    assert (paper.x, paper.y, paper.paper, paper.cells) == ((0.0,), (7.73,), True, ())
    # The paper says what its best is, and not with how many examples.
    assert levels(drawing.panels[0]) == {"CodeLlama-7B, best (paper)": 29.83}
    assert drawing.compared == "paper"
    assert drawing_of("figure3", small_study()).compared == ""


def test_another_study_to_compare_with_is_not_called_the_paper() -> None:
    drawing = drawing_of("figure3", small_study(), small_study())

    assert drawing.compared == "compared"
    assert series_of(drawing, "CodeLlama-7B (compared)").cells[0] == ("codellama-7b_zero-shot_none_conala_0_1",)


def test_models_that_were_not_run_are_not_taken_from_the_paper() -> None:
    panel = drawing_of("figure4", small_study(), paper_rows()).panels[0]

    assert {series.label for series in panel.series if series.paper} == {"CodeT5+-220M (paper)", "CodeLlama-7B (paper)"}


def test_the_papers_codellama_13b_stands_beside_the_python_variant_of_the_study() -> None:
    frame = frame_of([cell("codellama-13b-python", "lora", 0.4, quantization="nf4", train_peak_bytes=14e9)])

    (panel,) = drawing_of("figure1", frame, paper_rows()).panels
    assert panel.categories == ("CodeLlama-13B-Python, QLoRA-4bit",)
    assert [(series.paper, series.y) for series in panel.series] == [(False, (14.0,)), (True, (15.01,))]


def test_retrieval_stands_against_lora_and_the_best_number_of_random_examples() -> None:
    (panel,) = drawing_of("figure7", small_study(), paper_rows()).panels

    assert panel.title == "CodeLlama-7B, Conala"
    assert [(series.label, series.x, series.y) for series in panel.series] == [("RAG", (3.0,), (35.0,))]
    own = {"LoRA": 40.0, "best ICL": 25.0}
    assert levels(panel) == own | {"LoRA (paper)": 39.31, "best ICL (paper)": 29.83, "best RAG (paper)": 35.17}


def test_of_equally_good_numbers_of_examples_the_fewest_are_the_best() -> None:
    frame = frame_of(
        [cell("m", "icl", 0.2, num_examples=number) for number in (8.0, 2.0, 4.0)] + [cell("m", "rag", 0.3)]
    )

    (line,) = drawing_of("figure7", frame).panels[0].lines
    assert (line.label, line.text, line.value) == ("best ICL", "2 examples", 20.0)


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(1.0, 5.0)], [(1.0, 5.0)]),
        ([(2.0, 5.0), (1.0, 5.0)], [(1.0, 5.0)]),
        ([(1.0, 5.0), (1.0, 6.0)], [(1.0, 6.0)]),
        ([(3.0, 7.0), (1.0, 5.0), (2.0, 4.0), (4.0, 7.0)], [(1.0, 5.0), (3.0, 7.0)]),
    ],
    ids=["none", "one", "as good and dearer", "as dear and better", "four"],
)
def test_the_pareto_front(points: list[tuple[float, float]], front: list[tuple[float, float]]) -> None:
    assert pareto(points) == front


def test_the_front_of_score_and_memory_is_a_staircase_through_this_studys_cells() -> None:
    drawing = drawing_of("quality-memory", small_study(), paper_rows())

    front = series_of(drawing, "Pareto front")
    assert front.mark is Mark.path
    assert list(zip(front.x, front.y, strict=True)) == [(1.2, 12.0), (2.5, 12.0), (2.5, 36.0), (5.0, 36.0), (5.0, 40.0)]
    assert [(line.label, line.direction) for line in drawing.panels[0].lines] == [("24 GB", Direction.vertical)]


def test_time_is_that_of_training_and_generation_and_unknown_without_a_trained_cells_training() -> None:
    panel = drawing_of("quality-time", small_study()).panels[0]

    minutes = {series.label: series.x for series in panel.series if series.mark is Mark.points}
    assert minutes == {"LoRA": (10.0,), "Zero-shot": (1.0,), "ICL": (2.0, 2.0), "RAG": (3.0,)}


def test_measured_memory_stands_over_the_predicted_one() -> None:
    drawing = drawing_of("predicted-memory", small_study())

    assert (series_of(drawing, "QLoRA-4bit").x, series_of(drawing, "QLoRA-4bit").y) == ((2.0,), (2.5,))
    assert drawing.panels[0].lines[0].direction is Direction.diagonal


def test_of_many_predictions_the_worst_ones_have_names() -> None:
    frame = frame_of(
        [
            cell(f"m-{number}", "lora", 0.1, peak_bytes=1e9, predicted_peak_bytes=1e9 * (1 + number / 10))
            for number in range(40)
        ]
    )

    drawing = drawing_of("predicted-memory", frame)
    named = [text for series in drawing.panels[0].series for text in series.texts if text]
    assert sorted(named) == sorted(f"m-{number}" for number in range(30, 40))
    assert any("furthest from the predicted one" in note for note in drawing.notes)


def test_lengths_are_shares_between_the_edges_of_their_bins() -> None:
    drawing = drawing_of("figure2", small_study())

    prompt = series_of(drawing, "prompt, CodeT5+-220M")
    assert prompt.x == (0.0, 8.0, 16.0, 24.0, 32.0)
    assert prompt.y == (12.5, 37.5, 0.0, 50.0, None)
    # The second model's tokenizer cuts alike.
    assert len(drawing.panels[0].series) == 2


@pytest.mark.parametrize(
    "histogram",
    [
        *(
            None,
            "x",
            {},
            {"bin_tokens": 8, "prompt": {"0": 1}},
            {"bin_tokens": 0, "prompt": {"0": 1}, "target": {"0": 1}},
        ),
        *(
            {"bin_tokens": 8, "prompt": prompt, "target": {"0": 1}}
            for prompt in (3, {}, {"a": 1}, {"nan": 1}, {"0": 0}, {"0": None}, {"0": math.nan}, {"0": 1, "1e300": 1})
        ),
    ],
)
def test_a_record_that_holds_no_lengths_is_passed_over(histogram: object) -> None:
    frame = small_study()
    frame["token_lengths"] = pd.Series([histogram] * len(frame), dtype=object)

    assert "recorded the lengths" in drawing_of("figure2", frame).panels[0].missing


def test_memory_of_a_process_has_no_cards_limit_and_is_not_put_beside_a_gpus() -> None:
    frame = small_study().assign(memory_kind="cpu_peak_rss")

    drawing = drawing_of("figure1", frame, paper_rows())
    assert drawing.panels[0].lines == ()
    assert not any(series.paper for series in drawing.panels[0].series)
    assert "process" in drawing.panels[0].y_label
    assert any("not shown" in note for note in drawing.notes)


def test_cells_on_a_cpu_are_left_out_of_gpu_memory() -> None:
    frame = frame_of(
        [
            cell("a", "lora", 0.4, train_peak_bytes=3e9),
            cell("b", "lora", 0.4, train_peak_bytes=1e9, memory_kind="cpu_peak_rss"),
        ]
    )

    drawing = drawing_of("figure1", frame)
    assert drawing.panels[0].categories == ("a, LoRA",)
    assert "Left out: 1 cells that ran on a CPU." in drawing.notes


def test_of_several_settings_the_tables_one_is_shown_and_said() -> None:
    tried = [(0.30, 1e-4, 1.0), (0.35, 3e-4, 1.0), (0.37, 3e-4, 2.0)]
    frame = frame_of(
        [
            cell("m", "lora", em, learning_rate=rate, settings=str(rate), seed=seed)
            | {"codebleu": em, "cell_id": f"{rate}-{seed}"}
            for em, rate, seed in tried
        ]
    )

    drawing = drawing_of("figure4", frame)
    assert series_of(drawing, "m").x == (36.0,)
    assert any(note.endswith("kind of memory): m/LoRA/conala (1 ok).") for note in drawing.notes)


def test_cells_that_the_rows_cannot_tell_apart_are_averaged_and_said() -> None:
    rows = [cell("m", "lora", em) | {"codebleu": em, "cell_id": str(em)} for em in (0.2, 0.4)]

    drawing = drawing_of("figure4", frame_of(rows))
    assert series_of(drawing, "m").x == (30.0,)
    assert any("with the same seed" in note and note.endswith(": m/LoRA/conala.") for note in drawing.notes)


def test_cells_that_did_not_end_well_are_counted_and_not_shown() -> None:
    failed = [cell("m", "lora", 0.9, status="oom"), cell("n", "lora", 0.9, status="oom", train_peak_bytes=1e9)]

    drawing = drawing_of("figure1", frame_of([*failed, cell("k", "lora", 0.4, train_peak_bytes=3e9)]))
    assert drawing.panels[0].categories == ("k, LoRA",)
    assert "Not finished and not shown: 2 oom." in drawing.notes


def test_data_scored_by_tests_is_compared_by_its_tests() -> None:
    rows = [cell("m", "icl", 0.0, num_examples=2.0, dataset="humaneval") | {"em@10": None, "pass@1": 0.25}]

    panel = drawing_of("figure3", frame_of(rows)).panels[0]
    assert panel.y_label == "Pass@1, %"
    assert panel.series[0].y == (25.0,)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_without_cells_a_figure_says_what_it_would_take(name: str) -> None:
    drawing = drawing_of(name, frame_of([]), paper_rows())

    assert drawing.empty
    assert drawing.panels[0].missing.startswith("No finished cell")


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_one_cell_is_enough_for_any_figure_not_to_fail(name: str) -> None:
    json.dumps(drawing_of(name, small_study().head(1), paper_rows()).to_json(), allow_nan=False)


def test_a_series_whose_parts_do_not_match_is_refused() -> None:
    with pytest.raises(ValueError, match="2 values of y for 1 of x"):
        Series("a", (1.0,), (1.0, 2.0))


if __name__ == "__main__":
    STORED.mkdir(parents=True, exist_ok=True)
    for stored_name, stored_drawing in drawings().items():
        text = json.dumps(stored_drawing.to_json(), indent=1, ensure_ascii=False)
        (STORED / f"{stored_name}.json").write_text(text + "\n", encoding="utf-8")
