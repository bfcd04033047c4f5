"""In which order models, methods and data sets stand in the figures, and what they are called there."""

from collections.abc import Iterable

MODELS = (
    "codet5p-220m",
    "codet5p-770m",
    "codegen-350m-mono",
    "codegen2-1b",
    "codegen2-3.7b",
    "codegen2-7b",
    "codellama-7b",
    "codellama-7b-instruct",
    "codellama-7b-python",
    "codellama-13b",
    "codellama-13b-python",
    "codellama-34b",
    "codellama-34b-python",
)
"""The paper's, in its tables' order; others follow by name."""
DATASETS = ("conala", "codealpacapy", "apps")
VARIANTS = {
    "full": "full fine-tuning",
    "lora": "LoRA",
    "lora+int8": "QLoRA 8-bit",
    "lora+nf4": "QLoRA 4-bit",
    "ia3": "(IA)³",
    "prompt": "prompt tuning",
    "prefix": "prefix tuning",
    "zero-shot": "zero-shot",
    "icl": "ICL",
    "rag": "RAG",
}
"""A method with its quantization, and what it is called."""


def variant(method: str, quantization: str) -> str:
    """The key of a method on a base in some number of bits: "lora", "lora+nf4"."""
    return method if quantization == "none" else f"{method}+{quantization}"


def variant_label(key: str) -> str:
    """What a variant is called in a legend."""
    method, _, quantization = key.partition("+")
    if key in VARIANTS or not quantization:
        return VARIANTS.get(key, key)
    return f"{VARIANTS.get(method, method)} {quantization}"


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Distinct names: the known ones in their order, then the others by name."""
    rank = {name: place for place, name in enumerate(known)}
    return sorted(set(names), key=lambda name: (rank.get(name, len(rank)), name))
