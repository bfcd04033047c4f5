"""Which settings make another cell."""

import json
from pathlib import Path

import pytest

from peft_study.config.compose import compose_cell
from peft_study.config.identity import from_plain, plain, settings_key
from peft_study.config.naming import folder_of, name_of
from peft_study.config.ranges import NAME
from peft_study.config.schema import Truncation
from peft_study.errors import UserError
from tests.conftest import write_jsonl

BASE = ["model=tiny-llama"]


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "method=full",
        "method.adapter.r=8",
        "method.learning_rate=1e-3",
        "model=tiny-codegen",
        "dataset=conala",
        "dataset.limit=10",
        "quantization=nf4",
        "training.epochs=1",
        "training.micro_batch_size=4",
        "generation.num_beams=20",
        "model.weights=random",
        "model.source=package:other",
    ],
)
def test_what_decides_the_result_makes_another_cell(override: str) -> None:
    assert name_of(compose_cell([*BASE, override])) != name_of(compose_cell(BASE))


@pytest.mark.parametrize(
    "override",
    [
        "tracking=wandb",
        "tracking=[wandb,jsonl]",
        "tracking.artifacts=adapter",
        "tracking.predictions=100",
        "hardware=cpu",
        "hardware.threads=3",
        "study.name=other",
        "output_dir=/elsewhere",
        "rerun=true",
        "retry=oom",
        "stop_on_failure=true",
        "dataset.sizes.train=7",
        "training.epochs=5",
    ],
)
def test_what_does_not_keeps_the_cell(override: str) -> None:
    assert name_of(compose_cell([*BASE, override])) == name_of(compose_cell(BASE))


def test_the_name_is_readable_and_safe() -> None:
    name = name_of(compose_cell([*BASE, "quantization=nf4"]))

    assert name.startswith("tiny-llama_lora_minipy_nf4_s42-")
    assert NAME.fullmatch(name)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "codellama-7b-python_lora_conala_s42-9f30318a"),
        # As it was while each limit stood by itself, which test prompts were cut by as well.
        (["dataset.truncation=separate"], "codellama-7b-python_lora_conala_s42-0a21133c"),
        # Of generated samples nothing is cut either way; the result is in docs/demo_results.
        ([*BASE, "seed=1"], "tiny-llama_lora_minipy_s1-99906ff8"),
    ],
)
def test_the_name_is_the_same_in_every_process(overrides: list[str], name: str) -> None:
    # The hash is part of folder names on people's disks: a change here needs a new entry of FORMER_DEFAULTS.
    assert name_of(compose_cell(overrides)) == name


@pytest.mark.parametrize(
    ("overrides", "differ"),
    [
        ([], False),
        (["dataset.max_prompt_tokens=8"], True),
        (["dataset.max_target_tokens=8"], True),
        (["dataset=codealpacapy"], True),
    ],
)
def test_how_limits_are_shared_counts_where_something_can_be_cut(overrides: list[str], differ: bool) -> None:
    cells = [compose_cell([*BASE, *overrides, f"dataset.truncation={rule}"]) for rule in Truncation]

    assert len({name_of(cell) for cell in cells}) == 1 + differ
    assert len({settings_key(plain(cell)) for cell in cells}) == 1 + differ


def test_records_from_before_truncation_was_a_setting_are_those_with_separate_limits() -> None:
    config = plain(compose_cell([*BASE, "dataset=conala", "dataset.truncation=separate"]))
    older = {**config, "dataset": {key: value for key, value in config["dataset"].items() if key != "truncation"}}

    assert settings_key(older) == settings_key(config)


def test_local_data_is_identified_by_content_not_by_place(tmp_path: Path) -> None:
    rows: list[object] = [{"nl": "a", "cmd": "b"}]
    here, there = (write_jsonl(tmp_path / name / "train.jsonl", rows).parent for name in ("here", "there"))
    other = write_jsonl(tmp_path / "other" / "train.jsonl", [{"nl": "a", "cmd": "c"}]).parent

    names = [name_of(compose_cell([*BASE, f"dataset.path={folder}"])) for folder in (here, there, other)]

    assert names[0] == names[1]
    assert names[0] != names[2]


@pytest.mark.parametrize("setting", ["dataset.path", "model.source"])
def test_a_local_path_that_cannot_be_read_is_named(setting: str) -> None:
    # A name of 300 letters raises OSError for every user. Missing permissions would not for root.
    cell = compose_cell([*BASE, f"{setting}={'x' * 300}"])

    with pytest.raises(UserError, match=f"{setting} cannot be read: File name too long"):
        name_of(cell)


@pytest.mark.parametrize("setting", ["dataset.path", "model.source"])
def test_a_home_folder_that_does_not_exist_is_named(setting: str) -> None:
    cell = compose_cell([*BASE, f"{setting}='~nobody-of-this-name/data'"])

    with pytest.raises(UserError, match=f"{setting} cannot be read"):
        name_of(cell)


@pytest.mark.parametrize("setting", ["study.name", "model.name", "method.name", "dataset.name", "quantization.name"])
@pytest.mark.parametrize("name", ["../../etc", "a/b", "", ".hidden", "-rf", "a b", "x" * 100, "a\nb"])
def test_a_name_cannot_leave_the_output_folder(setting: str, name: str) -> None:
    cell = compose_cell(BASE)
    group, key = setting.split(".")
    setattr(getattr(cell, group), key, name)

    with pytest.raises(UserError, match=rf"{setting} must be .*, got "):
        folder_of(cell)


@pytest.mark.parametrize(
    "overrides", [(), ("method=rag", "quantization=int8"), ("method=prefix", "training.memory=small")]
)
def test_a_config_survives_plain_containers(overrides: tuple[str, ...]) -> None:
    cell = compose_cell([*BASE, *overrides])

    rebuilt = from_plain(json.loads(json.dumps(plain(cell))))

    assert rebuilt == cell
    assert type(rebuilt.training.memory) is type(cell.training.memory)
