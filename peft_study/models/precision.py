"""Number formats in which a cell computes and stores its weights, those of a quantised base included."""

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from transformers import BitsAndBytesConfig

from peft_study.config.schema import Device, MethodKind, Precision, QuantizationConfig
from peft_study.errors import UserError

DTYPES = {Precision.fp32: torch.float32, Precision.bf16: torch.bfloat16, Precision.fp16: torch.float16}


@dataclass(frozen=True)
class Compute:
    """Where and in which number format a cell computes.

    Attributes:
        device: a torch device.
        precision: fp32, bf16 or fp16; never auto.
    """

    device: torch.device
    precision: Precision

    @property
    def dtype(self) -> torch.dtype:
        """The torch type of `precision`."""
        return DTYPES[self.precision]

    def storage(self, kind: MethodKind) -> torch.dtype:
        """The type in which the base's weights are stored.

        Trained weights stay in fp32, because a 16-bit weight would lose an update of 5e-5 by rounding.
        """
        return torch.float32 if kind is MethodKind.full else self.dtype

    def autocast(self, *, keep_casts: bool = True) -> AbstractContextManager[object]:
        """The autocast context of training and generation; it changes nothing in fp32.

        Args:
            keep_casts: keep 16-bit copies of fp32 weights until the context ends. Generation reads a weight at every
                token, so that copies save time. A training step reads it once, so that copies only take memory.
        """
        # What the copies take: codet5p-770m in docs/performance-log.md.
        if self.precision is Precision.fp32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype, cache_enabled=keep_casts)


def choose(device: Device, precision: Precision) -> Compute:
    """Resolve `auto` for this machine.

    `auto` is bf16 on a GPU that supports it, fp16 on other GPUs, and fp32 on a CPU.

    Args:
        device: the requested device; `auto` takes a GPU if one is visible.
        precision: the requested number format.

    Raises:
        UserError: no GPU is visible although one is requested, or the device does not support the number format.
    """
    has_gpu = torch.cuda.is_available()
    if device is Device.cuda and not has_gpu:
        raise UserError(
            "no CUDA device is visible", where="hardware.device=cuda", hint="hardware=auto, or check nvidia-smi"
        )
    on_cpu = device is Device.cpu or not has_gpu
    # By default torch also counts GPUs that only emulate bf16.
    has_bf16 = on_cpu or torch.cuda.is_bf16_supported(including_emulation=False)
    half = Precision.bf16 if has_bf16 else Precision.fp16
    if precision is Precision.auto:
        precision = Precision.fp32 if on_cpu else half
    if (precision is Precision.fp16 and on_cpu) or (precision is Precision.bf16 and not has_bf16):
        raise UserError(
            f"training.precision must be auto, fp32 or {half} on {'a CPU' if on_cpu else 'this GPU'}, got {precision}",
            where="training.precision",
            hint="training.precision=auto",
        )
    return Compute(torch.device("cpu") if on_cpu else torch.device("cuda", torch.cuda.current_device()), precision)


def bitsandbytes_config(quantization: QuantizationConfig, compute: Compute) -> BitsAndBytesConfig | None:
    """The settings with which transformers quantises a base during loading; None without quantisation."""
    if quantization.bits is None:
        return None
    if quantization.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    # `auto` follows `training.precision`. The study's package computes in fp16 (docs/differences.md).
    precision = quantization.compute_dtype
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.quant_type,
        bnb_4bit_use_double_quant=quantization.double_quantization,
        bnb_4bit_compute_dtype=compute.dtype if precision is Precision.auto else DTYPES[precision],
    )


def bytes_per_weight(quantization: QuantizationConfig) -> float | None:
    """Stored bytes of one quantised weight, scales included; None without quantisation.

    - 8 bits: one byte, and a 32-bit scale for each row, which is negligible.
    - 4 bits: half a byte, and a 32-bit scale for each block of 64 weights.
    - 4 bits with double quantisation: the scales have 8 bits, plus 32 bits for each 256 blocks (arXiv 2305.14314,
      section 3).
    """
    if quantization.bits is None:
        return None
    if quantization.bits == 8:
        return 1.0
    scale_bits = 8 / 64 + 32 / (64 * 256) if quantization.double_quantization else 32 / 64
    return (4 + scale_bits) / 8
