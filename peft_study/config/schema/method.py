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


class ExampleDraw(StrEnum):
    """How often random examples are drawn: once for all prompts of a cell, or for each sample."""

    cell = "cell"
    sample = "sample"


class ExampleOrder(StrEnum):
    """The order of retrieved examples. The last example stands next to the prompt."""

    nearest_first = "nearest_first"
    nearest_last = "nearest_last"


class ExampleLeakage(StrEnum):
    """Whether a training sample with the instruction of the prompt may be an example."""

    exclude = "exclude"
    allow = "allow"


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
        examples: which training samples precede the prompt. A trained method gets them at test.
        num_examples: number of examples.
        draw: draw random examples once for the cell, as the study's package does, or for each sample.
        order: the order of the nearest examples.
        leakage: exclude or allow training samples whose instruction equals the prompt's, up to case, white space and
            Unicode's compatible forms.
        train_with_examples: put examples before the prompts of training and validation as well.
        retriever: what finds the nearest instructions: "tfidf", "bm25", "minilm" (a dense model from PyPI), or the hub
            id or local folder of a sentence-transformers model.
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
    draw: ExampleDraw = ExampleDraw.cell
    order: ExampleOrder = ExampleOrder.nearest_first
    leakage: ExampleLeakage = ExampleLeakage.exclude
    train_with_examples: bool = False
    retriever: str | None = None
    preamble: str = ""

    @property
    def trains(self) -> bool:
        """Whether the method trains anything."""
        return self.kind is not MethodKind.prompting

    @property
    def can_recompute(self) -> bool:
        """Whether gradient checkpointing works with the adapter."""
        # peft 0.21 raises for prefix tuning with gradient checkpointing.
        return not str((self.adapter or {}).get("_target_", "")).endswith("PrefixTuningConfig")
