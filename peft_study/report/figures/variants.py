"""Variants: a method with the quantization of its base, which the figures show by colour and marker."""

from collections.abc import Iterable

from peft_study.report.names import METHODS, QUANTIZATIONS, method_name


def variant(method: str, quantization: str) -> str:
    """Make the key of a method on a quantised base, such as "lora" or "lora+nf4"."""
    # A quantised base needs another mark: figure 5 compares 16, 8 and 4 bits of the same method.
    return method if quantization == "none" else f"{method}+{quantization}"


def variant_label(key: str) -> str:
    """Name a variant in a legend."""
    method, _, quantization = key.partition("+")
    return method_name(method, quantization or "none")


VARIANTS = tuple(variant(method, quantization) for method in METHODS for quantization in QUANTIZATIONS)
"""All variants, in the tables' order."""


def in_order(names: Iterable[str], order: Iterable[str]) -> list[str]:
    """Sort distinct names: those in `order` first, then the others by name."""
    rank = {name: place for place, name in enumerate(order)}
    return sorted(set(names), key=lambda name: (rank.get(name, len(rank)), name))
