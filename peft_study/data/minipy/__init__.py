"""minipy: a small text-to-code data set that is generated, the same on every machine."""

from peft_study.data.minipy.generator import SIZES, generate

__all__ = ["SIZES", "generate"]
