"""Beam search or sampling."""

from dataclasses import dataclass


@dataclass
class GenerationConfig:
    """Beam search, or sampling.

    Attributes:
        num_beams: beams per prompt; 1 if candidates are sampled.
        num_candidates: candidates per prompt, best first; at most `num_beams` unless they are sampled.
        temperature: divides the logits of a sampled candidate; null is beam search.
        top_p: sample from the smallest set of tokens with this total probability; 1 is all of them.
        top_k: sample from this number of most probable tokens; 0 is all of them.
        length_penalty: exponent of the length by which a beam's log-probability is divided.
        early_stopping: end a prompt as soon as `num_candidates` beams are complete.
        batch_size: prompts at once; null is as many as fit into `cache_gb`, at most 32.
        cache_gb: keys, values and scores of a batch in GB (1e9 bytes) for a `batch_size` of null.
    """

    num_beams: int = 10
    num_candidates: int = 10  # for EM@10
    temperature: float | None = None
    top_p: float = 1.0
    top_k: int = 0  # transformers' default of 50 applies in the study's package, and the paper does not state it
    length_penalty: float = 1.0  # transformers' default
    early_stopping: bool = False  # a longer beam may still get a better mean log-probability
    batch_size: int | None = None
    cache_gb: float = 2.0

    @property
    def sequences(self) -> int:
        """The number of sequences that are generated in parallel for a prompt."""
        return self.num_beams if self.temperature is None else self.num_candidates
