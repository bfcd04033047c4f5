"""Which settings make another cell."""

from pathlib import Path

import pytest

from peft_study.config.checks import NAME
from peft_study.config.compose import compose_cell, folder_of, name_of
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
        "hardware=cpu",
        "hardware.threads=3",
        "study.name=other",
        "output_dir=/elsewhere",
        "rerun=true",
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


def test_the_name_is_the_same_in_every_process() -> None:
    # The hash is part of folder names on people's disks: a change here needs a new IDENTITY_VERSION.
    assert name_of(compose_cell([])) == "codellama-7b-python_lora_conala_s42-0a21133c"


def test_local_data_is_identified_by_content_not_by_place(tmp_path: Path) -> None:
    rows: list[object] = [{"nl": "a", "cmd": "b"}]
    here, there = (write_jsonl(tmp_path / name / "train.jsonl", rows).parent for name in ("here", "there"))
    other = write_jsonl(tmp_path / "other" / "train.jsonl", [{"nl": "a", "cmd": "c"}]).parent

    names = [name_of(compose_cell([*BASE, f"dataset.path={folder}"])) for folder in (here, there, other)]

    assert names[0] == names[1]
    assert names[0] != names[2]


@pytest.mark.parametrize("setting", ["study.name", "model.name", "method.name", "dataset.name", "quantization.name"])
@pytest.mark.parametrize("name", ["../../etc", "a/b", "", ".hidden", "-rf", "a b", "x" * 100, "a\nb"])
def test_a_name_cannot_leave_the_output_folder(setting: str, name: str) -> None:
    cell = compose_cell(BASE)
    group, key = setting.split(".")
    setattr(getattr(cell, group), key, name)

    with pytest.raises(UserError, match="is no name"):
        folder_of(cell)
