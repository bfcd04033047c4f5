"""The model that is scored is the one that was trained, for every config class of peft.

docs/peft_methods.md holds the outcomes, and the command that rewrites them with PEFT_STUDY_WRITE_DOCS=1.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import peft
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from peft_study.config.compose import compose_cell
from peft_study.errors import UserError
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.families import FAMILIES
from peft_study.models.loading import load_model, load_tokenizer
from peft_study.results.store import CellFolder
from peft_study.training import checkpoint
from peft_study.training.checkpoint import save_training_state
from tests.peft_cells import ARCHITECTURES, CASES, CPU, Case, Watcher, answers, cell_of, execute, logits, reload_adapter

# What peft warns of (tied weights, names of pruned ranks) is for the person who runs the cell.
pytestmark = pytest.mark.filterwarnings("ignore")
DOC = Path(__file__).parents[2] / "docs" / "peft_methods.md"
QUANTISED = tuple(f"tiny-llama, {quantization}" for quantization in ("int8", "nf4"))
ROUNDING = 1e-4
"""Logits are about 10. peft leaves out the ranks that AdaLoRA pruned, and runs a prompt encoder on one row instead of a
batch, so that the same numbers are added in another order."""
EQUAL, REFUSED = "equal", "refused"


def outcome(case: Case, architecture: str, data: Path, folder: Path, *overrides: str) -> str:
    """Run a cell to its end and compare the model in memory, the restored one and the reloaded one."""
    cell, watcher = cell_of(case, architecture, data, folder, *overrides), Watcher()
    refusal = None
    try:
        execution = execute(cell, folder / "cell", watcher)
    except UserError as error:
        refusal = error
    if refusal is not None:
        assert "method.adapter" in (refusal.where or "")
        assert not watcher.logits, "the cell is refused before training"
        return REFUSED
    best = execution._result.training["best_step"]
    in_memory = watcher.logits[int(best)]  # type: ignore[arg-type]
    reloaded = reload_adapter(cell, folder / "cell")
    assert not torch.equal(in_memory, watcher.logits[0]), "training changes the model"
    assert torch.equal(logits(execution._model), in_memory)
    torch.testing.assert_close(logits(reloaded), in_memory, rtol=0, atol=ROUNDING)
    if cell.quantization.bits is None:  # int8 rounds a token otherwise where others are read beside it
        predictions = CellFolder(folder / "cell").read_predictions()
        assert [prediction.candidates[0] for prediction in predictions] == answers(execution, reloaded)
    return EQUAL


def rows(columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """The documented outcomes of the table with these columns, by case."""
    table = {}
    inside = False
    for line in DOC.read_text(encoding="utf-8").splitlines():
        fields = [field.strip().strip("`") for field in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif line.startswith("| settings"):
            inside = fields[1 : 1 + len(columns)] == list(columns)
        elif inside and line.startswith("| `"):
            table[fields[0]] = dict(zip(columns, fields[1:], strict=False))
    return table


def check_documented(case: Case, column: str, columns: Sequence[str], found: str) -> None:
    """Compare an outcome with the documented one, or document it."""
    if os.environ.get("PEFT_STUDY_WRITE_DOCS"):
        _write(case, column, columns, found)
    assert rows(columns)[label(case)][column] == found


def label(case: Case) -> str:
    """How the table names a case."""
    extra = [f"targets={case.targets}"] if case.config == "IA3Config" else []
    return " ".join([str(case), *extra]).replace("|", "/")


def _write(case: Case, column: str, columns: Sequence[str], found: str) -> None:
    table = rows(columns)
    table.setdefault(label(case), dict.fromkeys(columns, "?"))[column] = found
    reasons = {label(each): each.why_not for each in CASES}
    order = [label(each) for each in CASES if label(each) in table]
    head = ["| settings | " + " | ".join(columns) + " | why not |", "|" + "---|" * (len(columns) + 2)]
    body = [f"| `{name}` | {' | '.join(table[name].values())} | {reasons[name]} |" for name in order]
    text = DOC.read_text(encoding="utf-8")
    begin, end = (f"<!-- {mark} {columns[0]} -->\n" for mark in ("begin", "end"))
    before, after = text.split(begin)[0], text.split(end)[1]
    DOC.write_text(before + begin + "\n".join(head + body) + "\n" + end + after, encoding="utf-8")


def case_named(name: str) -> Case:
    """The case with a label."""
    return next(case for case in CASES if label(case) == name)


QUICK = [
    ("LoraConfig", "tiny-llama"),
    ("LoraConfig modules_to_save=['lm_head']", "tiny-t5"),
    ("IA3Config targets=attention", "tiny-codegen"),
    ("PromptTuningConfig num_virtual_tokens=4", "tiny-t5"),
    ("PrefixTuningConfig num_virtual_tokens=4", "tiny-llama"),
    ("PromptEncoderConfig num_virtual_tokens=4 encoder_hidden_size=16", "tiny-llama"),
    ("PrefixTuningConfig num_virtual_tokens=4 prefix_projection=True encoder_hidden_size=16", "tiny-codegen"),
    ("AdaLoraConfig init_r=6 target_r=3", "tiny-llama"),
    ("PolyConfig", "tiny-llama"),
]


@pytest.mark.parametrize(("name", "architecture"), QUICK)
def test_the_scored_model_is_the_trained_and_the_reloaded_one(
    small_data: Path, tmp_path: Path, name: str, architecture: str
) -> None:
    case = case_named(name)

    check_documented(case, architecture, ARCHITECTURES, outcome(case, architecture, small_data, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("case", CASES, ids=label)
def test_the_scored_model_is_the_reloaded_one_for_every_config_class(
    small_data: Path, tmp_path: Path, case: Case, architecture: str
) -> None:
    check_documented(case, architecture, ARCHITECTURES, outcome(case, architecture, small_data, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["int8", "nf4"])
@pytest.mark.parametrize("case", [case for case in CASES if case.config == "LoraConfig"], ids=label)
def test_lora_on_a_quantised_base_is_scored_as_it_is_reloaded(
    small_data: Path, tmp_path: Path, case: Case, quantization: str
) -> None:
    found = outcome(case, "tiny-llama", small_data, tmp_path, f"quantization={quantization}")

    check_documented(case, f"tiny-llama, {quantization}", QUANTISED, found)


@pytest.mark.parametrize("damage", ["lacks", "holds more", "differs in shape"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_checkpoint_with_other_tensors_is_refused(tmp_path: Path, method: str, damage: str) -> None:
    cell = compose_cell(["model=tiny-llama", f"method={method}"])
    base = load_model(cell.model, cell.quantization, cell.method.kind, CPU, load_tokenizer(cell.model))
    adapter = adapter_config(cell.method, FAMILIES[cell.model.family], "")
    model = attach(base, cell.method.kind, adapter, seed=0)
    if isinstance(model, PeftModel):
        save_training_state(model, tmp_path)
    else:
        model.save_pretrained(tmp_path)
    checkpoint.restore(model, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    tensors = load_file(file)
    name = sorted(tensors)[-1]
    if damage == "holds more":
        tensors["more"] = tensors[name].clone()
    else:
        tensor = tensors.pop(name)
        # A tensor with one element would be spread over all elements.
        tensors |= {} if damage == "lacks" else {name: tensor.flatten()[:1].clone()}
    save_file(tensors, file)

    with pytest.raises(UserError) as refused:
        checkpoint.restore(model, tmp_path)

    assert refused.value.where == str(tmp_path)


def interrupt_at(step: int) -> Watcher:
    """A watcher that interrupts the cell at an optimizer step, as Ctrl-C does."""

    def stop(reported: int) -> None:
        if reported == step:
            raise KeyboardInterrupt

    return Watcher(stop)


def check_resumes(case: Case, data: Path, folder: Path) -> None:
    """An interrupted and resumed cell leaves the same bytes as an uninterrupted one."""
    cell = cell_of(case, "tiny-llama", data, folder)
    execute(cell, folder / "whole", Watcher())
    with pytest.raises(KeyboardInterrupt):
        execute(cell, folder / "cut", interrupt_at(3))

    resumed = execute(cell, folder / "cut", Watcher())

    assert resumed._result.training["resumed_from_step"] == 2
    for file in ("adapter/adapter_model.safetensors", "predictions.jsonl", "checkpoints/checkpoint-4/optimizer.pt"):
        assert (folder / "cut" / file).read_bytes() == (folder / "whole" / file).read_bytes(), file


def test_an_interrupted_prompt_encoder_is_trained_to_the_same_bytes(small_data: Path, tmp_path: Path) -> None:
    name = "PromptEncoderConfig num_virtual_tokens=4 encoder_hidden_size=16"

    check_resumes(case_named(name), small_data, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=label)
def test_every_interrupted_adapter_is_trained_to_the_same_bytes(small_data: Path, tmp_path: Path, case: Case) -> None:
    if rows(ARCHITECTURES)[label(case)]["tiny-llama"] == REFUSED:
        pytest.skip("refused")
    check_resumes(case, small_data, tmp_path)


@pytest.mark.slow
def test_a_p_tuned_models_answers_are_those_of_its_reloaded_adapter(small_data: Path, tmp_path: Path) -> None:
    case = Case("PromptEncoderConfig", {"num_virtual_tokens": 20, "encoder_hidden_size": 160}, learning_rate=2e-2)
    more = ["dataset.limit=null", "dataset.test_limit=null", "dataset.max_new_tokens=16"]

    assert outcome(case, "tiny-llama", small_data, tmp_path, *more) == EQUAL


def test_the_table_has_every_config_class_of_peft() -> None:
    classes = {config.__name__ for config in peft.PEFT_TYPE_TO_CONFIG_MAPPING.values()}
    table = rows(ARCHITECTURES)

    assert classes <= {case.config for case in CASES}
    assert set(table) == {label(case) for case in CASES}
    assert [label(case) for case in CASES if REFUSED in table[label(case)].values() and not case.why_not] == []
