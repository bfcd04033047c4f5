"""Cells of one peft method each, run to their end on the tiny models, and their adapter loaded again by peft alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from peft_study.cell.attempt import new_result
from peft_study.cell.run import CellRun
from peft_study.config.checks import check
from peft_study.config.compose import compose_cell
from peft_study.config.schema import CellConfig, Device, MethodConfig, MethodKind, Precision, Targets
from peft_study.generation.stopping import newline_tokens, token_texts
from peft_study.models.loading import load_model, load_tokenizer
from peft_study.models.precision import choose
from peft_study.results.schema import RunResult
from peft_study.results.store import CellFolder
from peft_study.tracking.base import CellStart, Row

ARCHITECTURES = ("tiny-llama", "tiny-codegen", "tiny-t5")
CPU = choose(Device.cpu, Precision.fp32)


@dataclass(frozen=True)
class Case:
    """A peft config class with the settings that it cannot do without.

    Attributes:
        config: name of the class.
        settings: arguments beside `_target_`.
        targets: the layers that the project names to peft.
        learning_rate: high enough that a few steps change the logits.
        why_not: why an architecture refuses it; empty where none does.
    """

    config: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    targets: Targets = Targets.attention
    learning_rate: float = 3e-2
    why_not: str = ""

    def __str__(self) -> str:
        return " ".join([self.config, *(f"{key}={value}" for key, value in self.settings.items())])


_TASKS = "needs a task number with each sample"
_DATA = "starts from activations or gradients of a data set"
CASES = (
    Case("LoraConfig"),
    Case("AdaLoraConfig", {"init_r": 6, "target_r": 3}),
    Case("AdamssConfig"),
    Case(
        "AdaptionPromptConfig",
        {"adapter_len": 4, "adapter_layers": 2},
        Targets.none,
        why_not="peft has it for Llama alone",
    ),
    Case("BeftConfig"),
    Case("BOFTConfig"),
    Case("C3AConfig", {"block_size": 32}),
    Case("CartridgeConfig", {"num_virtual_tokens": 4}),
    Case(
        "CPTConfig",
        {"cpt_token_ids": [4, 5, 6], "cpt_mask": [1, 1, 1], "cpt_tokens_type_mask": [1, 1, 1]},
        why_not="needs the kind of each token with each sample",
    ),
    Case("DeftConfig"),
    Case("DeloraConfig"),
    Case("FourierFTConfig"),
    Case("FrodConfig"),
    Case("GloraConfig"),
    Case("GraloraConfig"),
    Case("HiraConfig"),
    Case("HRAConfig"),
    Case("IA3Config"),
    Case("LilyConfig"),
    Case("LNTuningConfig", targets=Targets.none, why_not="peft knows no norms of CodeGen: set target_modules"),
    Case("LoHaConfig"),
    Case("LoKrConfig"),
    Case("MissConfig"),
    Case("OFTConfig"),
    Case("ShiraConfig"),
    Case("PromptTuningConfig", {"num_virtual_tokens": 4}),
    Case("MultitaskPromptTuningConfig", {"num_virtual_tokens": 4, "num_tasks": 1}, why_not=_TASKS),
    Case("OSFConfig"),
    Case("PromptEncoderConfig", {"num_virtual_tokens": 4, "encoder_hidden_size": 16}),
    Case("PeanutConfig"),
    Case("PolyConfig", why_not=_TASKS),
    Case("PrefixTuningConfig", {"num_virtual_tokens": 4}),
    Case("PsoftConfig"),
    Case("PveraConfig"),
    Case("RandLoraConfig"),
    Case("RoadConfig", {"group_size": 16}),
    Case("ShadowConfig", targets=Targets.none, why_not="peft has it for decoders alone"),
    Case("SupertuningConfig"),
    Case("TinyLoraConfig"),
    Case("TrainableTokensConfig", {"token_indices": list(range(3, 200))}, Targets.none),
    Case("UniLoraConfig"),
    Case("VBLoRAConfig", {"vector_length": 32}),
    Case("VeraConfig"),
    Case("WaveFTConfig"),
    Case("XLoraConfig", why_not="mixes adapters that were trained before"),
    Case("PrefixTuningConfig", {"num_virtual_tokens": 4, "prefix_projection": True, "encoder_hidden_size": 16}),
    Case("PromptEncoderConfig", {"num_virtual_tokens": 4, "encoder_reparameterization_type": "LSTM"}),
    Case("AdaLoraConfig", {"init_r": 6, "target_r": 3, "deltaT": 2, "tinit": 1, "tfinal": 1}),
    Case("IA3Config", targets=Targets.attention_feed_forward),
    Case("LoraConfig", {"use_dora": True}),
    Case("LoraConfig", {"use_rslora": True}),
    Case("LoraConfig", {"bias": "all"}),
    Case("LoraConfig", {"bias": "lora_only"}),
    Case("LoraConfig", {"target_modules": "all-linear"}),
    Case("LoraConfig", {"modules_to_save": ["lm_head"]}),
    Case("LoraConfig", {"trainable_token_indices": [5, 6]}),
    Case("LoraConfig", {"init_lora_weights": "gaussian"}),
    Case("LoraConfig", {"init_lora_weights": "pissa"}),
    Case("LoraConfig", {"init_lora_weights": "olora"}),
    Case("LoraConfig", {"init_lora_weights": "orthogonal"}),
    Case("LoraConfig", {"init_lora_weights": "mica"}),
    Case(
        "LoraConfig",
        {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4, "loftq_iter": 1}},
        why_not="peft quantises on a CUDA device",
    ),
    Case("LoraConfig", {"init_lora_weights": "pissa_niter_4"}, why_not="its random start differs at every load"),
    Case("LoraConfig", {"init_lora_weights": "eva"}, why_not=_DATA),
    Case("LoraConfig", {"init_lora_weights": "corda"}, why_not=_DATA),
    Case("LoraConfig", {"init_lora_weights": "lora_ga"}, why_not=_DATA),
    Case("LoraConfig", {"monteclora_config": {}}, why_not="needs its own loss in the training loop"),
    Case("LoraConfig", {"velora_config": {}}),
    Case("LoraConfig", {"kasa_config": {}}),
)


def cell_of(case: Case, architecture: str, data: Path, output: Path, *overrides: str) -> CellConfig:
    """A cell of four optimizer steps, two evaluations and two greedy answers."""
    cell = compose_cell(
        [
            f"model={architecture}",
            f"dataset.path={data}",
            f"output_dir={output}",
            "dataset.limit=8",
            "dataset.test_limit=2",
            "dataset.max_new_tokens=4",
            "training.batch_size=4",
            "training.micro_batch_size=2",
            "training.epochs=2",
            "training.evaluations_per_epoch=1",
            "generation.num_beams=1",
            "generation.num_candidates=1",
            "scoring.resamples=0",
            "hardware=cpu",
            *overrides,
        ]
    )
    adapter = {"_target_": f"peft.{case.config}", **case.settings}
    cell.method = MethodConfig("case", MethodKind.adapter, case.learning_rate, case.targets, adapter)
    return cell


class Watcher:
    """Keeps the model's logits at each evaluation, that is, in memory while it is trained.

    Args:
        at_step: called with each optimizer step that reports; may raise.
    """

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        self.execution: CellRun | None = None
        self.logits: dict[int, torch.Tensor] = {}
        self._at_step = at_step

    def start(self, cell: CellStart) -> None:
        """See `Tracker`."""

    def phase(self, name: str, total: int | None) -> None:
        """See `Tracker`."""

    def progress(self, done: int) -> None:
        """See `Tracker`."""

    def step(self, step: int, values: Row, usage: Row) -> None:
        """See `Tracker`."""
        self._at_step(step)
        if "validation_loss" in values:
            assert self.execution is not None
            self.logits[step] = logits(self.execution._model)

    def restore(self, steps: Sequence[Row], usages: Sequence[Row]) -> None:
        """Nothing."""

    def usage(self, usage: Row) -> None:
        """Nothing."""

    def finish(self, result: RunResult) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def execute(cell: CellConfig, folder: Path, watcher: Watcher) -> CellRun:
    """Run a cell in this process, or resume it.

    Raises:
        UserError: the cell is refused before any training.
    """
    check(cell)
    result = new_result(cell, folder)
    execution = CellRun(cell, CellFolder(folder), watcher, result)
    watcher.execution = execution
    execution.load()
    execution.run()
    return execution


def reload_adapter(cell: CellConfig, folder: Path) -> PeftModel:
    """The adapter as a reader of the results loads it: a fresh base, and peft's own loader."""
    base = load_model(cell.model, cell.quantization, cell.method.kind, CPU, load_tokenizer(cell.model))
    # The Trainer switches the cache off; with it on, codegen multiplies in another order and rounds otherwise.
    base.config.use_cache = False
    torch.manual_seed(99)
    return PeftModel.from_pretrained(base, str(folder / "adapter"))


def logits(model: Any) -> torch.Tensor:
    """Logits of a fixed input, without dropout."""
    ids = torch.arange(3, 23).reshape(2, 10)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids[:, :5]
    training = model.training
    with torch.no_grad():
        output: torch.Tensor = model.eval()(**inputs).logits.clone()
    model.train(training)
    return output


def answers(execution: CellRun, model: PeftModel) -> list[str]:
    """What a model answers to a cell's test prompts, by its most probable token again and again.

    Neither `generate` nor a key-value cache takes part: each token comes from a whole forward pass over one prompt.
    """
    tokenizer, template = execution._tokenizer, execution._template
    ends = {int(tokenizer.eos_token_id)}
    if template.stop_at_newline:
        ends |= set(newline_tokens(token_texts(tokenizer)))
    texts = []
    for prompt in execution._prepared.prompts:
        written: list[int] = []
        for _ in range(execution._cell.dataset.max_new_tokens):
            if model.config.is_encoder_decoder:
                start = [int(model.config.decoder_start_token_id)]
                inputs = {"input_ids": [list(prompt)], "decoder_input_ids": [start + written]}
            else:
                inputs = {"input_ids": [list(prompt) + written]}
            tensors = {name: torch.tensor(ids) for name, ids in inputs.items()}
            with torch.no_grad():
                output = model.eval()(**tensors, attention_mask=torch.ones_like(tensors["input_ids"])).logits
            written.append(int(output[0, -1].argmax()))
            if written[-1] in ends:
                break
        texts.append(template.candidate(tokenizer.decode(written, skip_special_tokens=True)))
    return texts
