"""Statistics of encoded samples: their lengths, and what the limits removed."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peft_study.data.tokens import Encoded

logger = logging.getLogger(__name__)

BIN_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Truncation:
    """How much the length limits removed.

    Attributes:
        samples: number of samples.
        prompts_cut: samples whose instruction was cut.
        targets_cut: samples whose target was cut.
        tokens_cut: tokens left out in total.
        examples_cut: examples left out in total.
    """

    samples: int
    prompts_cut: int
    targets_cut: int
    tokens_cut: int
    examples_cut: int = 0


def not_longer_than(longest: int | None, samples: Sequence[Encoded]) -> list[Encoded]:
    """Samples with at most `longest` tokens in prompt and target before any cut; all if `longest` is None."""
    # The package's revision leaves out samples of APPS above 1,024 tokens.
    return [sample for sample in samples if longest is None or _whole_prompt(sample) + _whole_target(sample) <= longest]


def truncation(encoded: Iterable[Encoded]) -> Truncation:
    """Count what the limits removed."""
    samples = list(encoded)
    return Truncation(
        samples=len(samples),
        prompts_cut=sum(sample.prompt_cut > 0 for sample in samples),
        targets_cut=sum(sample.target_cut > 0 for sample in samples),
        tokens_cut=sum(sample.prompt_cut + sample.target_cut for sample in samples),
        examples_cut=sum(sample.examples_cut for sample in samples),
    )


def lengths(encoded: Iterable[Encoded]) -> dict[str, Any]:
    """Count samples by their length before any limit, in tokens, as figure 2 of the study does.

    Returns:
        "bin_tokens", the width of a bin, and for "prompt" and "target" the number of samples by the lower edge of their
        bin, as text for JSON.
    """
    samples = list(encoded)
    histograms = {
        "prompt": Counter(_edge(_whole_prompt(sample)) for sample in samples),
        "target": Counter(_edge(_whole_target(sample)) for sample in samples),
    }
    return {"bin_tokens": BIN_TOKENS} | {
        part: {str(edge): counts[edge] for edge in sorted(counts)} for part, counts in histograms.items()
    }


def changed_targets(encoded: Mapping[str, Iterable[Encoded]]) -> dict[str, int]:
    """Count the targets that the tokenizer cannot represent, by split, and warn about them."""
    # Some tokenizers drop line breaks or indentation.
    counts = {split: sum(sample.target_changed for sample in samples) for split, samples in encoded.items()}
    if any(counts.values()):
        logger.warning(
            "the tokenizer changes targets when it encodes and decodes them (%s): no candidate can equal them",
            ", ".join(f"{split}: {number}" for split, number in counts.items()),
        )
    return counts


def _edge(length: int) -> int:
    return length // BIN_TOKENS * BIN_TOKENS


def _whole_prompt(sample: Encoded) -> int:
    return len(sample.prompt) + sample.prompt_cut


def _whole_target(sample: Encoded) -> int:
    return len(sample.target) + sample.target_cut
