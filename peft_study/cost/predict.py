"""Predict the parameters and the peak memory of a cell from its settings, by a replay on tensors without data."""

import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peft import PeftConfig
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from peft_study.config.schema import Attention, CellConfig, Device, MemoryPolicy, ModelConfig, Optimizer, Precision
from peft_study.config.sources import EMBEDDED_SOURCE
from peft_study.cost.forecast import Estimate
from peft_study.errors import UserError
from peft_study.models import tiny
from peft_study.models.adapter import adapter_config
from peft_study.models.families import FAMILIES
from peft_study.models.fit import absent_bytes
from peft_study.models.precision import DTYPES
from peft_study.models.random_weights import on_meta_device
from peft_study.results.cache import cache_folder
from peft_study.results.store import write_atomically

REPLAY_VERSION = 4
"""Increase this number when the replay, or the code that it replays, changes. Older stored predictions are ignored."""
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")
logger = logging.getLogger(__name__)


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
    adapter = _adapter(cell)  # outside the replay, so that a wrong setting is reported to the user
    key = _key(cell, skeleton.config)
    if key not in _predicted:
        _predicted[key] = _stored_or_replayed(cell, skeleton.config, adapter, key)
    predicted = _predicted[key]
    return _divided(predicted, cell, skeleton) if predicted and cell.hardware.shard_weights else predicted


_predicted: dict[str, Estimate | None] = {}


def _stored_or_replayed(
    cell: CellConfig, config: PretrainedConfig, adapter: PeftConfig | None, key: str
) -> Estimate | None:
    predicted = _stored(key)
    if predicted is not None:
        return predicted
    # The import takes seconds, and a stored prediction needs no replay.
    from peft_study.cost.replay.peaks import replay as replay_cell

    try:
        predicted = replay_cell(cell, config, adapter, _precision(cell))
    except Exception as error:  # a failed prediction must not end a cell or a plan
        reason = error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        logger.warning("the memory of %s on %s cannot be predicted: %s", cell.method.name, cell.model.name, reason)
        logger.debug("the replay failed", exc_info=True)
        # A failure is not stored: it may come from this machine, and a plan should say its reason each time.
        return None
    _store(key, predicted)
    return predicted


def _stored(key: str) -> Estimate | None:
    """Read a prediction from the user's cache folder; None if these versions stored none that can be read."""
    file = _cache_file(key)
    try:
        record = json.loads(file.read_text(encoding="utf-8")) if file else {}
        return Estimate(**record["values"]) if record["made_by"] == _made_by() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store(key: str, predicted: Estimate) -> None:
    file = _cache_file(key)
    if file is None:
        return
    # A full or read-only home folder costs time at the next run, and nothing else.
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        # The cells of a sweep write side by side.
        write_atomically(file, json.dumps({"made_by": _made_by(), "values": asdict(predicted)}) + "\n")


def _cache_file(key: str) -> Path | None:
    folder = cache_folder("memory")
    return None if folder is None else folder / f"{key}.json"


def _made_by() -> str:
    return "-".join((str(REPLAY_VERSION), *(f"{name}{version(name)}" for name in LIBRARIES)))


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
    return adapter_config(method, FAMILIES[cell.model.family], "")


def _key(cell: CellConfig, config: PretrainedConfig) -> str:
    """A hash of the settings that decide the replay, and of no others."""
    method, dataset, generation, training = cell.method, cell.dataset, cell.limited_generation, cell.training
    padded = training.memory is MemoryPolicy.paper or cell.conventions.left_padding
    # Later settings are left out while they have their default, so that stored predictions keep their keys.
    optimizer = [] if training.optimizer is Optimizer.adafactor else [training.optimizer]
    decisive: dict[str, Any] = {
        "architecture": config.to_dict(),
        "quantization": asdict(cell.quantization),
        "precision": _precision(cell),
        "method": [method.kind, method.targets, _without_text(method.adapter), method.num_examples],
        "limits": [dataset.max_prompt_tokens, dataset.max_target_tokens, dataset.max_new_tokens],
        "training": [],
        "generation": [generation.sequences, generation.batch_size, generation.cache_gb],
    }
    if method.trains:
        division = [training.batch_size, training.micro_batch_size, training.gradient_checkpointing]
        decisive["training"] = [*division, padded, *optimizer]
    if method.train_with_examples:
        decisive["train_with_examples"] = True
    if cell.model.attention is not Attention.auto:
        decisive["attention"] = cell.model.attention
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
    others = {name: value for name, value in adapter.items() if not name.startswith("prompt_tuning_init")}
    return others | {"prompt_tuning_init": "RANDOM"}


def _precision(cell: CellConfig) -> Precision:
    # fp16, which `auto` means on older GPUs, takes the same bytes as bf16.
    precision = cell.training.precision
    if precision is not Precision.auto:
        return precision
    return Precision.fp32 if cell.hardware.device is Device.cpu else Precision.bf16
