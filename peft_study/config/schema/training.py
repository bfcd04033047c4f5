"""Fine-tuning."""

from dataclasses import dataclass
from enum import StrEnum


class Precision(StrEnum):
    """Number format of training and generation; `auto` asks the device."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class MemoryPolicy(StrEnum):
    """How micro-batch and gradient checkpointing are chosen, which does not change the result.

    Attributes:
        auto: the fastest choice that fits the memory budget, by the prediction.
        fast: the whole batch at once, nothing recomputed.
        small: one sample at a time, activations recomputed; in generation few prompts at once.
        paper: the whole batch at once, as the study's authors trained.
    """

    auto = "auto"
    fast = "fast"
    small = "small"
    paper = "paper"


class Optimizer(StrEnum):
    """The optimizer.

    Attributes:
        adafactor: as the study; factored second moments, no first moment.
        adamw: two moments of 32 bits for each trained parameter.
        adamw_8bit: two moments of 8 bits, by bitsandbytes.
        paged_adamw: as `adamw`, with moments that move to the host's memory if the GPU's is short.
        paged_adamw_8bit: as `adamw_8bit`, paged likewise.
    """

    adafactor = "adafactor"
    adamw = "adamw"
    adamw_8bit = "adamw_8bit"
    paged_adamw = "paged_adamw"
    paged_adamw_8bit = "paged_adamw_8bit"


class RateSchedule(StrEnum):
    """The learning rate behind the warm-up.

    Attributes:
        linear: falls to 0 at the last step, as in the study.
        cosine: falls to 0 along half a cosine.
        constant: stays.
    """

    linear = "linear"
    cosine = "cosine"
    constant = "constant"


@dataclass
class TrainingConfig:
    """Fine-tuning.

    Attributes:
        epochs: passes over the training split; a fraction is allowed.
        batch_size: samples per optimizer step.
        memory: how to choose the micro-batch and gradient checkpointing, unless one of them differs from its default.
        micro_batch_size: samples per forward pass; must divide `batch_size`. Gradients are accumulated.
        optimizer: the optimizer.
        weight_decay: decoupled decay of the trained parameters; Adafactor's and AdamW's both follow arXiv 1711.05101.
        schedule: the learning rate behind the warm-up.
        warmup_fraction: share of the steps during which the learning rate rises.
        evaluations_per_epoch: validation losses per epoch.
        max_grad_norm: norm at which gradients are clipped.
        precision: number format.
        gradient_checkpointing: recompute activations instead of storing them.
    """

    # The defaults are the paper's.
    epochs: float = 5.0
    batch_size: int = 8
    micro_batch_size: int = 8
    warmup_fraction: float = 0.05
    evaluations_per_epoch: int = 5  # the paper evaluates every 0.2 epoch
    max_grad_norm: float = 1.0  # transformers' default
    precision: Precision = Precision.auto  # bf16 if the GPU supports it; the paper says "16 bit"
    gradient_checkpointing: bool = False
    # Later settings stand last and keep the former behaviour, so that cells keep their identity.
    memory: MemoryPolicy = MemoryPolicy.auto
    optimizer: Optimizer = Optimizer.adafactor
    weight_decay: float = 0.0
    schedule: RateSchedule = RateSchedule.linear

    @property
    def division_is_set(self) -> bool:
        """Whether micro-batch or checkpointing differ from their defaults, so that they override `memory`."""
        default = TrainingConfig()
        chosen = (self.micro_batch_size, self.gradient_checkpointing)
        return chosen != (default.micro_batch_size, default.gradient_checkpointing)

    @property
    def division_is_fixed(self) -> bool:
        """Whether the settings ask for one division of a batch, whatever the memory is."""
        return self.division_is_set or self.memory in (MemoryPolicy.fast, MemoryPolicy.paper)
