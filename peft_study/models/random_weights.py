"""Models with random weights, built from their architecture only."""

import inspect
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from peft_study.config.schema import ModelConfig
from peft_study.errors import UserError, near_names
from peft_study.models.compat import tied_names
from peft_study.models.families import FAMILIES

# Cells of every seed share the same base, so that a seed changes only what is trained on it.
WEIGHTS_SEED = 0
WEIGHTS_DEVIATION = 0.02
"""The usual standard deviation of a transformer's weights before training (transformers' `initializer_range`)."""


def architecture_config(model: ModelConfig, defaults: Mapping[str, Any] | None = None) -> PretrainedConfig:
    """The transformers config of a model's architecture.

    Args:
        model: settings whose `architecture` holds the arguments of the config.
        defaults: values of arguments that `architecture` does not set. Arguments that the config lacks are ignored.

    Raises:
        UserError: `architecture` sets an argument that the config lacks, or values that do not fit together.
    """
    model_type = FAMILIES[model.family].model_type
    # transformers would silently keep an argument that the config lacks.
    parameters = set(inspect.signature(type(AutoConfig.for_model(model_type)).__init__).parameters) - {"self"}
    # Generation reads this argument, and transformers accepts it in every config.
    parameters.add("decoder_start_token_id")
    for key in model.architecture:
        if key not in parameters:
            raise UserError(
                f"the {model.family} architecture has no setting {key!r}",
                where=f"conf/model/{model.name}.yaml, architecture.{key}",
                hint=near_names(key, parameters),
            )
    applicable = {key: value for key, value in (defaults or {}).items() if key in parameters}
    try:
        return AutoConfig.for_model(model_type, **{**applicable, **model.architecture})
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise _impossible(model, error) from error


def _impossible(model: ModelConfig, error: Exception) -> UserError:
    reason = " ".join(line.strip() for line in str(error).splitlines())
    if isinstance(error, KeyError):
        reason = f"it does not know {reason}"
    return UserError(
        f"transformers cannot build this {model.family} architecture: {reason}",
        where=f"conf/model/{model.name}.yaml, architecture",
        hint="check the sizes against each other",
    )


def on_meta_device(model: ModelConfig, config: PretrainedConfig | None = None) -> PreTrainedModel:
    """The model's layers without data: shapes and counts only.

    Args:
        model: gives the family and, without a config, the architecture.
        config: config of the model's source.

    Raises:
        UserError: transformers cannot build the architecture.
    """
    config = config or architecture_config(model)
    try:
        with torch.device("meta"):
            built: PreTrainedModel = FAMILIES[model.family].auto_class.from_config(config)
    except (ValueError, RuntimeError, ZeroDivisionError, AssertionError, KeyError) as error:
        raise _impossible(model, error) from error
    # As for a pretrained model, only our settings decide how to decode.
    built.generation_config = GenerationConfig()
    return built


def random_architecture(model: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The config of a model with random weights.

    Args:
        model: gives the architecture.
        tokenizer: gives the vocabulary size and the special tokens that the architecture does not set.
    """
    special = ("pad_token_id", "bos_token_id", "eos_token_id")
    defaults: dict[str, Any] = {"vocab_size": len(tokenizer), **{name: getattr(tokenizer, name) for name in special}}
    if FAMILIES[model.family].encoder_decoder:
        defaults["decoder_start_token_id"] = tokenizer.pad_token_id
    return architecture_config(model, {key: value for key, value in defaults.items() if value is not None})


def random_state(skeleton: PreTrainedModel, device: torch.device) -> dict[str, "RandomTensor"]:
    """Random weights of a model, each drawn when it is read. On the same kind of device they are always the same.

    A quantised model then never exists as a whole in 16 bits: transformers reads a tensor, quantises it, and reads the
    next.

    Args:
        skeleton: the model on the meta device.
        device: device on which the weights are drawn.
    """
    tied = tied_names(skeleton)
    return {
        name: RandomTensor(name, tuple(value.shape), device, _deviation(name, value, skeleton.config))
        for name, value in skeleton.state_dict().items()
        if name not in tied
    }


def _deviation(name: str, value: Tensor, config: PretrainedConfig) -> float:
    """The standard deviation of a weight before training.

    T5 does not scale its attention scores. It starts from embeddings of unit size and from weights that depend on the
    number of a layer's inputs (transformers' initialisation of T5, after Mesh TensorFlow).
    """
    if config.model_type != "t5" or value.ndim < 2:
        return WEIGHTS_DEVIATION
    if "shared" in name or "embed_tokens" in name:
        return 1.0
    inputs = config.d_model if "relative_attention_bias" in name else value.shape[1]
    return float((inputs * (config.d_kv if name.endswith(".q.weight") else 1)) ** -0.5)


class RandomTensor:
    """A tensor that is drawn when it is sliced, as a slice of a safetensors file is then read.

    Args:
        name: name of the weight, which seeds the values together with `WEIGHTS_SEED`. Norms are ones, biases zeros.
        shape: shape of the tensor.
        device: device on which it is drawn.
        deviation: standard deviation of the values.
    """

    dtype = torch.float32

    def __init__(self, name: str, shape: tuple[int, ...], device: torch.device, deviation: float) -> None:
        self._name, self.shape, self._device, self._deviation = name, shape, device, deviation

    def __getitem__(self, _everything: Any) -> Tensor:
        """Draw the tensor; it is always read as a whole."""
        if self._name.endswith("bias"):
            return torch.zeros(self.shape, device=self._device)
        if len(self.shape) < 2:
            return torch.ones(self.shape, device=self._device)
        # Python's own hash of a text differs between processes, and cells run in processes.
        generator = torch.Generator(self._device).manual_seed(WEIGHTS_SEED + crc32(self._name.encode()))
        return torch.randn(self.shape, generator=generator, device=self._device) * self._deviation
