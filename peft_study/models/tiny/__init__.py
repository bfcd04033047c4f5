"""The embedded family: tiny models pretrained on generated code, with a shared tokenizer."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FOLDER = Path(__file__).parent
"""Folder with the tokenizer's files and a folder for each model."""

MODELS = ("tiny-llama", "tiny-codegen", "tiny-codegen2", "tiny-t5")
"""Names of the models whose weights the package ships."""


def load_tokenizer() -> "PreTrainedTokenizerFast":
    """Load the tokenizer that all embedded models share."""
    from transformers import PreTrainedTokenizerFast

    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(FOLDER)
    return tokenizer
