"""Check that a model's weights fit this machine before anything is downloaded or built."""

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from peft_study.config.schema import MethodKind, ModelConfig, QuantizationConfig, Weights
from peft_study.errors import UserError
from peft_study.models.compat import layers_of
from peft_study.models.precision import Compute, bytes_per_weight
from peft_study.models.random_weights import on_meta_device
from peft_study.results.limits import free_host_bytes

GB = 1e9
_WHOLE_LAYERS = 2


def check_fit(
    model: ModelConfig,
    config: PretrainedConfig | None,
    quantization: QuantizationConfig,
    kind: MethodKind,
    compute: Compute,
    budget_bytes: int | None,
    ranks: int = 1,
) -> None:
    """Refuse a model whose weights alone exceed the free memory. Training needs more than its weights.

    Args:
        model: settings of the model.
        config: config of the weights. Without it, or without a vocabulary size, nothing is checked.
        quantization: how the base is stored.
        kind: full fine-tuning stores fp32 weights and their gradients.
        compute: device and number format.
        budget_bytes: GPU memory that a cell may use; None for all free memory.
        ranks: number of GPUs that divide the frozen weights of the layers.

    Raises:
        UserError: the weights do not fit.
    """
    if config is None or (model.weights is Weights.random and "vocab_size" not in model.architecture):
        return
    skeleton = on_meta_device(model, config)
    storage = compute.storage(kind)
    needed = weight_bytes(skeleton, quantization, storage) - absent_bytes(skeleton, quantization, storage, ranks)
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
    return sum(_parameter_bytes(model, quantization, storage).values())


def absent_bytes(model: PreTrainedModel, quantization: QuantizationConfig, storage: torch.dtype, ranks: int) -> float:
    """Bytes of a model's weights that a GPU does not hold if several GPUs divide the weights of the layers.

    Args:
        model: on any device, the meta device included.
        quantization: how linear layers are stored.
        storage: type of all other weights.
        ranks: number of GPUs.
    """
    parameter_bytes = _parameter_bytes(model, quantization, storage)
    layers = [sum(parameter_bytes[id(weight)] for weight in layer.parameters()) for layer in layers_of(model)]
    # The layer that computes is whole, and the next one may be gathered meanwhile.
    divided = sum(sorted(layers)[:-_WHOLE_LAYERS])
    return divided * (ranks - 1) / ranks


def _parameter_bytes(
    model: PreTrainedModel, quantization: QuantizationConfig, storage: torch.dtype
) -> dict[int, float]:
    """Bytes of each parameter, by its `id`."""
    sizes = {id(parameter): float(parameter.numel() * storage.itemsize) for parameter in model.parameters()}
    quantised_bytes = bytes_per_weight(quantization)
    if quantised_bytes is not None:
        # Of CodeLlama-7B's 6,738 million weights, the 262 million of the embeddings and the head stay in 16 bits.
        head = model.get_output_embeddings()
        for layer in model.modules():
            if isinstance(layer, nn.Linear) and layer is not head:
                sizes[id(layer.weight)] = layer.weight.numel() * quantised_bytes
    return sizes


def _available_bytes(device: torch.device, budget_bytes: int | None) -> float:
    if device.type == "cpu":
        return free_host_bytes()
    free, _ = torch.cuda.mem_get_info(device)
    return float(free if budget_bytes is None else min(free, budget_bytes))
