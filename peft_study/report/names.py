"""Names and orders as in the paper. Anything else keeps its config name and comes last."""

from collections.abc import Iterable

MODELS = {
    "codet5p-220m": "CodeT5+-220M",
    "codet5p-770m": "CodeT5+-770M",
    "codegen-350m-mono": "CodeGen-350M-mono",
    "codegen2-1b": "CodeGen2-1B",
    "codegen2-3.7b": "CodeGen2-3.7B",
    "codegen2-7b": "CodeGen2-7B",
    "codellama-7b": "CodeLlama-7B",
    "codellama-7b-instruct": "CodeLlama-7B-Instruct",
    "codellama-7b-python": "CodeLlama-7B-Python",
    "codellama-13b": "CodeLlama-13B",
    "codellama-13b-python": "CodeLlama-13B-Python",
    "codellama-34b": "CodeLlama-34B",
    "codellama-34b-python": "CodeLlama-34B-Python",
}
METHODS = {
    "zero-shot": "Zero-shot",
    "icl": "ICL",
    "rag": "RAG",
    "full": "Full fine-tuning",
    "lora": "LoRA",
    "ia3": "IA3",
    "prompt": "Prompt tuning",
    "prefix": "Prefix tuning",
}
DATASETS = {"conala": "Conala", "codealpacapy": "CodeAlpacaPy", "apps": "APPS"}
# The paper names the bits; these are bitsandbytes' LLM.int8() and NF4.
QUANTIZATIONS = {"none": "", "int8": "8bit", "nf4": "4bit"}
PAPER = "paper"
"""The source of the paper's rows, and the value of `--against` that asks for them."""


def model_name(slug: str) -> str:
    """Return a model's name in print."""
    return MODELS.get(slug, slug)


def dataset_name(slug: str) -> str:
    """Return a data set's name in print."""
    return DATASETS.get(slug, slug)


def method_name(method: str, quantization: str = "none") -> str:
    """Return a method's name in print with the quantization of the base; LoRA on a quantised base is QLoRA."""
    # The paper writes QLoRA-8bit and QLoRA-4bit; QLoRA's authors have 4 bits only.
    name, bits = METHODS.get(method, method), QUANTIZATIONS.get(quantization, quantization)
    if not bits:
        return name
    return f"Q{name}-{bits}" if method == "lora" else f"{name}, {bits}"


def place(slug: str, order: Iterable[str]) -> tuple[int, str]:
    """Return a key that sorts names by the paper's order, then all others by name."""
    names = list(order)
    return (names.index(slug), "") if slug in names else (len(names), slug)
