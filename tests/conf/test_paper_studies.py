"""The paper's grid: how many cells each of its tables and figures has, and that they are the ones it shows."""

import json
import re
from collections import Counter

import pytest
import torch

from peft_study.cli.plan import main
from peft_study.config.compose import compose_cell
from peft_study.config.schema import MethodKind, Precision, PromptForm
from peft_study.cost.replay.model import fake_tensors, load
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.families import FAMILIES
from peft_study.models.parameters import ParameterCounts, count
from peft_study.models.precision import Compute
from peft_study.models.random_weights import on_meta_device
from peft_study.report.read import paper
from peft_study.sweep.command import expand_command

SLMS = ("codet5p-220m", "codet5p-770m", "codegen-350m-mono")
LLMS = ("codegen2-1b", "codegen2-3.7b", "codegen2-7b", "codellama-7b", "codellama-7b-instruct", "codellama-7b-python")
SEEDS = 5  # of the replication package, where examples are drawn

TABLE3 = (3 * 5 + 6 * 4) * 2  # SLMs with full fine-tuning and four adapters, LLMs with the adapters; two data sets
TABLE4 = 4  # zero-shot, LoRA, and LoRA on 8 and 4 bits
FIGURE1 = 3 + 4 + 3  # SLMs fully, four LLMs with LoRA, three with LoRA on 4 bits
ZERO_SHOT = 9 * 2  # every model on both data sets, without examples
ICL = 9 * (7 + 6) * SEEDS  # 1, 2, 3, 4, 5, 8, 16 examples on conala, and without 16 on codealpacapy
FIGURE3 = ZERO_SHOT + ICL
FIGURE5 = (3 + 2 + 1) * 2  # 7B in three formats, 13B in two, 34B in one; two data sets
LORA = 9 * 2
FIGURE6 = LORA + ICL
RAG = 3 * (7 + 4)  # three CodeLlamas; 1 to 16 retrieved examples on conala, 1 to 4 on codealpacapy
FIGURE7 = RAG + 3 * 2 + 3 * (7 + 6) * SEEDS  # against their LoRA and ICL lines
# Of figure 1 only CodeLlama-7B on 4 bits stands nowhere else, of figure 5 all but the 7B without quantisation.
PAPER = TABLE3 + TABLE4 + 1 + (FIGURE5 - 2) + FIGURE3 + RAG


@pytest.mark.parametrize(
    ("study", "cells"),
    [
        ("table3", TABLE3),
        ("table4", TABLE4),
        ("figure1", FIGURE1),
        ("figure3", FIGURE3),
        ("figure5", FIGURE5),
        ("figure6", FIGURE6),
        ("figure7", FIGURE7),
        ("paper", PAPER),
    ],
)
def test_a_study_has_the_papers_number_of_cells(study: str, cells: int) -> None:
    assert len(expand_command([f"+study={study}"])) == cells


@pytest.mark.slow
@pytest.mark.parametrize(("study", "number"), [("figure5", FIGURE5), ("table4", TABLE4), ("paper", PAPER)])
def test_the_plan_of_a_study_lists_each_cell_once(study: str, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"+study={study}", "hardware=a5000-24gb", "--json"]) == 0

    record = json.loads(capsys.readouterr().out)
    cells = record["cells"]
    assert len(cells) == len({cell["cell_id"] for cell in cells}) == number == record["totals"]["cells"]
    assert record["totals"]["states"] == {"new": number}
    keys = ("model", "method", "quantization", "dataset", "num_examples", "seed")
    assert len({tuple(cell[key] for key in keys) for cell in cells}) == number
    assert all(cell["trainable_parameters"] is not None for cell in cells)
    # Every row fits the paper's card as it is shipped.
    assert all(0 < cell["predicted_peak_bytes"] <= cell["budget_bytes"] for cell in cells)


@pytest.mark.parametrize("study", ["figure3", "figure6", "figure7"])
def test_prompting_is_fenced_where_the_package_had_it_so_and_training_plain(study: str) -> None:
    # The package's first version trained, also for table 3; its revision drew the prompting of these figures.
    first = {}
    for overrides in expand_command([f"+study={study}"]):
        chosen = dict(override.split("=", 1) for override in overrides)
        first.setdefault((chosen["method"], chosen["dataset"]), overrides)
    for cell in map(compose_cell, first.values()):
        form = (cell.dataset.prompt_form, cell.dataset.stop_at_newline, cell.method.preamble)
        if cell.method.kind is MethodKind.prompting:
            assert form == (PromptForm.fenced, False, "")
        else:
            assert form == (PromptForm.plain, cell.dataset.name == "conala", "")


def test_the_paper_is_made_of_each_methods_cells() -> None:
    cells = [dict(override.split("=", 1) for override in overrides) for overrides in expand_command(["+study=paper"])]

    assert Counter(cell["method"] for cell in cells) == {
        "full": 3 * 2,
        "lora": LORA + (TABLE4 - 1) + 1 + (FIGURE5 - 2),
        "ia3": 9 * 2,
        "prompt": 9 * 2,
        "prefix": 9 * 2,
        "zero-shot": ZERO_SHOT + 1,
        "icl": ICL,
        "rag": RAG,
    }
    assert {cell["model"] for cell in cells} == {*SLMS, *LLMS, "codellama-13b-python", "codellama-34b-python"}


def test_figure_1_is_the_papers_ten_bars() -> None:
    named = {"codellama-13b": "codellama-13b-python", "codellama-34b": "codellama-34b-python"}
    rows = paper.rows("figure1")
    expected = {(named.get(row["model"], row["model"]), row["method"], row["quantization"]) for row in rows}
    assert settings("figure1", "model", "method", "quantization") == expected


def test_figure_5_is_the_papers_six_pairs_of_bars() -> None:
    expected = {(row["model"], row["quantization"]) for row in paper.rows("figure5")}
    assert settings("figure5", "model", "quantization") == expected
    assert settings("figure5", "method") == {("lora",)}


def test_table_3_is_the_papers_39_rows_on_two_data_sets() -> None:
    rows = paper.rows("table3")
    assert len(rows) == 39
    expected = {(row["model"], row["method"], data) for row in rows for data in ("conala", "codealpacapy")}
    assert settings("table3", "model", "method", "dataset") == expected


def settings(study: str, *groups: str) -> set[tuple[str, ...]]:
    found = set()
    for overrides in expand_command([f"+study={study}"]):
        chosen = dict(override.split("=", 1) for override in overrides)
        found.add(tuple(chosen[group] for group in groups))
    return found


@pytest.mark.parametrize("row", paper.rows("table3"), ids=lambda row: f"{row['model']}-{row['method']}")
def test_a_method_trains_the_papers_number_of_parameters(row: dict[str, str]) -> None:
    counts = parameters_of(row["model"], row["method"])
    if row["method"] == "full":
        # The paper prints the model's name there: "770M" for 738 million.
        assert counts.trainable == pytest.approx(millions(row["trainable_params"]) * 1e6, rel=0.05)
        assert counts.trainable == counts.total
        return
    decimals = len(row["trainable_params"].rstrip("M").partition(".")[2])
    exact, step = counts.trainable / 1e6, 10.0**-decimals
    # Some are rounded, others cut: 12.58 is printed as 12.5, 2.65 as 2.7.
    assert abs(exact - millions(row["trainable_params"])) < step
    assert millions(row["trainable_params"]) in {round(exact, decimals), round(int(exact / step) * step, decimals)}


def parameters_of(model: str, method: str) -> ParameterCounts:
    """The parameters of a cell with all its layers, on tensors without data."""
    # An initial text changes no size, and needs a tokenizer.
    without_text = ["method.adapter.prompt_tuning_init=RANDOM"] if method == "prompt" else []
    cell = compose_cell([f"model={model}", f"method={method}", *without_text])
    skeleton = on_meta_device(cell.model)
    with fake_tensors():
        base = load(cell, skeleton, Compute(torch.device("cpu"), Precision.bf16))
        adapter = adapter_config(cell.method, FAMILIES[cell.model.family], "")
        return count(attach(base, cell.method.kind, adapter, seed=0))


def millions(printed: str) -> float:
    found = re.fullmatch(r"([\d.]+)M", printed)
    assert found
    return float(found[1])


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("codet5p-220m", 222_882_048),
        ("codet5p-770m", 737_639_424),
        ("codegen-350m-mono", 356_712_448),
        ("codegen2-1b", 1_015_306_240),
        ("codegen2-3.7b", 3_641_174_016),
        ("codegen2-7b", 6_862_858_240),
        ("codellama-7b", 6_738_546_688),
        ("codellama-7b-instruct", 6_738_546_688),
        ("codellama-7b-python", 6_738_415_616),
        ("codellama-13b-python", 13_015_864_320),
        ("codellama-34b-python", 33_743_970_304),
    ],
)
def test_a_models_architecture_has_its_size(model: str, parameters: int) -> None:
    skeleton = on_meta_device(compose_cell([f"model={model}"]).model)

    assert sum(parameter.numel() for parameter in skeleton.parameters()) == parameters
