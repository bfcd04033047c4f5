"""A model's own positions decide what fits: its config's, not the YAML's."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from peft_study.cli.plan import main as plan_command
from peft_study.config.compose import compose_cell
from peft_study.data import tokens
from peft_study.data.tokens import encode
from peft_study.models.declared import Positions, declared_config
from peft_study.models.families import FAMILIES
from peft_study.models.tiny import FOLDER, load_tokenizer
from tests.conftest import Command, write_jsonl
from tests.integration.test_cell import QUICK, only_cell

LIMITS = ["dataset.max_prompt_tokens=24", "dataset.max_target_tokens=8", "generation.num_beams=1"]
ONE = [*QUICK, *LIMITS, "generation.num_candidates=1"]
BOFT = [
    "model=tiny-llama",
    "+model.architecture.vocab_size=1536",
    "method.name=boft",
    "method.adapter._target_=peft.BOFTConfig",
    *(f"~method.adapter.{name}" for name in ("r", "lora_alpha", "lora_dropout", "bias")),
]


def with_positions(folder: Path, model: str, **settings: int) -> Path:
    """A copy of a tiny model whose config states other positions."""
    shutil.copytree(FOLDER / model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder


@pytest.mark.parametrize(
    ("model", "settings", "expected"),
    [
        ("tiny-codegen", {"n_positions": 64, "n_ctx": 64}, 64),
        ("tiny-llama", {"max_position_embeddings": 100}, 100),
        ("tiny-t5", {"n_positions": 64}, None),
    ],
)
def test_positions_are_those_of_the_weights_config(
    tmp_path: Path, model: str, settings: dict[str, int], expected: int | None
) -> None:
    source = with_positions(tmp_path / "copy", model, **settings)
    cell = compose_cell([f"model={model}", f"model.source={source}"])

    assert FAMILIES[cell.model.family].positions(declared_config(cell.model)) == expected


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=tiny-llama", "model.weights=random", "model.architecture.max_position_embeddings=77"], 77),
        (["model=tiny-codegen", "model.weights=random", "model.architecture.n_positions=77"], 77),
        (["model=tiny-codegen", "model.architecture.n_positions=77"], 2048),
    ],
)
def test_only_random_weights_have_the_yamls_positions(overrides: list[str], expected: int) -> None:
    cell = compose_cell(overrides)

    assert FAMILIES[cell.model.family].positions(declared_config(cell.model)) == expected


def test_virtual_tokens_leave_fewer_positions() -> None:
    assert Positions(100, 20).free == 80


def test_examples_are_cut_to_the_positions_of_the_source(command: Command, small_data: Path, tmp_path: Path) -> None:
    source = with_positions(tmp_path / "short", "tiny-codegen", n_positions=64, n_ctx=64)
    icl = ["method=icl", "method.num_examples=16", f"dataset.path={small_data}", *ONE]

    assert command("model=tiny-codegen", f"model.source={source}", *icl).code == 0

    result = only_cell(tmp_path / "multirun").read_result()
    assert result is not None
    # An example takes about 15 tokens of the 56 that an answer of 8 leaves.
    assert 8 * 10 < result.data["truncation"]["test"]["examples_cut"] < 8 * 16


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["method=zero-shot", "dataset.max_new_tokens=65"], "dataset.max_new_tokens"),
        (["method=zero-shot", "dataset.max_new_tokens=63"], "dataset.max_new_tokens"),
        (["method=zero-shot", f"method.preamble={'write code ' * 40}"], "method.preamble"),
        (["method=lora", "dataset.max_prompt_tokens=60"], "dataset.max_prompt_tokens"),
        (["method=prompt", "method.adapter.num_virtual_tokens=40"], "method.adapter.num_virtual_tokens"),
        (["method=prefix", "method.adapter.num_virtual_tokens=40"], "method.adapter.num_virtual_tokens"),
        (["method=prompt", "method.adapter.num_virtual_tokens=5000"], "method.adapter.num_virtual_tokens"),
        (["method=lora", "method.adapter.r=0"], "method.adapter.r"),
    ],
)
def test_what_does_not_fit_or_train_is_refused_before_anything_runs(
    command: Command, small_data: Path, tmp_path: Path, overrides: Sequence[str], named: str
) -> None:
    source = with_positions(tmp_path / "short", "tiny-codegen", n_positions=64, n_ctx=64)

    ended = command("model=tiny-codegen", f"model.source={source}", f"dataset.path={small_data}", *ONE, *overrides)

    assert ended.code == 2, ended.err
    assert named in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "multirun").exists()


def test_long_instructions_are_cut_to_the_positions_at_test_and_counted(
    command: Command, tmp_path: Path, small_data: Path
) -> None:
    source = with_positions(tmp_path / "short", "tiny-codegen", n_positions=64, n_ctx=64)
    shutil.copytree(small_data, tmp_path / "long")
    instruction = "sort list `xs` and " * 20
    rows: list[object] = [{"nl": nl, "cmd": "xs.sort()"} for nl in (instruction, "sort")]
    write_jsonl(tmp_path / "long" / "test.jsonl", rows)
    cell = ["model=tiny-codegen", f"model.source={source}", f"dataset.path={tmp_path / 'long'}", "method=zero-shot"]

    ended = command(*cell, *ONE, "dataset.max_prompt_tokens=4")

    assert ended.code == 0, ended.err
    result = only_cell(tmp_path / "multirun").read_result()
    assert result is not None
    assert result.data["truncation"]["test"]["prompts_cut"] == 1
    whole = len(load_tokenizer()(f"### Instruction:\n{instruction}\n### Response:\n")["input_ids"])
    assert result.data["truncation"]["test"]["tokens_cut"] >= whole - (64 - 8)


def test_the_first_prompt_that_cannot_fit_ends_the_cell(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_data: Path
) -> None:
    source = with_positions(tmp_path / "short", "tiny-codegen", n_positions=64, n_ctx=64)
    encoded = []
    monkeypatch.setattr(tokens, "encode", lambda *args, **options: encoded.append(args) or encode(*args, **options))
    preamble = f"method.preamble={'write code ' * 40}"
    cell = ["model=tiny-codegen", f"model.source={source}", f"dataset.path={small_data}", "method=zero-shot", *ONE]

    assert command(*cell, preamble).code == 2

    assert len(encoded) == 1


@pytest.mark.filterwarnings("ignore")  # BOFT warns of its CUDA kernel and of a factor that it sets
def test_an_adapter_that_looks_at_weights_is_predicted(
    command: Command, small_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert plan_command([*BOFT, "--json"]) == 0
    (planned,) = json.loads(capfd.readouterr().out)["cells"]
    assert planned["predicted_peak_bytes"] > 0

    ended = command(*BOFT, f"dataset.path={small_data}", *ONE)

    assert ended.code == 0, ended.err
    result = only_cell(tmp_path / "multirun").read_result()
    assert result is not None
    assert result.parameters["trainable"] == planned["trainable_parameters"] > 0
