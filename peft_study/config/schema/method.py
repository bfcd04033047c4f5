"""A way of adapting a model."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from omegaconf import MISSING


class MethodKind(StrEnum):
    """What a method changes: every weight, a small adapter, or only the prompt."""

    full = "full"
    adapter = "adapter"
    prompting = "prompting"


class Targets(StrEnum):
    """Which linear layers an adapter attaches to; each family names its own modules for them."""

    none = "none"
    attention = "attention"
    attention_feed_forward = "attention_feed_forward"
    all_linear = "all_linear"


class ExampleChoice(StrEnum):
    """The training samples before the prompt: none, random ones, or those with the nearest instructions."""

    none = "none"
    random = "random"
    nearest = "nearest"


@dataclass
class MethodConfig:
    """A way of adapting a model.

    Attributes:
        name: the config's name.
        kind: what it changes.
        learning_rate: peak learning rate; null if nothing is trained.
        targets: which layers the adapter attaches to.
        adapter: `_target_` (a peft config class) and its arguments; null unless kind is adapter.
        allow_large: allow full fine-tuning of a model with a billion parameters or more, which the study does not do.
        examples: which training samples precede the prompt.
        num_examples: number of examples.
        retriever: hub id or local folder of the sentence-transformers model that finds the nearest instructions, or
            "tfidf" for words only.
        preamble: a line before the examples and the prompt; the prompt forms apps and completion leave it out.
    """

    name: str = MISSING
    kind: MethodKind = MISSING
    learning_rate: float | None = None
    targets: Targets = Targets.none
    adapter: dict[str, Any] | None = None  # `config.build` checks the keys against peft's class
    allow_large: bool = False
    examples: ExampleChoice = ExampleChoice.none
    num_examples: int = 0
    retriever: str | None = None
    preamble: str = ""
