"""How the base model is stored."""

from dataclasses import dataclass

from omegaconf import MISSING

from peft_study.config.schema.training import Precision


@dataclass
class QuantizationConfig:
    """How the frozen base is stored.

    Attributes:
        name: the config's name.
        bits: 8 or 4; null keeps the base in the training precision.
        quant_type: 4-bit number format ("nf4" or "fp4").
        double_quantization: quantize the 4-bit scales as well.
        compute_dtype: format to which 4-bit weights are expanded; `auto` is the training precision.
    """

    name: str = MISSING
    bits: int | None = None
    quant_type: str = "nf4"  # with double quantization as in QLoRA, arXiv 2305.14314
    double_quantization: bool = True
    compute_dtype: Precision = Precision.auto  # the study's package has fp16
