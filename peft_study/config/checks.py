"""Rules across config groups, checked before anything is loaded; nothing is read but whether a local path exists."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from peft_study.config.adapters import ADAPTER_TARGET, adapter_targets
from peft_study.config.schema import (
    CellConfig,
    DatasetLayout,
    DatasetSource,
    Device,
    ExampleChoice,
    MethodConfig,
    MethodKind,
    Precision,
    PromptForm,
    ScoringConfig,
    SizeClass,
    Weights,
)
from peft_study.config.sources import EMBEDDED_SOURCE
from peft_study.errors import UserError, near_names

# Names become folder names, table cells and dashboard labels.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
SCORING_LIMITS = {
    "cpu_seconds": 86_400,
    "wall_seconds": 86_400,
    "memory_mb": 2**20,
    "output_kb": 2**20,
    "workers": 1024,
}
"""A day, a tebibyte, a gibibyte: more is a slip of the hand."""
MAX_RESAMPLES = 1_000_000


def check(cell: CellConfig) -> None:
    """Refuse a cell that cannot run.

    Raises:
        UserError: the first broken rule, with the setting and what to change.
    """
    for problem in problems(cell):
        raise problem


def problems(cell: CellConfig) -> Iterator[UserError]:
    """Every broken rule of a cell, the most basic first."""
    yield from _names(cell)
    yield from _ranges(cell)
    yield from scoring_problems(cell.scoring)
    yield from _model(cell)
    yield from _data(cell)
    yield from _method(cell)
    yield from _quantization(cell)
    yield from _precision(cell)


def check_names(cell: CellConfig) -> None:
    """Refuse names that could lead a path out of the output folder.

    Raises:
        UserError: the first name that is none.
    """
    for problem in _names(cell):
        raise problem


def scoring_problems(scoring: ScoringConfig) -> Iterator[UserError]:
    """Every setting of scoring that is out of its range."""
    for name, most in SCORING_LIMITS.items():
        value = getattr(scoring, name)
        if value is not None and not 0 < value <= most:
            yield UserError(f"{value} is out of range", where=f"scoring.{name}", hint=f"above 0, at most {most:,}")
    if not 0 <= scoring.resamples <= MAX_RESAMPLES:
        yield UserError(
            f"{scoring.resamples} resamples", where="scoring.resamples", hint="10000, or 0 for no intervals"
        )


def _data(cell: CellConfig) -> Iterator[UserError]:
    dataset = cell.dataset
    if dataset.path is not None and not dataset.path.strip():
        yield UserError(
            "an empty path",
            where="dataset.path",
            hint="a folder or a JSONL file, or dataset.path=null for the hub's data",
        )
    if dataset.layout is DatasetLayout.codealpaca and dataset.path is None:
        yield UserError(
            "the layout codealpaca rebuilds a data set from a file, and none is named",
            where="dataset.layout, dataset.path",
            hint="dataset.path=FILE, the JSON list or JSONL of CodeAlpaca",
        )
    if dataset.layout is DatasetLayout.apps and dataset.path is None and dataset.source is DatasetSource.generated:
        yield UserError(
            f"{dataset.name} is generated and has no layout", where="dataset.layout", hint="dataset.layout=pairs"
        )
    if dataset.prompt_form in (PromptForm.apps, PromptForm.completion) and dataset.stop_at_newline:
        yield UserError(
            "a whole program does not end at the first newline",
            where="dataset.prompt_form, dataset.stop_at_newline",
            hint="dataset.stop_at_newline=false",
        )


def _names(cell: CellConfig) -> Iterator[UserError]:
    named = {
        "study.name": cell.study.name,
        "model.name": cell.model.name,
        "method.name": cell.method.name,
        "dataset.name": cell.dataset.name,
        "quantization.name": cell.quantization.name,
        "conventions.name": cell.conventions.name,
    }
    for where, name in named.items():
        if not NAME.fullmatch(name):
            yield UserError(
                f"{name!r} is no name",
                where=where,
                hint="use 1 to 80 letters, digits, '.', '_' and '-', beginning with a letter or digit",
            )


def _ranges(cell: CellConfig) -> Iterator[UserError]:
    training, generation, dataset, hardware = cell.training, cell.generation, cell.dataset, cell.hardware
    positive: dict[str, float | None] = {
        "training.epochs": training.epochs,
        "training.batch_size": training.batch_size,
        "training.micro_batch_size": training.micro_batch_size,
        "training.evaluations_per_epoch": training.evaluations_per_epoch,
        "training.max_grad_norm": training.max_grad_norm,
        "generation.num_beams": generation.num_beams,
        "generation.num_candidates": generation.num_candidates,
        "generation.temperature": generation.temperature,
        "generation.batch_size": generation.batch_size,
        "generation.cache_gb": generation.cache_gb,
        "dataset.limit": dataset.limit,
        "dataset.test_limit": dataset.test_limit,
        "dataset.max_prompt_tokens": dataset.max_prompt_tokens,
        "dataset.max_target_tokens": dataset.max_target_tokens,
        "dataset.max_new_tokens": dataset.max_new_tokens,
        "hardware.threads": hardware.threads,
        "hardware.memory_budget_gb": hardware.memory_budget_gb,
        "tracking.timeout_seconds": cell.tracking.timeout_seconds,
        "method.learning_rate": cell.method.learning_rate,
        "conventions.max_sample_tokens": cell.conventions.max_sample_tokens,
        "conventions.ia3_learning_rate": cell.conventions.ia3_learning_rate,
    }
    for where, value in positive.items():
        # NaN and infinity are what a float setting accepts from a command line as well.
        if value is not None and not 0 < value < float("inf"):
            yield UserError(f"{value} is not a positive number", where=where, hint=f"{where}=1 or more")
    if not math.isfinite(generation.length_penalty):
        yield UserError(
            f"{generation.length_penalty} is not a finite number", where="generation.length_penalty", hint="1.0"
        )
    if not 0 <= training.warmup_fraction < 1:
        yield UserError(
            f"{training.warmup_fraction} is not a share of the steps",
            where="training.warmup_fraction",
            hint="a number from 0 up to, but not including, 1",
        )
    if not 0 <= cell.seed < 2**32:
        yield UserError(f"{cell.seed} is no seed", where="seed", hint="a whole number from 0 to 4294967295")
    if training.micro_batch_size > 0 and training.batch_size % training.micro_batch_size:
        yield UserError(
            f"a batch of {training.batch_size} is no multiple of micro-batches of {training.micro_batch_size}",
            where="training.batch_size, training.micro_batch_size",
            hint="training.micro_batch_size=8, 4, 2 or 1 for the study's batch of 8",
        )
    if generation.temperature is not None and generation.num_beams != 1:
        yield UserError(
            f"{generation.num_beams} beams and a temperature: candidates are searched for or sampled",
            where="generation.num_beams, generation.temperature",
            hint="generation.num_beams=1, as generation=sampling has it, or generation.temperature=null",
        )
    if not 0 < generation.top_p <= 1:
        yield UserError(f"{generation.top_p} is no probability", where="generation.top_p", hint="above 0, at most 1")
    if generation.top_k < 0:
        yield UserError(
            f"generation.top_k must be 0 (all tokens) or more, got {generation.top_k}",
            where="generation.top_k",
            hint="generation.top_k=0",
        )
    if generation.temperature is None and generation.num_candidates > generation.num_beams:
        yield UserError(
            f"{generation.num_beams} beams cannot give {generation.num_candidates} candidates",
            where="generation.num_beams, generation.num_candidates",
            hint=f"generation.num_beams={generation.num_candidates}",
        )


def _model(cell: CellConfig) -> Iterator[UserError]:
    model = cell.model
    if model.weights is Weights.pretrained and not model.source:
        yield UserError(
            f"{model.name} names no source for its weights",
            where="model.source",
            hint="model.source=HUB_ID or a local folder, or model.weights=random",
        )
    if model.weights is Weights.random and not model.architecture:
        yield UserError(
            f"{model.name} has no architecture to build random weights for",
            where="model.architecture",
            hint="give the arguments of its transformers config, as conf/model/tiny-llama.yaml does",
        )
    if model.revision and model.source and (model.source.startswith(EMBEDDED_SOURCE) or Path(model.source).exists()):
        yield UserError(
            f"{model.source} is local and has no revisions",
            where="model.revision",
            hint="model.revision=null, or a hub id as model.source",
        )
    if not model.source and not model.tokenizer:
        yield UserError(
            f"{model.name} names no tokenizer", where="model.tokenizer", hint="model.tokenizer=tiny or a local folder"
        )


def _method(cell: CellConfig) -> Iterator[UserError]:
    method = cell.method
    if method.kind is not MethodKind.prompting and method.learning_rate is None:
        yield UserError(
            f"{method.name} trains, but has no learning rate",
            where="method.learning_rate",
            hint="method.learning_rate=3e-4",
        )
    if method.kind is MethodKind.adapter:
        yield from _adapter(method, recomputes=cell.training.gradient_checkpointing)
    elif method.adapter:
        yield UserError(
            f"{method.name} is of kind {method.kind}, which takes no adapter",
            where="method.adapter",
            hint="method.kind=adapter, or remove the adapter",
        )
    yield from _examples(method)
    if cell.dataset.layout is DatasetLayout.humaneval and (
        method.kind is not MethodKind.prompting or method.examples is not ExampleChoice.none
    ):
        yield UserError(
            f"{cell.dataset.name} is a test split alone: there is nothing to train on or to show",
            where="method, dataset",
            hint="method=zero-shot, or dataset=mbpp for a data set of its kind that has training problems",
        )
    if method.kind is MethodKind.full and cell.model.size_class is SizeClass.llm and not method.allow_large:
        yield UserError(
            f"full fine-tuning of {cell.model.name}: the study fine-tunes fully only models below a billion parameters",
            where="method, model",
            hint="method=lora, or method.allow_large=true on a machine that holds it",
        )


def _adapter(method: MethodConfig, *, recomputes: bool) -> Iterator[UserError]:
    if not method.adapter:
        yield UserError(
            f"a method of kind adapter needs an adapter, got {method.adapter}",
            where="method.adapter",
            hint="method=lora; or another kind, such as method=full or method=zero-shot, which takes no adapter",
        )
        return
    target, where = method.adapter.get("_target_"), "method.adapter._target_"
    if not isinstance(target, str) or not ADAPTER_TARGET.fullmatch(target):
        yield UserError(
            f"{target!r} is no adapter class",
            where=where,
            hint="a config class of peft, such as peft.LoraConfig; nothing else is ever imported from a config",
        )
    elif adapter_targets() and target not in adapter_targets():
        yield UserError(
            f"_target_ must be a config class that peft exports, got {target}",
            where=where,
            hint=near_names(target, adapter_targets()),
        )
    elif target == "peft.PrefixTuningConfig" and recomputes:
        yield UserError(
            "prefix tuning cannot recompute activations: its prefix is a key-value cache",
            where="method, training.gradient_checkpointing",
            hint="training.gradient_checkpointing=false, and training.micro_batch_size=1 to save memory",
        )


def _examples(method: MethodConfig) -> Iterator[UserError]:
    where = "method.examples, method.num_examples"
    if method.num_examples < 0 or (method.num_examples > 0) != (method.examples is not ExampleChoice.none):
        yield UserError(
            f"{method.num_examples} examples chosen by {str(method.examples)!r}",
            where=where,
            hint="method=zero-shot for none; method=icl method.num_examples=8, or method=rag",
        )
    elif method.num_examples and method.kind is not MethodKind.prompting:
        yield UserError(
            f"{method.name} trains a model, whose prompts take no examples",
            where=where,
            hint="method=icl or method=rag",
        )
    if method.examples is ExampleChoice.nearest and not method.retriever:
        yield UserError(
            "nothing to find the nearest examples with",
            where="method.retriever",
            hint="method.retriever=thenlper/gte-small, a local folder, or tfidf",
        )


def _quantization(cell: CellConfig) -> Iterator[UserError]:
    quantization = cell.quantization
    if quantization.bits not in (None, 4, 8):
        yield UserError(
            f"{quantization.bits} bits", where="quantization.bits", hint="quantization=none, int8 or nf4 (4 bits)"
        )
    if quantization.quant_type not in ("nf4", "fp4"):
        yield UserError(f"{quantization.quant_type!r}", where="quantization.quant_type", hint="nf4 or fp4")
    if quantization.bits is not None and cell.method.kind is MethodKind.full:
        yield UserError(
            f"full fine-tuning of a base quantised to {quantization.bits} bits: quantised weights take no gradient",
            where="method, quantization",
            hint="quantization=none, or method=lora (QLoRA) on the quantised base",
        )


def _precision(cell: CellConfig) -> Iterator[UserError]:
    if cell.training.precision is Precision.fp16 and cell.hardware.device is Device.cpu:
        yield UserError(
            "training in fp16 on a CPU",
            where="training.precision, hardware.device",
            hint="training.precision=auto, fp32 or bf16",
        )
