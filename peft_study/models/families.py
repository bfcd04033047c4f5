"""Facts about each architecture: its transformers type and the names of its layers."""

from dataclasses import dataclass
from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig

from peft_study.config.schema import Family, Targets


@dataclass(frozen=True, slots=True)
class FamilyFacts:
    """Facts of one architecture.

    Attributes:
        model_type: transformers' name of the architecture.
        encoder_decoder: whether an encoder reads the prompt.
        attention: names of the query, key and value projections.
        feed_forward: names of the feed-forward projections.
        output: name of the projection behind attention.
    """

    model_type: str
    encoder_decoder: bool
    attention: tuple[str, ...]
    feed_forward: tuple[str, ...]
    output: str

    @property
    def task_type(self) -> str:
        """peft's name of the task."""
        return "SEQ_2_SEQ_LM" if self.encoder_decoder else "CAUSAL_LM"

    @property
    def auto_class(self) -> Any:
        """The class with which transformers builds and loads the architecture."""
        return AutoModelForSeq2SeqLM if self.encoder_decoder else AutoModelForCausalLM

    def positions(self, config: PretrainedConfig | None) -> int | None:
        """The number of tokens that the model can read, virtual tokens included.

        Args:
            config: config of the weights; None if it cannot be read.

        Returns:
            None for relative positions, or if the config states no limit.
        """
        if self.encoder_decoder:
            return None
        # T5 configs on the hub also carry `n_positions`, which transformers does not read.
        stated = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")]
        return min((int(limit) for limit in stated if limit is not None), default=None)

    def modules(self, targets: Targets) -> list[str]:
        """Names of the modules that an adapter attaches to."""
        match targets:
            case Targets.none:
                return []
            case Targets.attention:
                return list(self.attention)
            case Targets.attention_feed_forward:
                return [*self.attention, *self.feed_forward]
            case Targets.all_linear:
                return [*self.attention, self.output, *self.feed_forward]


# Source of the layers: the paper's protocol, "LoRA/IA3 targets". With these names, all 39 numbers of parameters in the
# paper's table 3 come out exactly.
FAMILIES = {
    Family.llama: FamilyFacts(
        "llama", False, ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj", "down_proj"), "o_proj"
    ),
    Family.codegen: FamilyFacts("codegen", False, ("qkv_proj",), ("fc_in", "fc_out"), "out_proj"),
    # The same architecture as CodeGen; `models.codegen2` reorders the weights while they load.
    Family.codegen2: FamilyFacts("codegen", False, ("qkv_proj",), ("fc_in", "fc_out"), "out_proj"),
    Family.t5: FamilyFacts("t5", True, ("q", "k", "v"), ("wi", "wo"), "o"),
}
