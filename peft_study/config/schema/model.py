"""A base model."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING


class Family(StrEnum):
    """Model architecture; `models.families` says what it implies."""

    llama = "llama"
    codegen = "codegen"
    codegen2 = "codegen2"
    t5 = "t5"


class SizeClass(StrEnum):
    """The study's two classes: small (below a billion parameters) and large language models."""

    slm = "slm"
    llm = "llm"


class Weights(StrEnum):
    """The origin of a model's weights."""

    pretrained = "pretrained"
    random = "random"


class Attention(StrEnum):
    """The attention kernel.

    Attributes:
        auto: `sdpa` if the architecture supports it, else `eager`.
        sdpa: torch's scaled_dot_product_attention.
        eager: scores as a matrix, for comparison; takes memory for tokens x tokens.
        flash_attention_2: the package flash-attn, which must be installed.
    """

    auto = "auto"
    sdpa = "sdpa"
    eager = "eager"
    flash_attention_2 = "flash_attention_2"


@dataclass
class ModelConfig:
    """A base model.

    Attributes:
        name: the config's name, used in folders and tables.
        family: architecture.
        size_class: slm or llm; full fine-tuning is for SLMs.
        weights: pretrained, or random for the same architecture without a download.
        source: hub id or local folder of weights and tokenizer; "package:NAME" is a model inside the package.
        revision: hub revision (commit, tag or branch); null is the hub's default branch.
        tokenizer: hub id or local folder; "tiny" is the tokenizer inside the package; null is `source`.
        prompt_prefix: text before every prompt.
        prompt_sentinel: the token of an encoder-decoder that stands for missing text in pretraining. A model that was
            not trained further gets it behind the prompt, in place of `prompt_prefix`.
        attention: the attention kernel.
        architecture: arguments of the transformers config that are enough to build the model with random weights.
        learning_rates: learning rate by method, if this model needs another rate than the study's.
        preamble: the line before a prompt, and its examples, of a model without an adapter.
        retriever: `method.retriever` of retrieval for this model.
    """

    name: str = MISSING
    family: Family = MISSING
    size_class: SizeClass = MISSING
    weights: Weights = Weights.pretrained
    source: str | None = None
    revision: str | None = None
    tokenizer: str | None = None
    prompt_prefix: str = ""
    prompt_sentinel: str = ""
    attention: Attention = Attention.auto
    architecture: dict[str, Any] = field(default_factory=dict)
    learning_rates: dict[str, float] = field(default_factory=dict)
    preamble: str = "Generate Python code given a natural language instruction."
    retriever: str = "thenlper/gte-small"
