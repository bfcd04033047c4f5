"""Quantised bases: the settings of bitsandbytes and the bytes of a stored weight."""

from transformers import BitsAndBytesConfig

from peft_study.config.schema import Precision, QuantizationConfig
from peft_study.models.precision import DTYPES, Compute


def bitsandbytes_config(quantization: QuantizationConfig, compute: Compute) -> BitsAndBytesConfig | None:
    """The settings with which transformers quantises a base during loading; None without quantisation."""
    if quantization.bits is None:
        return None
    if quantization.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    # `auto` follows `training.precision`. The study's package computes in fp16 (docs/differences.md).
    chosen = quantization.compute_dtype
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.quant_type,
        bnb_4bit_use_double_quant=quantization.double_quantization,
        bnb_4bit_compute_dtype=compute.dtype if chosen is Precision.auto else DTYPES[chosen],
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
