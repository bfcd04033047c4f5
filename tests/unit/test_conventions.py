"""The conventions of the study's replication package: each is a setting, and an overlay sets them all."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from transformers import PreTrainedTokenizerBase

from peft_study.cell.encoding import template_of
from peft_study.cli.results_table import rows
from peft_study.config.compose import compose_cell, conf_folder
from peft_study.config.conventions import label
from peft_study.config.identity import plain
from peft_study.config.naming import name_of
from peft_study.config.schema import ConventionsConfig
from peft_study.data.package_v1 import clean_up_spaces, cut_at_angle_brackets
from peft_study.data.prompts import Template
from peft_study.data.token_counts import not_longer_than
from peft_study.data.tokens import Encoded
from peft_study.metrics.exact_match import score_exact_match
from peft_study.results.schema import RunResult, Status

BASE = ["model=tiny-llama", "hardware.device=cuda"]
PACKAGE_V1 = {
    "name": "package-v1",
    **dict.fromkeys(("left_padding", "leading_newline", "cut_at_angle_brackets", "clean_up_spaces"), True),
}
OVERLAYS = ("paper", "package-v1", "package-revision")
DIFFERENCES = Path(__file__).parents[2] / "docs" / "differences.md"
SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    "override",
    [
        "+conventions=package-v1",
        "+conventions=package-revision",
        "conventions.left_padding=true",
        "conventions.leading_newline=true",
        "conventions.cut_at_angle_brackets=true",
        "conventions.clean_up_spaces=true",
        "conventions.max_sample_tokens=1024",
        "conventions.lora_targets=all_linear",
        "generation.top_k=50",
    ],
)
def test_conventions_make_another_cell(override: str) -> None:
    assert name_of(compose_cell([*BASE, override])) != name_of(compose_cell(BASE))


def test_the_papers_conventions_are_the_default() -> None:
    assert name_of(compose_cell([*BASE, "+conventions=paper"])) == name_of(compose_cell(BASE))
    # A setting that only another method reads changes nothing.
    assert name_of(compose_cell([*BASE, "conventions.ia3_learning_rate=1e-3"])) == name_of(compose_cell(BASE))


@pytest.mark.parametrize(
    ("overrides", "learning_rate", "targets"),
    [
        (["model=codellama-7b", "method=ia3"], 3e-4, "attention_feed_forward"),
        (["model=codellama-7b", "method=ia3", "+conventions=package-v1"], 3e-3, "attention_feed_forward"),
        (["model=codellama-7b", "method=lora", "+conventions=package-v1"], 3e-4, "attention"),
        (["model=codellama-7b", "method=lora", "+conventions=package-revision"], 3e-4, "all_linear"),
        (["model=codegen-350m-mono", "method=full", "+conventions=package-revision"], 5e-5, "none"),
    ],
)
def test_a_method_takes_what_its_conventions_say(overrides: list[str], learning_rate: float, targets: str) -> None:
    method = compose_cell(overrides).method

    assert (method.learning_rate, method.targets) == (learning_rate, targets)


def test_a_cell_is_named_by_its_conventions() -> None:
    assert "_package-v1_s42-" in name_of(compose_cell([*BASE, "+conventions=package-v1"]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        (PACKAGE_V1, "package-v1"),
        (PACKAGE_V1 | {"left_padding": False}, "package-v1, left_padding=false"),
        ({"left_padding": True}, "left_padding"),
        ({"left_padding": True, "clean_up_spaces": True}, "clean_up_spaces, left_padding"),
        ({"max_sample_tokens": 512}, "max_sample_tokens=512"),
        ({"ia3_learning_rate": 1e-3, "lora_targets": "all_linear"}, None),
    ],
)
def test_a_report_labels_other_conventions(changes: dict[str, object], expected: str | None) -> None:
    assert label(json.loads(json.dumps(asdict(ConventionsConfig()))) | changes) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a < b", "a "), ("a > b", "a "), ("a</s>", "a"), ("endoftext", ""), ("a|b", "a|b"), ("", ""), ("<", "")],
)
def test_a_candidate_is_cut_at_angle_brackets(text: str, expected: str) -> None:
    assert cut_at_angle_brackets(text) == expected


@pytest.mark.parametrize("text", ["a , b . c", "x ' y", "do n't", "it 's", "f(a , b) [ 1 ]", "a  ,b", " 'm 've 're ?!"])
def test_spaces_are_cleaned_up_as_tokenizers_did(text: str) -> None:
    cleaned = PreTrainedTokenizerBase.clean_up_tokenization(None, text)  # type: ignore[arg-type]

    assert clean_up_spaces(text) == cleaned


@pytest.mark.parametrize(
    ("name", "stop_at_newline", "em", "em_package", "em_cleaned"),
    [("conala", True, 95.6, 93.2, 93.9), ("codealpacapy", False, 100, 87.6, 93.1)],
)
def test_a_perfect_models_exact_match(
    name: str, stop_at_newline: bool, em: float, em_package: float, em_cleaned: float
) -> None:
    """The package's own evaluator gives 93.2 and 87.6."""
    file = SHARED_DATA / name / "test.jsonl"
    if not file.is_file():
        pytest.skip(f"no copy of {name} here")
    references = [json.loads(line)["cmd"] for line in file.read_text(encoding="utf-8").splitlines()]
    template = Template(stop_at_newline=stop_at_newline)

    scores, cleaned = (
        score_exact_match([[form.candidate(reference)] for reference in references], references)
        for form in (template, replace(template, cleaned=True))
    )

    assert cleaned.metrics["em@1"] == pytest.approx(em_cleaned / 100, abs=6e-4)
    assert scores.metrics["em@1"] == pytest.approx(em / 100, abs=5e-4)
    assert scores.metrics["em_package@1"] == pytest.approx(em_package / 100, abs=5e-4)


def test_the_page_of_differences_lists_every_setting() -> None:
    text = DIFFERENCES.read_text(encoding="utf-8")
    start, end = text.index("<!-- settings"), text.index("<!-- end of settings")
    start = text.index("\n", start) + 1
    written = text[:start] + _settings_table() + text[end:]
    if os.environ.get("PEFT_STUDY_WRITE_DOCS"):
        DIFFERENCES.write_text(written, encoding="utf-8")

    assert text == written


def _settings_table() -> str:
    overlays = {}
    for name in OVERLAYS:
        groups = yaml.safe_load((conf_folder() / "conventions" / f"{name}.yaml").read_text(encoding="utf-8"))
        overlays[name] = {
            f"{group}.{key}": value for group, of_group in groups.items() for key, value in of_group.items()
        }
    cell = plain(compose_cell(["model=codellama-7b", "dataset=apps"]))
    names = [f"conventions.{name}" for name in asdict(ConventionsConfig()) if name != "name"]
    names += sorted({name for values in overlays.values() for name in values if not name.startswith("conventions.")})
    lines = ["| setting | default | `package-v1` | `package-revision` |", "|---|---|---|---|"]
    for name in names:
        group, _, key = name.partition(".")
        values = [_written(cell[group][key]), *(_written(overlays[other].get(name, "")) for other in OVERLAYS[1:])]
        lines.append(f"| `{name}` | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def _written(value: object) -> str:
    return str(yaml.safe_dump(value)).split("\n")[0] if value != "" else ""


def test_a_candidate_follows_its_cells_conventions() -> None:
    written = "print( a , b ) > x\nnext"
    expected = {
        (): "print( a , b ) > x\nnext",
        ("conventions.clean_up_spaces=true",): "print( a, b ) > x\nnext",
        ("conventions.cut_at_angle_brackets=true",): "print( a , b ) ",
        ("conventions.clean_up_spaces=true", "conventions.cut_at_angle_brackets=true"): "print( a, b ) ",
    }
    for overrides, candidate in expected.items():
        cell = compose_cell(["model=tiny-codegen", *overrides])
        assert template_of(cell).candidate(written) == candidate
    # CodeLlama's tokenizers are configured not to change spaces.
    assert template_of(compose_cell([*BASE, "conventions.clean_up_spaces=true"])).candidate(written) == written


@pytest.mark.parametrize(("longest", "number"), [(None, 3), (5, 2), (4, 1), (1, 0)])
def test_long_samples_are_left_out(longest: int | None, number: int) -> None:
    samples = [Encoded((1, 2), (3, 4), 0, 0), Encoded((1,), (2, 3), 1, 1), Encoded((1, 2), (3, 4), 3, 0)]

    assert len(not_longer_than(longest, samples)) == number


def test_the_closing_table_keeps_conventions_apart() -> None:
    config = plain(compose_cell(BASE))
    other = plain(compose_cell([*BASE, "conventions.left_padding=true"]))
    results = [RunResult("a", "s", Status.ok, config=config), RunResult("b", "s", Status.ok, config=other)]

    assert [row.method for row in rows(results)] == ["lora", "lora [left_padding]"]
