"""Check that a model's weights fit this machine before anything is downloaded or built."""

import psutil
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from peft_study.config.schema import MethodKind, ModelConfig, QuantizationConfig, Weights
from peft_study.errors import UserError
from peft_study.models.precision import Compute
from peft_study.models.quantization import bytes_per_weight
from peft_study.models.random_weights import on_meta_device

GB = 1e9


def check_fit(
    model: ModelConfig,
    config: PretrainedConfig | None,
    quantization: QuantizationConfig,
    kind: MethodKind,
    compute: Compute,
    budget_bytes: int | None,
) -> None:
    """Refuse a model whose weights alone exceed the free memory. Training needs more than its weights.

    Args:
        model: settings of the model.
        config: config of the weights. Without it, or without a vocabulary size, nothing is checked.
        quantization: how the base is stored.
        kind: full fine-tuning stores fp32 weights and their gradients.
        compute: device and number format.
        budget_bytes: GPU memory that a cell may use; None for all free memory.

    Raises:
        UserError: the weights do not fit.
    """
    if config is None or (model.weights is Weights.random and "vocab_size" not in model.architecture):
        return
    skeleton = on_meta_device(model, config)
    needed = weight_bytes(skeleton, quantization, compute.storage(kind))
    # A lower bound: activations and the optimizer's state come on top, and `cost.predict` counts them.
    if kind is MethodKind.full:
        needed *= 2
    available = _available_bytes(compute.device, budget_bytes)
    if needed > available:
        raise UserError(
            f"{model.name} does not fit: its weights{' and gradients' if kind is MethodKind.full else ''} take "
            f"{needed / GB:.1f} GB, and this {compute.device.type.upper()} has {available / GB:.1f} GB free",
            where="model, quantization, hardware",
            hint="quantization=nf4 (4 bits a weight), a smaller model (model=tiny-llama runs anywhere), or more memory",
        )


def weight_bytes(model: PreTrainedModel, quantization: QuantizationConfig, storage: torch.dtype) -> float:
    """Bytes of a model's stored weights.

    Args:
        model: on any device, the meta device included.
        quantization: how linear layers are stored. transformers does not quantise the output head.
        storage: type of all other weights.
    """
    # Of CodeLlama-7B's 6,738 million weights, the 262 million of the embeddings and the head stay in 16 bits.
    quantised = bytes_per_weight(quantization)
    head = model.get_output_embeddings()
    packed = {
        id(layer.weight)
        for layer in model.modules()
        if quantised is not None and isinstance(layer, nn.Linear) and layer is not head
    }
    return sum(
        parameter.numel() * (quantised if quantised is not None and id(parameter) in packed else storage.itemsize)
        for parameter in model.parameters()
    )


def _available_bytes(device: torch.device, budget_bytes: int | None) -> float:
    if device.type == "cpu":
        return float(psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    return float(free if budget_bytes is None else min(free, budget_bytes))
