"""Bad input: one screen that says what, where and what to try; exit code 2; no traceback; nothing left behind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Command, write_jsonl

GOOD = {"nl": "a", "cmd": "b"}
SCREEN_LINES = 24


def data(folder: Path, **files: list[object]) -> str:
    """A data folder in which the named splits hold these lines, the others a good one."""
    for split in ("train", "validation", "test"):
        write_jsonl(folder / "data" / f"{split}.jsonl", files.get(split, [GOOD]))
    return f"dataset.path={folder / 'data'}"


def without_split(folder: Path) -> list[str]:
    argument = data(folder)
    (folder / "data" / "validation.jsonl").unlink()
    return ["model=tiny-llama", argument]


def unreachable_model(folder: Path) -> list[str]:
    return ["model=codet5p-220m", data(folder)]


def folder_without_weights(folder: Path) -> list[str]:
    (folder / "weights").mkdir()
    return ["model=tiny-llama", "model.weights=pretrained", f"model.source={folder / 'weights'}", data(folder)]


def pickled_weights(folder: Path) -> list[str]:
    weights = folder / "weights"
    weights.mkdir()
    (weights / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 8, "hidden_size": 32}))
    (weights / "pytorch_model.bin").write_bytes(b"never opened")
    return ["model=tiny-llama", "model.weights=pretrained", f"model.source={weights}", data(folder)]


def too_large(folder: Path) -> list[str]:
    wide = "model.architecture.intermediate_size=10000000"
    return ["model=codellama-7b-python", "model.weights=random", "model.tokenizer=tiny", wide, data(folder)]


Arguments = list[str] | Callable[[Path], list[str]]

CASES: dict[str, tuple[Arguments, list[str]]] = {
    "unknown option of a group": (
        ["model=tiny-lama"],
        ["model has no option 'tiny-lama'", "did you mean 'tiny-llama'"],
    ),
    "no number": (["model=tiny-llama", "seed=x"], ["seed must be an integer", "got x"]),
    "no choice": (["training.precision=fp8"], ["training.precision must be one of auto, fp32, bf16", "got fp8"]),
    "no truth value": (["rerun=maybe"], ["rerun must be true or false", "got maybe"]),
    "no option": (["model="], ["model must be one of", "got nothing"]),
    "unknown option of a group of Hydra": (
        ["--multirun", "hydra/launcher=slrum", "seed=1,2"],
        ["hydra/launcher has no option 'slrum'", "where: hydra/launcher=slrum"],
    ),
    "option with a slash": (["+study=x/y"], ["study has no option 'x/y'"]),
    "no number of requeues": (["model=tiny-llama", "hardware.requeues=-1"], ["hardware.requeues must be", "got -1"]),
    "unwritable folder": (["model=tiny-llama", "output_dir=/proc/x"], ["output_dir must", "got /proc/x"]),
    "unknown group": (["modle=tiny-llama"], ["unknown setting 'modle'", "did you mean 'model'"]),
    "unknown key": (["training.epoch=1"], ["'training.epoch'", "did you mean 'epochs'"]),
    "unknown key with a plus": (["+training.epoch=1"], ["'training.epoch'", "did you mean 'epochs'"]),
    "unknown key two levels down": (["method.adapter.rank=8"], ["'method.adapter.rank'"]),
    "unknown key of an adapter": (
        ["model=tiny-llama", "+method.adapter.lora_alfa=8"],
        ["LoraConfig has no setting 'lora_alfa'", "did you mean 'lora_alpha'"],
    ),
    "unknown key of an architecture": (
        ["model=tiny-llama", "model.weights=random", "+model.architecture.hiden_size=8"],
        ["'hiden_size'", "did you mean 'hidden_size'"],
    ),
    "an architecture whose sizes clash": (
        ["model=tiny-llama", "model.weights=random", "model.architecture.hidden_size=33"],
        ["cannot build this llama architecture", "33"],
    ),
    "a model that the package lacks": (
        ["model=tiny-llama", "model.source=package:tiny-lama"],
        ["model.source", "'tiny-lama'", "did you mean 'tiny-llama'"],
    ),
    "an adapter that is no peft class": (
        ["model=tiny-llama", "method.adapter._target_=os.system"],
        ["method.adapter._target_", "got 'os.system'", "peft.LoraConfig"],
    ),
    "an adapter class that peft lacks": (
        ["model=tiny-llama", "method.adapter._target_=peft.LorraConfig"],
        ["method.adapter._target_", "peft.LorraConfig", "did you mean 'peft.LoraConfig'"],
    ),
    "a peft class that is no adapter": (
        ["model=tiny-llama", "method.adapter._target_=peft.EvaConfig"],
        ["method.adapter._target_", "EvaConfig"],
    ),
    "a sentinel that the tokenizer lacks": (
        ["model=tiny-t5", "method=zero-shot", "model.prompt_sentinel=<extra_id_0>"],
        ["model.prompt_sentinel", "<extra_id_0>"],
    ),
    "an adapter that is deleted": (["model=tiny-llama", "~method.adapter"], ["~method.adapter", "method=zero-shot"]),
    "an adapter that is nothing": (["model=tiny-llama", "method.adapter=null"], ["method.adapter", "method=lora"]),
    "a run folder of Hydra's": (["model=tiny-llama", "hydra.run.dir=x"], ["hydra.run.dir", "output_dir=FOLDER"]),
    "a sweep folder of Hydra's": (
        ["--multirun", "model=tiny-llama", "seed=1,2", "hydra.sweep.dir=x"],
        ["hydra.sweep.dir", "output_dir=FOLDER"],
    ),
    "a cell's folder of Hydra's": (
        ["--multirun", "model=tiny-llama", "seed=1,2", "hydra.sweep.subdir=x"],
        ["hydra.sweep.subdir", "output_dir=FOLDER"],
    ),
    "modules that the model lacks": (
        ["model=tiny-llama", "+method.adapter.target_modules=[qkv]"],
        ["peft cannot attach the adapter", "target_modules"],
    ),
    "a word for a number": (
        ["training.epochs=many"],
        ["training.epochs", "training.epochs must be a number, got many"],
    ),
    "a fraction for a whole number": (["training.batch_size=2.5"], ["training.batch_size", "2.5"]),
    "no assignment": (["training.epochs"], ["training.epochs", "group.key=value"]),
    "a negative number": (["training.epochs=-1"], ["training.epochs must be a positive number, got -1.0"]),
    "not a number": (["training.epochs=nan"], ["training.epochs", "nan"]),
    "a batch that does not divide": (["training.micro_batch_size=3"], ["training.micro_batch_size", "multiple"]),
    "more candidates than beams": (
        ["generation.num_beams=2"],
        ["generation.num_beams must be at least generation.num_candidates (10), got 2"],
    ),
    "a hostile study name": (
        ["model=tiny-llama", "study.name=../../gone"],
        ["study.name must be 1 to 80 letters", "got '../../gone'"],
    ),
    "quantised full fine-tuning": (
        ["model=tiny-llama", "method=full", "quantization=nf4"],
        ["quantization.bits must be null for full fine-tuning, got 4", "quantization=none", "method=lora"],
    ),
    "a prefix with recomputed activations": (
        ["model=tiny-llama", "method=prefix", "training.gradient_checkpointing=true"],
        ["prefix tuning", "training.gradient_checkpointing=false"],
    ),
    "full fine-tuning of an LLM": (["method=full"], ["codellama-7b-python", "method.allow_large=true"]),
    "fp16 on a CPU": (["model=tiny-llama", "hardware=cpu", "training.precision=fp16"], ["fp16", "training.precision"]),
    "a GPU where none is": (["model=tiny-llama", "hardware.device=cuda"], ["no CUDA device", "hardware=auto"]),
    "a missing folder": (["model=tiny-llama", "dataset.path=nowhere"], ["dataset.path=nowhere", "does not exist"]),
    "a missing file": (without_split, ["validation.jsonl", "missing"]),
    "a line that is not JSON": (
        lambda folder: ["model=tiny-llama", data(folder, test=[GOOD, "{oops"])],
        ["test.jsonl, line 2, column 2", "not JSON"],
    ),
    "a line without a field": (
        lambda folder: ["model=tiny-llama", data(folder, train=[GOOD, {"nl": "a"}])],
        ["train.jsonl, line 2", "'cmd'"],
    ),
    "an empty split": (lambda folder: ["model=tiny-llama", data(folder, validation=[])], ["validation", "empty"]),
    "a split of empty rows": (
        lambda folder: ["model=tiny-llama", data(folder, test=[{"nl": None, "cmd": "b"}])],
        ["test", "empty"],
    ),
    "a data set without a hub id": (
        ["model=tiny-llama", "dataset=conala", "dataset.hub_id=null"],
        ["dataset.hub_id must name conala", "got None"],
    ),
    "a data set that cannot be reached": (["model=tiny-llama", "dataset=conala"], ["cannot be loaded", "dataset.path"]),
    "a model that cannot be reached": (
        unreachable_model,
        ["Salesforce/codet5p-220m", "cannot be loaded", "model.source"],
    ),
    "a folder without weights": (folder_without_weights, ["weights", "*.safetensors"]),
    "pickled weights": (pickled_weights, ["weights", "*.safetensors"]),
    "a model that does not fit": (too_large, ["does not fit", "GB", "quantization=nf4"]),
}
NO_GPU = {"a GPU where none is"}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_screen_and_exit_code_2(command: Command, tmp_path: Path, name: str) -> None:
    if name in NO_GPU:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
    arguments, says = CASES[name]

    ended = command(*(arguments(tmp_path) if callable(arguments) else arguments))

    assert ended.code == 2, ended.err
    assert "error: " in ended.err
    for words in says:
        assert words in ended.err
    assert "Traceback" not in ended.err
    assert len(ended.err.splitlines()) <= SCREEN_LINES
    assert not (tmp_path / "multirun").exists()
    assert not (tmp_path.parent.parent / "gone").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "model=tiny-llama --cfg job seed=7",
        "model=tiny-llama seed=7 -c job",
        "model=tiny-llama --cfg job --resolve seed=7 -cn config",
    ],
)
def test_overrides_may_stand_on_both_sides_of_options(command: Command, arguments: str) -> None:
    expected = command(*["--cfg", "job", *["--resolve"] * ("--resolve" in arguments), "model=tiny-llama", "seed=7"])
    ended = command(*arguments.split())

    assert (ended.code, ended.out) == (expected.code, expected.out)
    assert ended.code == 0
    assert "seed: 7" in ended.out


def test_an_unknown_option_between_overrides_is_refused(command: Command) -> None:
    assert command("model=tiny-llama", "--unknown", "seed=1").code == 2


def test_a_full_error_shows_the_traceback(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    ended = command("training.epochs=many")

    assert ended.code == 2
    assert "Traceback" in ended.err


def test_a_broken_yaml_names_the_file(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    extra = tmp_path / "conf" / "model"
    extra.mkdir(parents=True)
    (extra / "mine.yaml").write_text("name: mine\nfamly: llama\n")

    ended = command("--config-dir", str(tmp_path / "conf"), "model=mine")

    assert ended.code == 2
    for words in ("model/mine.yaml in the folder of --config-dir", "famly", "did you mean 'family'"):
        assert words in ended.err


def test_an_earlier_result_survives_a_refusal(command: Command, small_data: Path, tmp_path: Path) -> None:
    cell = ["model=tiny-llama", "method=zero-shot", "dataset.max_new_tokens=4", f"dataset.path={small_data}"]
    assert command(*cell).code == 0
    (result,) = (tmp_path / "multirun").glob("*/*/result.json")
    result.write_text("{broken")

    ended = command(*cell)

    assert ended.code == 2
    assert "rerun=true" in ended.err
    assert result.read_text() == "{broken"


def test_a_good_result_survives_a_rerun_that_is_refused(command: Command, small_data: Path, tmp_path: Path) -> None:
    cell = ["model=tiny-llama", "method=zero-shot", "dataset.max_new_tokens=4", f"dataset.path={small_data}"]
    assert command(*cell).code == 0
    (result,) = (tmp_path / "multirun").glob("*/*/result.json")
    before = {
        path: path.read_bytes() for path in result.parent.iterdir() if path.name in {"result.json", "predictions.jsonl"}
    }

    ended = command(*cell, "rerun=true", "hardware.device=cuda")

    if ended.code == 0:
        pytest.skip("this machine has a GPU")
    assert ended.code == 2
    assert {path: path.read_bytes() for path in before} == before
