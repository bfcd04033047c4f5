"""Predict the parameters and the peak memory of a cell from its settings, by a replay on tensors without data."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from peft import PeftConfig
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from peft_study.config.schema import (
    Attention,
    CellConfig,
    Device,
    Family,
    MemoryPolicy,
    ModelConfig,
    Optimizer,
    Precision,
)
from peft_study.config.sources import EMBEDDED_SOURCE
from peft_study.cost.stored import StoredValues
from peft_study.errors import UserError
from peft_study.models import tiny
from peft_study.models.adapter import adapter_config
from peft_study.models.families import FAMILIES
from peft_study.models.fit import absent_bytes
from peft_study.models.precision import DTYPES
from peft_study.models.random_weights import on_meta_device

REPLAY_VERSION = 4
"""Increase this number when the replay, or the code that it replays, changes. Older stored predictions are ignored."""
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")
CUDA_CONTEXT_BYTES = 450_000_000
"""GPU memory of a process outside torch's allocator: CUDA's context and kernels, about 0.4 GB on an A5000."""
# The allocations themselves are predicted closely: for a packed batch on an H100 with a median error of 0.8 %, and at
# most 8.8 % (CodeT5+ 220M, docs/performance-log.md).
FRAGMENTATION = 0.03
"""Bytes that the caching allocator reserves in addition, as a share of the allocated bytes; a rule of thumb."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimate:
    """The predicted parameters and peak memory of a cell.

    Peaks count the bytes that torch's allocator hands out, as `torch.cuda.max_memory_allocated` reports them.

    Attributes:
        trainable_parameters: exact number, counted on a model without data.
        total_parameters: exact number, the adapter included.
        load_peak_bytes: peak while the model is loaded.
        train_peak_bytes: peak of an optimizer step or an evaluation with samples that fill the data set's limits; 0 if
            nothing is trained.
        generate_peak_bytes: peak of a batch with prompts and candidates that fill the limits.
    """

    trainable_parameters: int
    total_parameters: int
    load_peak_bytes: int
    train_peak_bytes: int
    generate_peak_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The largest peak of the three phases."""
        return max(self.load_peak_bytes, self.train_peak_bytes, self.generate_peak_bytes)

    @property
    def overhead_bytes(self) -> int:
        """GPU memory in addition to `peak_bytes`, by a rule of thumb: CUDA's context and fragmentation."""
        return CUDA_CONTEXT_BYTES + round(FRAGMENTATION * self.peak_bytes)


def estimate(cell: CellConfig) -> Estimate | None:
    """Predict a cell's parameters and peak memory without its weights and without a network.

    Args:
        cell: the typed config. `precision: auto` counts as bf16, and as fp32 on a CPU.

    Returns:
        None if the config does not state the architecture, or if the replay fails, for instance because peft cannot
        build the adapter without weights.

    Raises:
        UserError: peft does not accept the adapter's settings.
    """
    skeleton = _skeleton(_as_json(asdict(cell.model)))
    if skeleton is None:
        return None
    _adapter(cell)  # outside the replay, so that a wrong setting is reported to the user
    key = _key(cell, skeleton.config)
    if key not in _predicted:
        _predicted[key] = _stored_or_replayed(cell, skeleton.config, key)
    predicted = _predicted[key]
    return _divided(predicted, cell, skeleton) if predicted and cell.hardware.shard_weights else predicted


_predicted: dict[str, Estimate | None] = {}


def _stored_or_replayed(cell: CellConfig, config: PretrainedConfig, key: str) -> Estimate | None:
    stored = StoredValues("memory", "-".join((str(REPLAY_VERSION), *(f"{name}{version(name)}" for name in LIBRARIES))))
    values = stored.read(key)
    if values is not None and values.keys() == {spec.name for spec in fields(Estimate)}:
        return Estimate(**values)
    predicted = _replayed(cell, config)
    # A failure is not stored: it may come from this machine, and a plan should say its reason each time.
    if predicted is not None:
        stored.write(key, asdict(predicted))
    return predicted


def _replayed(cell: CellConfig, config: PretrainedConfig) -> Estimate | None:
    # The import takes seconds, and a stored prediction needs no replay.
    from peft_study.cost.replay.peaks import replay as replay_cell

    try:
        peaks = replay_cell(cell, config, _adapter(cell), _precision(cell))
    except Exception as error:  # a failed prediction must not end a cell or a plan
        reason = error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        logger.warning("the memory of %s on %s cannot be predicted: %s", cell.method.name, cell.model.name, reason)
        logger.debug("the replay failed", exc_info=True)
        return None
    return Estimate(
        peaks.trainable_parameters, peaks.total_parameters, peaks.load_bytes, peaks.train_bytes, peaks.generate_bytes
    )


def _divided(predicted: Estimate, cell: CellConfig, skeleton: PreTrainedModel) -> Estimate:
    """The estimate for each of several GPUs that divide the weights of the layers."""
    absent = round(absent_bytes(skeleton, cell.quantization, DTYPES[_precision(cell)], cell.hardware.gpus_per_cell))
    return replace(
        predicted,
        load_peak_bytes=predicted.load_peak_bytes - absent,
        train_peak_bytes=max(0, predicted.train_peak_bytes - absent),
        generate_peak_bytes=predicted.generate_peak_bytes - absent,
    )


def _adapter(cell: CellConfig) -> PeftConfig | None:
    method = replace(cell.method, adapter=_without_text(cell.method.adapter))
    return adapter_config(method, FAMILIES[Family(cell.model.family)], "")


def _key(cell: CellConfig, config: PretrainedConfig) -> str:
    """A hash of the settings that decide the replay, and of no others."""
    method, dataset, generation, training = cell.method, cell.dataset, cell.limited_generation, cell.training
    padded = training.memory is MemoryPolicy.paper or cell.conventions.left_padding
    # Later settings are left out while they have their default, so that stored predictions keep their keys.
    optimizer = [] if training.optimizer is Optimizer.adafactor else [training.optimizer]
    decisive = {
        "architecture": config.to_dict(),
        "quantization": asdict(cell.quantization),
        "precision": _precision(cell),
        "method": [method.kind, method.targets, _without_text(method.adapter), method.num_examples],
        "limits": [dataset.max_prompt_tokens, dataset.max_target_tokens, dataset.max_new_tokens],
        "training": [
            training.batch_size,
            training.micro_batch_size,
            training.gradient_checkpointing,
            padded,
            *optimizer,
        ]
        if method.trains
        else [],
        **({"train_with_examples": True} if method.train_with_examples else {}),
        **({} if cell.model.attention is Attention.auto else {"attention": cell.model.attention}),
        "generation": [generation.sequences, generation.batch_size, generation.cache_gb],
    }
    return hashlib.sha256(_as_json(decisive).encode()).hexdigest()[:32]


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


# The cells of a sweep share a few models.
@lru_cache(maxsize=32)
def _skeleton(key: str) -> PreTrainedModel | None:
    """A model on the meta device; None if the settings do not state its architecture."""
    model = ModelConfig(**json.loads(key))
    if model.source and model.source.startswith(EMBEDDED_SOURCE):
        folder = tiny.FOLDER / model.source.removeprefix(EMBEDDED_SOURCE)
        return on_meta_device(model, AutoConfig.from_pretrained(folder, trust_remote_code=False))
    return on_meta_device(model) if "vocab_size" in model.architecture else None


def _without_text(adapter: dict[str, Any] | None) -> dict[str, Any] | None:
    """An adapter whose virtual tokens start at random. An initial text changes no size, but needs a tokenizer."""
    if not adapter or "prompt_tuning_init" not in adapter:
        return adapter
    kept = {name: value for name, value in adapter.items() if not name.startswith("prompt_tuning_init")}
    return kept | {"prompt_tuning_init": "RANDOM"}


def _precision(cell: CellConfig) -> Precision:
    # fp16, which `auto` means on older GPUs, takes the same bytes as bf16.
    precision = cell.training.precision
    if precision is not Precision.auto:
        return precision
    return Precision.fp32 if cell.hardware.device is Device.cpu else Precision.bf16
