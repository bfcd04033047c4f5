"""A method together with how its base is stored: what the figures tell apart by colour and marker."""

from collections.abc import Iterable

from peft_study.report.names import METHODS, QUANTIZATIONS, method_name


def variant(method: str, quantization: str) -> str:
    """The key of a method on a base in some number of bits: "lora", "lora+nf4"."""
    return method if quantization == "none" else f"{method}+{quantization}"


def variant_label(key: str) -> str:
    """What a variant is called in a legend."""
    method, _, quantization = key.partition("+")
    return method_name(method, quantization or "none")


VARIANTS = tuple(variant(method, quantization) for method in METHODS for quantization in QUANTIZATIONS)
"""In the tables' order."""


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Distinct names: the known ones in their order, then the others by name."""
    rank = {name: place for place, name in enumerate(known)}
    return sorted(set(names), key=lambda name: (rank.get(name, len(rank)), name))
