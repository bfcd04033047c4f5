"""Every study of conf/study/ expands to cells that can run; what a study holds is stated where it can be counted."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from peft_study.config.compose import compose_cell, conf_folder
from peft_study.config.naming import name_of
from peft_study.errors import UserError
from peft_study.sweep.command import expand_command, plan_command
from peft_study.sweep.plan import PlannedCell

STUDIES = sorted(path.stem for path in (conf_folder() / "study").glob("*.yaml"))
TINY_STUDIES = ("demo", "quickstart")
UNDRAWN = {"zero-shot", "rag"}
METHODS = {"icl", "full", "lora", "ia3", "prompt", "prefix"}


@cache
def cells_of(study: str) -> list[PlannedCell]:
    return plan_command([f"+study={study}"])


@pytest.mark.parametrize("study", TINY_STUDIES)
def test_a_studys_cells_compose_and_can_run(study: str) -> None:
    cells = cells_of(study)

    assert cells
    assert [cell.refusal for cell in cells if cell.refusal] == []
    assert len({cell.folder for cell in cells}) == len(cells)
    assert {cell.cell.study.name for cell in cells} == {study}
    assert all(not cell.cell.study.blocks for cell in cells)


@pytest.mark.parametrize("study", STUDIES)
def test_the_head_comment_is_the_studys_command(study: str) -> None:
    head = (conf_folder() / "study" / f"{study}.yaml").read_text().splitlines()[0]

    assert head.startswith(f"# python -m peft_study +study={study} ")
    assert expand_command([f"+study={study}"])


def test_the_demo_is_every_method_on_every_tiny_model_with_three_seeds() -> None:
    cells = [planned.cell for planned in cells_of("demo")]

    found = Counter((cell.model.name, cell.method.name, cell.quantization.name) for cell in cells)
    models = ("tiny-llama", "tiny-codegen", "tiny-t5")
    # Zero-shot and retrieval draw nothing: one seed.
    expected = {(model, method, "none"): 1 for model in models for method in UNDRAWN}
    expected |= {(model, method, "none"): 3 for model in models for method in METHODS}
    expected |= {(model, "lora", bits): 3 for model in models for bits in ("int8", "nf4")}
    assert found == expected
    assert {cell.dataset.name for cell in cells} == {"minipy"}
    names = [cell.model.name for cell in cells]
    assert names == sorted(names, key=models.index)


def test_the_quickstart_is_each_method_once() -> None:
    cells = [planned.cell for planned in cells_of("quickstart")]

    assert Counter((cell.method.name, cell.quantization.name) for cell in cells) == Counter(
        [(method, "none") for method in METHODS | UNDRAWN] + [("lora", "nf4")]
    )
    assert {(cell.model.name, cell.dataset.test_limit) for cell in cells} == {("tiny-llama", 200)}


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (["+study=demo", "model=tiny-llama", "method=lora", "quantization=nf4"], 3),
        (["+study=demo", "model=tiny-llama,tiny-t5", "method=zero-shot"], 2),
        (["+study=demo", "model=glob(tiny-c*)", "method=full", "seed=9"], 1),
        (["+study=quickstart", "quantization=nf4", "training.epochs=1,2"], 2),
        (["+study=demo", "model='tiny-llama'", "method=\"full\",'lora'", "quantization=none"], 6),
        (["model=tiny-llama,tiny-t5", "method=lora", "seed=range(0,2)"], 4),
        # One identity: the learning rate is the model's own for this method, and the seed the default.
        (["model=tiny-llama", "method=lora", "method.learning_rate=0.004,4e-3", "seed=42"], 1),
    ],
)
def test_the_command_line_restricts_and_replaces(arguments: list[str], number: int) -> None:
    assert len(plan_command(arguments)) == number


def test_a_forced_setting_replaces_the_value_of_a_block() -> None:
    cells = plan_command(["+study=laptop", "method=lora", "++training.epochs=3"])

    assert [cell.cell.training.epochs for cell in cells] == [3]


def test_each_seed_has_the_settings_that_refer_to_it() -> None:
    cells = plan_command(["model=tiny-llama", "seed=1,2", "output_dir=runs/${seed}"])

    assert [cell.folder.parts[:2] for cell in cells] == [("runs", "1"), ("runs", "2")]


def test_a_cells_overrides_are_the_command_that_runs_it_alone() -> None:
    for planned in plan_command(["+study=quickstart", "training.epochs=2", "method=lora"]):
        assert name_of(compose_cell(planned.overrides)) == planned.folder.name


def test_a_cell_that_cannot_run_is_planned_with_its_reason() -> None:
    cells = plan_command(["model=tiny-llama", "method=full,lora", "quantization=nf4"])

    reasons = [cell.refusal.what if cell.refusal else None for cell in cells]
    assert reasons[1] is None
    assert "quanti" in (reasons[0] or "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["+study=quickstart", "model=tiny-t5"], "study quickstart has no cell with model=tiny-t5"),
        (["+study=demo,quickstart"], "study must .* got [+]study=demo,quickstart"),
        (["+study=table3", "model=tiny-llama"], "study table3 has no cell with model=tiny-llama"),
        (["+study=table3", "model=codellama-7b", "method=full"], "has no cell with all of these"),
        (["+study=nosuch"], "study has no option 'nosuch'"),
        (["+study=quickstart", "method=icl,loora"], "method has no option 'loora'"),
        (["model=tiny-llama", "method=lora,nosuch"], "method has no option 'nosuch'"),
        (["model=tiny-llama", "training.epoch=1,2"], "unknown setting 'training.epoch'"),
        (["model=tiny-llama", "method.learning_rate=interval(0,1)"], "method.learning_rate must"),
        (["study=quickstart"], r"study must be written \+study"),
        (["+study=quickstart", "+study=demo"], "study must be set once"),
        (["model=null"], "must be a string or a list"),
    ],
)
def test_what_cannot_be_planned_is_explained(arguments: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        plan_command(arguments)


BROKEN_STUDIES = {
    "blocks: 5": ("invalid study", "study/own.yaml in the folder of --config-dir"),
    "blocks: [foo]": ("invalid study", "study/own.yaml"),
    "common: [a]\nblocks: [{model: tiny-llama}]": ("invalid study", "study/own.yaml"),
    "blocks:\n  - {model: a\n  - b": ("invalid YAML", "own.yaml, line 6"),
    "block: []": ("unknown setting 'study.block'", "study/own.yaml"),
    "blocks: [{model: tiny-llama}, {model: [tiny-lama]}]": ("no option 'tiny-lama'", "study/own.yaml.*, block 2"),
    "blocks: [{model: tiny-llama, trainning.epochs: 1}]": ("unknown setting 'trainning'", "the cell model=tiny-llama"),
    "blocks: [{model: tiny-llama, training.epochs: many}]": (
        "got many",
        "training.epochs in the cell model=tiny-llama",
    ),
    "includes: [nosuch]": ("no option 'nosuch'", "study/own.yaml.*, includes"),
    "includes: [own]": ("study own includes itself", "study/own.yaml.*, includes"),
}


@pytest.mark.parametrize("text", BROKEN_STUDIES)
def test_a_broken_study_of_ones_own_is_explained(text: str, tmp_path: Path) -> None:
    says, where = BROKEN_STUDIES[text]
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "own.yaml").write_text(f"# @package study\nname: own\n{text}\n")

    with pytest.raises(UserError, match=says) as caught:
        plan_command(["+study=own"], tmp_path)

    assert re.search(where, caught.value.where or "")
    assert caught.value.hint


def test_a_study_of_ones_own_takes_in_others_of_both_folders(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "small.yaml").write_text(
        "name: small\nblocks: [{model: tiny-t5, method: full, dataset: minipy, quantization: none}]\n"
    )
    (tmp_path / "study" / "both.yaml").write_text("name: both\nincludes: [small, quickstart]\n")

    cells = plan_command(["+study=both", "method=full"], tmp_path)

    assert [(cell.cell.model.name, cell.cell.study.name) for cell in cells] == [
        ("tiny-t5", "both"),
        ("tiny-llama", "both"),
    ]
