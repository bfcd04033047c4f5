"""Whole cells on the CPU: real models, real peft, real bitsandbytes, through the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from tokenizers import Tokenizer

import peft_study
from peft_study.models.tiny import load_tokenizer
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import CellFolder
from tests.conftest import Command, run_main

TOKENIZER = Path(peft_study.__file__).parent / "models" / "tiny" / "tokenizer.json"
QUICK = [
    "training.epochs=1",
    "training.evaluations_per_epoch=2",
    "dataset.max_new_tokens=8",
    "hardware=cpu",
    "hardware.threads=1",
]
# For what training alone decides.
BRIEF_ANSWERS = ["dataset.test_limit=1", "generation.num_beams=1", "generation.num_candidates=1"]


def only_cell(folder: Path) -> CellFolder:
    """The one cell below an output folder."""
    (result,) = folder.glob("*/*/result.json")
    return CellFolder(result.parent)


@pytest.mark.parametrize("model", ["tiny-llama", "tiny-codegen", "tiny-t5"])
def test_a_model_that_saw_the_answers_writes_them(
    command: Command, small_data: Path, tmp_path: Path, model: str
) -> None:
    # Prompt, labels, padding, stop conditions and scoring all have to agree for this to come out.
    ended = command(
        f"model={model}",
        "model.weights=random",
        "method=full",
        "method.learning_rate=4e-3",
        "dataset=conala",
        f"dataset.path={small_data}",
        "training.epochs=20",
        "training.evaluations_per_epoch=1",
        "generation.batch_size=3",
        "hardware=cpu",
        "hardware.threads=1",
    )

    assert ended.code == 0, ended.err
    folder = only_cell(tmp_path / "multirun")
    result = folder.read_result()
    assert result is not None
    assert result.status is Status.ok
    assert result.metrics["em@1"] == 1.0
    for prediction in folder.read_predictions():
        assert len(prediction.candidates) == 10
        assert prediction.matched[0]
        assert not any("\n" in candidate for candidate in prediction.candidates)


CELLS = [
    ("tiny-llama", "lora", "none"),
    ("tiny-codegen", "lora", "none"),
    ("tiny-t5", "lora", "none"),
    ("tiny-llama", "lora", "nf4"),
    ("tiny-llama", "lora", "int8"),
    ("tiny-t5", "lora", "nf4"),
    ("tiny-codegen", "lora", "int8"),
    ("tiny-llama", "full", "none"),
    ("tiny-llama", "ia3", "none"),
    ("tiny-llama", "prompt", "none"),
    ("tiny-llama", "prefix", "none"),
    ("tiny-codegen", "ia3", "none"),
    ("tiny-codegen", "prompt", "none"),
    ("tiny-codegen", "prefix", "none"),
    ("tiny-t5", "ia3", "none"),
    ("tiny-t5", "prompt", "none"),
    ("tiny-t5", "prefix", "none"),
    ("tiny-llama", "prefix", "nf4"),
    ("tiny-llama", "zero-shot", "none"),
    ("tiny-llama", "zero-shot", "nf4"),
]


def assert_costs(folder: CellFolder, data: Path, result: RunResult) -> None:
    """Count tokens and bytes again, with the tokenizer's file and the file system alone."""
    tokenizer = Tokenizer.from_file(str(TOKENIZER))

    def length(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    texts = [text for prediction in folder.read_predictions() for text in prediction.candidates]
    generate = result.phases["generate"]
    assert generate.tokens == sum(map(length, texts))
    assert generate.token_seconds is not None
    assert 0 < generate.token_seconds <= generate.seconds
    if "train" not in result.phases:
        return
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    prompts = [f"### Instruction:\n{row['nl']}\n### Response:\n" for row in rows]
    # A token ends each target, and each input of an encoder.
    ends = 2 if result.config["model"]["family"] == "t5" else 1
    tokens = sum(length(prompt) + length(row["cmd"]) + ends for prompt, row in zip(prompts, rows, strict=True))
    train = result.phases["train"]
    assert train.tokens == tokens * int(result.config["training"]["epochs"])
    assert train.token_seconds is not None
    assert 0 < train.token_seconds < train.seconds
    assert train.flops is not None
    weights = folder.path / ("model" if result.config["method"]["kind"] == "full" else "adapter")
    assert result.training["saved_bytes"] == sum(os.stat(path).st_size for path in weights.rglob("*"))  # noqa: PTH116
    recorded = json.loads((folder.path / "result.json").read_text())["rates"]
    assert recorded["train_tokens_per_second"] == train.tokens / train.token_seconds
    # A CPU's peak is unknown, and no card counts energy.
    assert (recorded["train_flop_utilization"], train.energy_wh, train.process_bytes) == (None, None, None)


@pytest.mark.parametrize(("model", "method", "quantization"), CELLS)
def test_a_cell_leaves_a_whole_folder(
    command: Command, small_data: Path, tmp_path: Path, model: str, method: str, quantization: str
) -> None:
    rates = {"lora": 1e-2, "full": 1e-3, "ia3": 1e-1, "prompt": 1e-1, "prefix": 1e-1}
    rate = [f"method.learning_rate={rates[method]}"] if method in rates else []
    ended = command(
        f"model={model}",
        f"method={method}",
        f"quantization={quantization}",
        f"dataset.path={small_data}",
        *rate,
        *QUICK,
    )

    assert ended.code == 0, ended.err
    # No library logs a line for every layer and step.
    assert all(len(log.read_text().splitlines()) < 20 for log in tmp_path.rglob("log.txt"))
    folder = only_cell(tmp_path / "multirun")
    result = folder.read_result()
    assert result is not None
    assert result.status is Status.ok
    assert [len(prediction.candidates) for prediction in folder.read_predictions()] == [10] * 8
    assert yaml.safe_load((folder.path / "config.yaml").read_text())["model"]["name"] == model
    phases = {"load", "generate", "score"} | (set() if method == "zero-shot" else {"train"})
    assert set(result.phases) == phases
    assert all(cost.seconds >= 0 and cost.peak_bytes for cost in result.phases.values())
    assert not (folder.path / "checkpoints").exists()
    assert_costs(folder, small_data, result)
    if method == "zero-shot":
        assert result.parameters["trainable"] == 0
        assert folder.read_steps() == []
        return
    assert result.training["best_validation_loss"] < result.training["initial_validation_loss"]  # type: ignore[operator]
    assert result.parameters["trainable"] > 0
    weights = folder.path / ("model" if method == "full" else "adapter")
    assert list(weights.glob("*.safetensors"))
    assert not [path for path in folder.path.rglob("*") if path.suffix in {".bin", ".pt", ".pkl"}]
    losses = [row["validation_loss"] for row in folder.read_steps() if "validation_loss" in row]
    assert min(losses[1:]) == result.training["best_validation_loss"]


def test_the_record_names_where_a_result_comes_from(command: Command, small_data: Path, tmp_path: Path) -> None:
    limits = ["dataset.max_prompt_tokens=6", "dataset.truncation=separate"]
    few = ["generation.num_beams=1", "generation.num_candidates=1"]
    command("model=tiny-llama", f"dataset.path={small_data}", *limits, *QUICK, *few)

    record = json.loads((only_cell(tmp_path / "multirun").path / "result.json").read_text())

    assert record["schema_version"] == 1
    assert record["memory_kind"] == "cpu_peak_rss"
    assert record["provenance"]["packages"]["torch"].startswith("2.")
    assert record["provenance"]["device"] == "cpu"
    assert record["provenance"]["precision"] == "fp32"
    assert record["provenance"]["seed"] == 42
    assert len(record["data"]["fingerprint"]) == 64
    assert record["data"]["sizes"] == {"train": 32, "validation": 8, "test": 8}
    assert record["data"]["truncation"]["test"]["prompts_cut"] == 8
    assert record["data"]["changed_targets"] == {"train": 0, "validation": 0, "test": 0}
    assert record["config"]["dataset"]["max_prompt_tokens"] == 6


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_weights(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    cell = ["model=tiny-llama", f"dataset.path={small_data}", "method.learning_rate=1e-2", *QUICK]
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert command(*cell, f"output_dir={place}", f"seed={seed}").code == 0

    files = ("predictions.jsonl", "metrics.jsonl", "adapter/adapter_model.safetensors")
    a, b, c = ([(only_cell(tmp_path / place).path / file).read_bytes() for file in files] for place in "abc")

    assert a == b
    assert a[1:] != c[1:]


def test_a_padding_token_added_to_a_tokenizer_changes_nothing(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(tmp_path / "padded")
    cell = ["model=tiny-llama", f"dataset.path={small_data}", *QUICK]

    for place, source in (("a", "tiny"), ("b", tmp_path / "padded")):
        assert command(*cell, f"output_dir={place}", f"model.tokenizer={source}").code == 0

    a, b = ((only_cell(tmp_path / place).path / "predictions.jsonl").read_bytes() for place in "ab")
    assert a == b


def test_a_finished_cell_is_skipped_until_it_is_asked_for_again(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    cell = ["model=tiny-llama", "method=zero-shot", f"dataset.path={small_data}", *QUICK, *BRIEF_ANSWERS]
    command(*cell)
    result = only_cell(tmp_path / "multirun").path / "result.json"
    written = result.stat().st_mtime_ns

    again = command(*cell)
    assert again.code == 0
    assert "done before" in again.err
    assert result.stat().st_mtime_ns == written

    assert command(*cell, "rerun=true").code == 0
    assert result.stat().st_mtime_ns != written


@pytest.mark.parametrize("model", ["tiny-llama", "tiny-codegen", "tiny-t5"])
def test_micro_batches_add_up_to_the_batch(command: Command, small_data: Path, tmp_path: Path, model: str) -> None:
    steps = []
    still = ["method.adapter.lora_dropout=0.0", "model.weights=random"]
    still += ["+model.architecture.dropout_rate=0.0"] if model == "tiny-t5" else []
    for size in (8, 2):
        cell = [f"model={model}", f"dataset.path={small_data}", f"training.micro_batch_size={size}", *still]
        assert command(*cell, *QUICK, *BRIEF_ANSWERS, f"output_dir=of{size}").code == 0
        steps.append(only_cell(tmp_path / f"of{size}").read_steps())

    for whole, parts in zip(*steps, strict=True):
        for name in whole.keys() & {"loss", "gradient_norm", "validation_loss"}:
            assert whole[name] == pytest.approx(parts[name], rel=1e-3), name


def test_recomputed_activations_change_nothing(command: Command, small_data: Path, tmp_path: Path) -> None:
    written = []
    for recompute in ("true", "false"):
        cell = ["model=tiny-llama", f"dataset.path={small_data}", f"training.gradient_checkpointing={recompute}"]
        assert command(*cell, *QUICK, *BRIEF_ANSWERS, f"output_dir=of-{recompute}").code == 0
        result = only_cell(tmp_path / f"of-{recompute}").read_result()
        assert result is not None
        written.append(result.training["best_validation_loss"])

    assert written[0] == pytest.approx(written[1], rel=1e-5)


def test_bf16_runs_on_a_cpu(command: Command, small_data: Path, tmp_path: Path) -> None:
    cell = ["model=tiny-llama", f"dataset.path={small_data}", "training.precision=bf16", "method.learning_rate=1e-2"]
    ended = command(*cell, *QUICK, *BRIEF_ANSWERS)

    assert ended.code == 0, ended.err
    result = only_cell(tmp_path / "multirun").read_result()
    assert result is not None
    assert result.provenance["precision"] == "bf16"
    assert result.training["best_validation_loss"] < result.training["initial_validation_loss"]  # type: ignore[operator]


def test_the_environment_has_no_say_in_the_number_format(
    command: Command, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = ["model=tiny-llama", f"dataset.path={small_data}", "training.precision=fp32", *QUICK, *BRIEF_ANSWERS]
    assert command(*cell, "output_dir=plain").code == 0
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert command(*cell, "output_dir=told").code == 0

    plain, told = (only_cell(tmp_path / name).read_steps() for name in ("plain", "told"))
    assert plain == told


def test_a_run_that_diverges_says_so(command: Command, small_data: Path, tmp_path: Path) -> None:
    cell = ["model=tiny-llama", "method=full", f"dataset.path={small_data}", "method.learning_rate=1e30"]
    ended = command(*cell, *QUICK)

    assert ended.code == 1
    result = only_cell(tmp_path / "multirun").read_result()
    assert result is not None
    assert result.status is Status.diverged
    assert "learning_rate" in (result.reason or "")


def test_a_sweep_goes_on_after_a_cell_that_cannot_run(command: Command, small_data: Path, tmp_path: Path) -> None:
    ended = command(
        "--multirun",
        "model=tiny-llama",
        "method=full,zero-shot",
        "quantization=nf4",
        f"dataset.path={small_data}",
        *QUICK,
        *BRIEF_ANSWERS,
    )

    results = [CellFolder(path.parent).read_result() for path in (tmp_path / "multirun").glob("*/*/result.json")]
    assert sorted(result.status for result in results if result) == ["infeasible", "ok"]
    assert ended.code == 2
    assert "1 of 2 cells done" in ended.err


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a cell in a process of its own, to be interrupted."""
    return subprocess.Popen(
        [sys.executable, "-m", "peft_study", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Wait until a condition holds, or fail with what the process printed."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"the process ended or stalled:\n{process.communicate()[0]}")
        time.sleep(0.02)


LONG = [
    "model=tiny-llama",
    "training.epochs=6",
    "training.evaluations_per_epoch=2",
    "generation.batch_size=1",
    "dataset.max_new_tokens=16",
    "hardware=cpu",
    "hardware.threads=1",
]


@pytest.fixture(scope="module")
def uninterrupted(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> CellFolder:
    """The cell of the next test, run in one go."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        assert run_main(monkeypatch, *LONG, f"dataset.path={small_data}") == 0
    return only_cell(folder / "multirun")


@pytest.mark.parametrize(
    ("phase", "sent", "code", "status"),
    [
        ("train", signal.SIGTERM, 143, Status.preempted),
        pytest.param("train", signal.SIGKILL, -9, Status.running, marks=pytest.mark.slow),
        pytest.param("generate", signal.SIGINT, 130, Status.preempted, marks=pytest.mark.slow),
        ("generate", signal.SIGKILL, -9, Status.running),
    ],
)
def test_an_interrupted_cell_goes_on_to_the_same_result(
    command: Command,
    small_data: Path,
    uninterrupted: CellFolder,
    tmp_path: Path,
    phase: str,
    sent: signal.Signals,
    code: int,
    status: Status,
) -> None:
    cell = [*LONG, f"dataset.path={small_data}"]
    process = start(tmp_path, *cell)
    sign = "*/*/checkpoints/checkpoint-6/complete" if phase == "train" else "*/*/predictions.jsonl.partial"
    wait_for(lambda: list((tmp_path / "multirun").glob(sign)), process)
    process.send_signal(sent)
    process.communicate(timeout=60)
    assert process.returncode == code
    folder = only_cell(tmp_path / "multirun")
    cut = folder.read_result()
    assert cut is not None
    assert cut.status is status

    assert command(*cell).code == 0

    resumed = folder.read_result()
    assert resumed is not None
    assert resumed.status is Status.ok
    assert resumed.training["resumed_from_step"] is not None
    assert set(resumed.phases) == {"load", "train", "generate", "score"}
    assert resumed.phases["train"].seconds > (cut.phases["train"].seconds if "train" in cut.phases else 0)
    whole = uninterrupted.read_result()
    assert whole is not None
    for name in ("train", "generate"):
        # Steps after the last checkpoint and a batch that was not recorded are done twice. A process that is killed
        # between a batch's candidates and its cost leaves that batch uncounted.
        part, sum_of_parts = whole.phases[name], resumed.phases[name]
        assert sum_of_parts.tokens is not None
        assert part.tokens is not None
        least = 0.5 if name == "generate" and sent is signal.SIGKILL else 0.9
        assert least * part.tokens <= sum_of_parts.tokens <= 2 * part.tokens
        assert sum_of_parts.tokens_per_second is not None
    for file in ("predictions.jsonl", "metrics.jsonl", "adapter/adapter_model.safetensors"):
        assert (folder.path / file).read_bytes() == (uninterrupted.path / file).read_bytes(), file


def test_the_package_v1_conventions_run(command: Command, small_data: Path, tmp_path: Path) -> None:
    ended = command(
        "+conventions=package-v1",
        "model=tiny-llama",
        "method=prefix",
        "training.precision=fp32",
        "training.epochs=1",
        "dataset.max_new_tokens=8",
        f"dataset.path={small_data}",
    )

    assert ended.code == 0, ended.err
    folder = only_cell(tmp_path / "multirun")
    result = folder.read_result()
    assert result is not None
    assert "_package-v1_" in result.cell_id
    assert {"em@1", "em_package@1", "codebleu_package"} <= result.metrics.keys()
    prompt = json.loads((folder.path / "predictions.jsonl").read_text().splitlines()[0])["prompt"]
    assert prompt.removeprefix("<s>").startswith("\n### Instruction:")
