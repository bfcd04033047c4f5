"""What a cell will cost, from its settings alone: a first, analytic estimate.

It counts what must be there (weights, gradients, optimizer states, activations kept for the backward pass, logits, the
key-value cache) and nothing of what an allocator, a kernel's workspace or a fragmented memory add.
"""

import json
import logging
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from peft_study.config.schema import (
    CellConfig,
    Device,
    Family,
    MethodConfig,
    MethodKind,
    ModelConfig,
    Precision,
    Targets,
)
from peft_study.config.sources import EMBEDDED_SOURCE
from peft_study.errors import UserError
from peft_study.generation.decode import cache_bytes, fitting_batch
from peft_study.methods.attach import adapter_config, attach
from peft_study.models import tiny
from peft_study.models.families import FAMILIES
from peft_study.models.fit import weight_bytes
from peft_study.models.parameters import count
from peft_study.models.precision import DTYPES
from peft_study.models.random_weights import on_meta_device

GRADIENT_BYTES = 4
LOGIT_COPIES = 3
"""Logits in fp32 with their softmax and gradient, or with the scores of a beam search's sorting."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimate:
    """What a cell takes.

    Attributes:
        trainable_parameters: exact, counted on a model without weights.
        total_parameters: likewise, the adapter included.
        train_peak_bytes: 0 where nothing is trained.
        generate_peak_bytes: of beam search.
    """

    trainable_parameters: int
    total_parameters: int
    train_peak_bytes: int
    generate_peak_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The larger of the two."""
        return max(self.train_peak_bytes, self.generate_peak_bytes)


@dataclass(frozen=True)
class _Trained:
    """What a method trains on a model."""

    trainable: int
    total: int
    state_bytes: int


def estimate(cell: CellConfig) -> Estimate | None:
    """Estimate a cell's parameters and peak memory without its weights and without a network.

    Args:
        cell: the typed config; automatic precision counts as 16 bits, but for the CPU.

    Returns:
        None where the architecture is not in the config (its folder or the hub alone states it), or where the estimate
        fails, for instance because peft cannot build the adapter without weights.

    Raises:
        UserError: peft does not take the adapter's settings.
    """
    try:
        return _estimate(cell)
    except UserError:
        raise
    except Exception:  # a failed estimate must not end a cell or a plan
        logger.warning("the memory of %s on %s cannot be estimated", cell.method.name, cell.model.name, exc_info=True)
        return None


def _estimate(cell: CellConfig) -> Estimate | None:
    model, method = _as_key(cell.model), _as_key(_what_trains(cell.method))
    skeleton = _skeleton(model)
    if skeleton is None:
        return None
    trained = _trained(model, method)
    if trained is None:
        return None
    dtype = _dtype(cell)
    full = cell.method.kind is MethodKind.full
    weights = weight_bytes(skeleton, cell.quantization, torch.float32 if full else dtype)
    if not full:
        weights += trained.trainable * torch.float32.itemsize
    train = 0.0
    if trained.trainable:
        # Autocast keeps a 16-bit copy of the weights that it casts.
        copies = trained.trainable * dtype.itemsize if dtype is not torch.float32 else 0
        gradients = trained.trainable * GRADIENT_BYTES
        train = weights + gradients + trained.state_bytes + copies + _activation_bytes(skeleton, cell, dtype)
    generate = weights + _generation_bytes(skeleton.config, cell, dtype)
    return Estimate(trained.trainable, trained.total, round(train), round(generate))


def _as_key(settings: ModelConfig | MethodConfig) -> str:
    return json.dumps(asdict(settings), sort_keys=True)


@lru_cache(maxsize=32)
def _skeleton(key: str) -> PreTrainedModel | None:
    model = ModelConfig(**json.loads(key))
    if model.source and model.source.startswith(EMBEDDED_SOURCE):
        folder = tiny.FOLDER / model.source.removeprefix(EMBEDDED_SOURCE)
        return on_meta_device(model, AutoConfig.from_pretrained(folder, trust_remote_code=False))
    return on_meta_device(model) if "vocab_size" in model.architecture else None


@lru_cache(maxsize=256)
def _trained(model_key: str, method_key: str) -> _Trained | None:
    model, method = ModelConfig(**json.loads(model_key)), MethodConfig(**json.loads(method_key))
    family = FAMILIES[Family(model.family)]
    skeleton = _skeleton.__wrapped__(model_key)  # a fresh one: an adapter is put into it
    assert skeleton is not None
    kind = MethodKind(method.kind)
    method.kind, method.targets = kind, Targets(method.targets)
    adapter = adapter_config(method, family, "")
    try:
        with torch.device("meta"):
            attached = attach(skeleton, kind, adapter, seed=0)
    except UserError as error:
        # Some adapters look at the weights while they are attached (BOFT, SHiRA); with weights they may well work.
        logger.info("%s on %s has no estimate: %s", method.name, model.name, error.what)
        return None
    counts = count(attached)
    return _Trained(counts.trainable, counts.total, _adafactor_bytes(attached))


def _what_trains(method: MethodConfig) -> MethodConfig:
    """The method but for what changes no count; a text that virtual tokens start from would need a tokenizer."""
    adapter: dict[str, Any] | None = method.adapter
    if adapter and "prompt_tuning_init" in adapter:
        adapter = {key: value for key, value in adapter.items() if not key.startswith("prompt_tuning_init")}
        adapter["prompt_tuning_init"] = "RANDOM"
    return MethodConfig(method.name, method.kind, targets=method.targets, adapter=adapter)


def _dtype(cell: CellConfig) -> torch.dtype:
    precision = cell.training.precision
    if precision is Precision.auto:
        precision = Precision.fp32 if cell.hardware.device is Device.cpu else Precision.bf16
    return DTYPES[precision]


def _activation_bytes(skeleton: PreTrainedModel, cell: CellConfig, dtype: torch.dtype) -> float:
    """Bytes kept for the backward pass: what goes into and comes out of each linear layer, and the logits."""
    longest = cell.dataset.max_prompt_tokens + cell.dataset.max_target_tokens
    tokens = cell.training.micro_batch_size * longest
    head = skeleton.get_output_embeddings()
    layers = [layer for layer in skeleton.modules() if isinstance(layer, nn.Linear) and layer is not head]
    values: float = sum(layer.in_features + layer.out_features for layer in layers)
    config: Any = skeleton.config
    if cell.training.gradient_checkpointing:
        blocks = int(config.num_hidden_layers) + int(getattr(config, "num_decoder_layers", 0) or 0)
        values = blocks * int(config.hidden_size) + values / blocks
    logits = int(config.vocab_size) * torch.float32.itemsize * LOGIT_COPIES
    return tokens * (values * dtype.itemsize + logits)


def _adafactor_bytes(model: nn.Module) -> int:
    """Adafactor's second moments: a row and a column of a matrix, all of a vector (arXiv 1804.04235, section 3)."""
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    return sum(
        (sum(parameter.shape[-2:]) if parameter.ndim >= 2 else parameter.numel()) * torch.float32.itemsize
        for parameter in trained
    )


def _generation_bytes(config: PretrainedConfig, cell: CellConfig, dtype: torch.dtype) -> float:
    """Bytes of the key-value cache and of the beams' scores."""
    beams, dataset = cell.generation.sequences, cell.dataset
    tokens = dataset.max_prompt_tokens * (1 + cell.method.num_examples) + dataset.max_new_tokens
    batch = cell.generation.batch_size or fitting_batch(config, tokens, beams, dtype.itemsize, cell.generation.cache_gb)
    scores = beams * int(config.vocab_size) * torch.float32.itemsize * LOGIT_COPIES
    return float(batch * (cache_bytes(config, tokens, beams, dtype.itemsize) + scores))
