"""Rules across config groups, checked before anything is loaded. They read no file; some ask if a path exists."""

from collections.abc import Iterator

from peft_study.config.build import ADAPTER_TARGET, adapter_targets
from peft_study.config.examples import example_problems
from peft_study.config.ranges import range_problems
from peft_study.config.schema import (
    CellConfig,
    DatasetLayout,
    DatasetSource,
    Device,
    ExampleChoice,
    MethodConfig,
    MethodKind,
    Precision,
    SizeClass,
    Weights,
)
from peft_study.config.sources import names_repository
from peft_study.errors import UserError, near_names

PAIRS = DatasetLayout.pairs


def check(cell: CellConfig) -> None:
    """Refuse a cell that cannot run.

    Raises:
        UserError: the first broken rule, with the setting and what to change.
    """
    for problem in problems(cell):
        raise problem


def problems(cell: CellConfig) -> Iterator[UserError]:
    """Every broken rule of a cell, the most basic first."""
    # Names and ranges first, because later rules and their messages rely on them.
    yield from range_problems(cell)
    yield from _model(cell)
    yield from _data(cell)
    yield from _method(cell)
    yield from _quantization(cell)
    yield from _precision(cell)
    yield from _processes(cell)


def _data(cell: CellConfig) -> Iterator[UserError]:
    dataset = cell.dataset
    # As a path, an empty text would be the current folder.
    if dataset.path is not None and not dataset.path.strip():
        yield UserError(
            "dataset.path must name a folder or a file, got an empty text",
            where="dataset.path",
            hint="a folder or a JSONL file, or dataset.path=null for the hub's data",
        )
    # The study's filter of CodeAlpaca was not published, only what it left.
    if dataset.path is None and not dataset.layout.is_on_hub:
        yield UserError(
            f"the layout {dataset.layout} rebuilds a data set from a file, and dataset.path is null",
            where="dataset.layout, dataset.path",
            hint="dataset.path=FILE, the JSON list or JSONL of CodeAlpaca",
        )
    elif dataset.path is None and dataset.source is DatasetSource.generated and dataset.layout is not PAIRS:
        what = f"dataset.layout must be {PAIRS}, got {dataset.layout}: {dataset.name} is generated"
        yield UserError(what, where="dataset.layout", hint=f"dataset.layout={PAIRS}")
    elif dataset.path is None and dataset.source is DatasetSource.hub and not dataset.hub_id:
        yield UserError(
            f"dataset.hub_id must name {dataset.name} on the hub if dataset.path is null, got {dataset.hub_id!r}",
            where="dataset.hub_id, dataset.path",
            hint="dataset.path=FOLDER, or dataset.hub_id=HUB_ID",
        )
    if dataset.prompt_form.is_whole_program and dataset.stop_at_newline:
        yield UserError(
            f"dataset.stop_at_newline must be false with dataset.prompt_form={dataset.prompt_form}, whose answers are"
            " whole programs, got true",
            where="dataset.prompt_form, dataset.stop_at_newline",
            hint="dataset.stop_at_newline=false",
        )


def _model(cell: CellConfig) -> Iterator[UserError]:
    model = cell.model
    if model.weights is Weights.pretrained and not model.source:
        yield UserError(
            f"model.source must name the weights of {model.name}, got {model.source!r}",
            where="model.source",
            hint="model.source=HUB_ID or a local folder, or model.weights=random",
        )
    if model.weights is Weights.random and not model.architecture:
        yield UserError(
            f"model.architecture must describe {model.name} if its weights are random, got nothing",
            where="model.architecture",
            hint="give the arguments of its transformers config, as conf/model/tiny-llama.yaml does",
        )
    if model.revision and model.source and not names_repository(model.source):
        what = f"model.revision must be null for the local source {model.source}, got {model.revision!r}"
        yield UserError(what, where="model.revision", hint="model.revision=null, or a hub id as model.source")
    if not model.source and not model.tokenizer:
        what = f"model.tokenizer must name a tokenizer for {model.name}, which has no source"
        yield UserError(what, where="model.tokenizer", hint="model.tokenizer=tiny or a local folder")


def _method(cell: CellConfig) -> Iterator[UserError]:
    method = cell.method
    if method.kind is not MethodKind.prompting and method.learning_rate is None:
        what = f"method.learning_rate must be a number, got null: {method.name} trains"
        yield UserError(what, where="method.learning_rate", hint="method.learning_rate=3e-4")
    if method.kind is MethodKind.adapter:
        yield from _adapter(method, recomputes=cell.training.gradient_checkpointing)
    elif method.adapter:
        what = f"method.adapter must be null for a method of kind {method.kind}, got one for {method.name}"
        yield UserError(what, where="method.adapter", hint="method.kind=adapter, or remove the adapter")
    yield from example_problems(method)
    if not cell.dataset.layout.has_training_split and (
        method.kind is not MethodKind.prompting or method.examples is not ExampleChoice.none
    ):
        yield UserError(
            f"{cell.dataset.name} has no training split, which {method.name} needs",
            where="method, dataset",
            hint="method=zero-shot, or dataset=mbpp, which has training problems",
        )
    # The paper fine-tunes its small models only; 7B weights and their gradients exceed its 24 GB card.
    if method.kind is MethodKind.full and cell.model.size_class is SizeClass.llm and not method.allow_large:
        yield UserError(
            f"method=full needs a model below a billion parameters, as in the study, got {cell.model.name}",
            where="method, model",
            hint="method=lora, or method.allow_large=true on a machine that holds it",
        )


def _adapter(method: MethodConfig, *, recomputes: bool) -> Iterator[UserError]:
    if not method.adapter:
        yield UserError(
            f"method.adapter must be set for a method of kind adapter, got {method.adapter}",
            where="method.adapter",
            hint="method=lora; or another kind, such as method=full or method=zero-shot, which takes no adapter",
        )
        return
    target, where = method.adapter.get("_target_"), "method.adapter._target_"
    # Hydra's `instantiate` would import any `_target_`, and so run what a config from elsewhere names.
    if not isinstance(target, str) or not ADAPTER_TARGET.fullmatch(target):
        yield UserError(
            f"_target_ must be a config class of peft, got {target!r}",
            where=where,
            hint="peft.LoraConfig, for example; nothing but these classes is imported from a config",
        )
    # Without a list of peft's names, `build` finds an unknown class when it imports peft.
    elif adapter_targets() and target not in adapter_targets():
        what = f"_target_ must be a config class that peft exports, got {target}"
        yield UserError(what, where=where, hint=near_names(target, adapter_targets()))
    # peft 0.21 raises in the first step, after the model is loaded.
    elif recomputes and not method.can_recompute:
        yield UserError(
            "training.gradient_checkpointing must be false for prefix tuning, whose prefix is a key-value cache",
            where="method, training.gradient_checkpointing",
            hint="training.gradient_checkpointing=false, and training.micro_batch_size=1 to save memory",
        )


def _quantization(cell: CellConfig) -> Iterator[UserError]:
    quantization = cell.quantization
    if quantization.bits not in (None, 4, 8):
        what = f"quantization.bits must be 4, 8 or null, got {quantization.bits}"
        yield UserError(what, where="quantization.bits", hint="quantization=none, int8 (8 bits) or nf4 (4 bits)")
    if quantization.quant_type not in ("nf4", "fp4"):
        what = f"quantization.quant_type must be nf4 or fp4, got {quantization.quant_type!r}"
        yield UserError(what, where="quantization.quant_type", hint="quantization.quant_type=nf4")
    if quantization.bits is not None and cell.method.kind is MethodKind.full:
        yield UserError(
            f"quantization.bits must be null for full fine-tuning, got {quantization.bits}: quantized weights have no"
            " gradient",
            where="method, quantization",
            hint="quantization=none, or method=lora (QLoRA) on the quantised base",
        )


def _processes(cell: CellConfig) -> Iterator[UserError]:
    batch, gpus = cell.training.batch_size, cell.hardware.gpus_per_cell
    if gpus > 0 and batch % gpus:
        what = f"hardware.gpus_per_cell must divide training.batch_size, which is {batch}, got {gpus}"
        yield UserError(what, where="hardware.gpus_per_cell", hint="hardware.gpus_per_cell=2, or 1")
    if not cell.hardware.shard_weights:
        return
    if gpus == 1:
        what = "hardware.shard_weights=true needs hardware.gpus_per_cell of at least 2, got 1"
        yield UserError(what, where="hardware.shard_weights", hint="hardware.gpus_per_cell=2")
    if cell.method.kind is MethodKind.full:
        what = f"hardware.shard_weights=true divides frozen weights, and method={cell.method.name} trains all of them"
        yield UserError(
            what, where="hardware.shard_weights, method", hint="method=lora, or hardware.shard_weights=false"
        )
    if cell.quantization.bits == 8:
        what = "hardware.shard_weights=true needs quantization.bits of 4 or null, got 8: FSDP cannot divide LLM.int8()"
        yield UserError(
            what, where="hardware.shard_weights, quantization", hint="quantization=nf4, or quantization=none"
        )


def _precision(cell: CellConfig) -> Iterator[UserError]:
    if cell.training.precision is Precision.fp16 and cell.hardware.device is Device.cpu:
        what = "training.precision must not be fp16 on a CPU, which trains in fp32 or bf16"
        yield UserError(what, where="training.precision, hardware.device", hint="training.precision=auto, fp32 or bf16")
