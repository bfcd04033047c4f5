"""Count the peak memory of a cell's phases on tensors without data."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from peft import PeftConfig
from transformers import PretrainedConfig, PreTrainedModel

from peft_study.config.schema import CellConfig, DatasetConfig, MemoryPolicy, Precision
from peft_study.cost.forecast import Estimate
from peft_study.cost.replay import generation, training
from peft_study.cost.replay.live_bytes import LiveBytes
from peft_study.cost.replay.model import fake_tensors, load
from peft_study.generation.batches import Needs
from peft_study.models.adapter import attach, recompute_activations, virtual_tokens
from peft_study.models.families import FAMILIES
from peft_study.models.loading import Model, base_of
from peft_study.models.parameters import count
from peft_study.models.precision import Compute
from peft_study.models.random_weights import on_meta_device

CUBLAS_WORKSPACE_BYTES = 8_519_680
"""Memory that torch allocates for cuBLAS at the first product: 2 x 4096 + 8 x 16 KiB. On Hopper it allocates 33,554,432
bytes; the replay uses the smaller value on every card."""

DEPTHS = (2, 3)
"""Numbers of layers of the two shallow models."""
_SAME_IN_EVERY_LAYER = frozenset(
    {
        *("_target_", "r", "lora_alpha", "lora_dropout", "bias", "use_rslora", "use_dora", "init_lora_weights"),
        *("num_virtual_tokens", "prompt_tuning_init", "prefix_projection", "encoder_hidden_size"),
    }
)
"""Settings of adapters that apply to all layers."""
_LOAD, _TRAIN, _GENERATE = "load", "train", "generate"
_Generate = Callable[[PreTrainedModel, Callable[[str], None]], None]


def replay(cell: CellConfig, config: PretrainedConfig, adapter: PeftConfig | None, precision: Precision) -> Estimate:
    """Load a model, train a step and generate the last tokens of a batch on fake tensors, and count their bytes.

    Every sample fills the data set's limits, so that the peaks bound those of all data within the limits. CUDA's
    context and fragmentation are not included: see `Estimate.overhead_bytes`.

    Args:
        cell: the typed config.
        config: config of the cell's model.
        adapter: config of the cell's adapter.
        precision: the number format; never auto.

    Returns:
        parameters, and peak bytes of each phase.
    """
    # With equal layers the bytes of each segment are linear in the number of layers. So two shallow models give the
    # bytes of a deep one, in a fraction of the time of a replay with all layers.
    compute = Compute(torch.device("cpu"), precision)
    write = _generator(cell, config, virtual_tokens(adapter), compute)
    depth = int(config.num_hidden_layers)
    if depth <= max(DEPTHS) or not _has_equal_layers(config, cell.method.adapter):
        return _estimate(_counts(cell, config, adapter, compute, write))
    shallow, deeper = (_counts(cell, _with_layers(config, layers), adapter, compute, write) for layers in DEPTHS)
    distance = (depth - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0])
    return _estimate({name: round(value + (deeper[name] - value) * distance) for name, value in shallow.items()})


def _has_equal_layers(config: PretrainedConfig, adapter: dict[str, Any] | None) -> bool:
    decoder = getattr(config, "num_decoder_layers", None)
    return decoder in (None, config.num_hidden_layers) and not (adapter or {}).keys() - _SAME_IN_EVERY_LAYER


def _with_layers(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    shallow = copy.deepcopy(config)
    for name in ("num_hidden_layers", "num_decoder_layers"):
        if getattr(shallow, name, None) is not None:
            setattr(shallow, name, layers)
    # transformers' Llama adds a list with an entry for each layer to its config.
    if getattr(shallow, "layer_types", None):
        shallow.layer_types = shallow.layer_types[:layers]
    return shallow


def _estimate(counts: Mapping[str, int]) -> Estimate:
    load, train, generate = (
        max((value for name, value in counts.items() if name.startswith(f"{phase} ")), default=0)
        for phase in (_LOAD, _TRAIN, _GENERATE)
    )
    return Estimate(
        trainable_parameters=counts["trainable"],
        total_parameters=counts["total"],
        load_peak_bytes=load,
        train_peak_bytes=train + CUBLAS_WORKSPACE_BYTES if train else 0,
        generate_peak_bytes=generate + CUBLAS_WORKSPACE_BYTES,
    )


def _counts(
    cell: CellConfig, config: PretrainedConfig, adapter: PeftConfig | None, compute: Compute, write: _Generate
) -> dict[str, int]:
    """Parameters, and the peak bytes of each segment, by name."""
    skeleton = on_meta_device(cell.model, config)
    with fake_tensors() as counter:
        counter.begin(f"{_LOAD} ")
        model = attach(load(cell, skeleton, compute), cell.method.kind, copy.deepcopy(adapter), seed=0)
        sizes = count(model)
        if sizes.trainable:
            _train(cell, model, _trained_limits(cell, config, virtual_tokens(adapter)), compute, counter)
        counter.begin(f"{_GENERATE} ")
        base = base_of(model)
        base.eval()
        write(base, lambda name: counter.begin(f"{_GENERATE} {name}"))
    return {"trainable": sizes.trainable, "total": sizes.total, **counter.peaks}


def _train(cell: CellConfig, model: Model, dataset: DatasetConfig, compute: Compute, counter: LiveBytes) -> None:
    if cell.training.gradient_checkpointing:
        recompute_activations(model)
    # A micro-batch of a single sample has no padding. transformers reads that from the mask, and drops the mask.
    counter.value_read_by_python = int(cell.training.micro_batch_size == 1)
    # The side of the padding does not change the memory.
    settings = replace(cell.training, memory=MemoryPolicy.paper) if cell.conventions.left_padding else cell.training
    training.take_step(model, settings, dataset, compute, lambda name: counter.begin(f"{_TRAIN} {name}"))
    counter.value_read_by_python = 0


def _trained_limits(cell: CellConfig, config: PretrainedConfig, virtual: int) -> DatasetConfig:
    """The limits that the longest training sample fills, with its examples if it has any."""
    if not cell.method.train_with_examples:
        return cell.dataset
    longest = _longest_prompt(cell, config, virtual, answer_tokens=cell.dataset.max_target_tokens)
    return replace(cell.dataset, max_prompt_tokens=longest)


def _longest_prompt(cell: CellConfig, config: PretrainedConfig, virtual: int, answer_tokens: int) -> int:
    """Tokens of a prompt that fills the limits, with as many of its examples as the positions allow."""
    example = cell.dataset.max_prompt_tokens + cell.dataset.max_target_tokens
    prompt = cell.dataset.max_prompt_tokens + cell.method.num_examples * example
    positions = FAMILIES[cell.model.family].positions(config)
    return prompt if positions is None else min(prompt, positions - virtual - answer_tokens)


def _generator(cell: CellConfig, config: PretrainedConfig, virtual: int, compute: Compute) -> _Generate:
    """Return a function that generates for a batch of prompts that fill the limits, examples included."""
    # Made with all layers of the config, because their number decides how many prompts a batch has.
    dataset, settings = cell.dataset, cell.limited_generation
    prompt = _longest_prompt(cell, config, virtual, answer_tokens=dataset.max_new_tokens)
    needs = Needs.of(config, settings, dataset.max_new_tokens, compute.dtype.itemsize)
    return partial(
        generation.write,
        prompts=settings.batch_size or needs.fitting(prompt + virtual, settings.cache_gb * 1e9),
        prompt_tokens=prompt + virtual,
        new_tokens=dataset.max_new_tokens,
        sequences=settings.sequences,
        compute=compute,
    )
