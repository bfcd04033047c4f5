"""Where the replication package differs from the paper."""

from dataclasses import dataclass

from peft_study.config.schema.method import ExampleLeakage, Targets


@dataclass
class ConventionsConfig:
    """Differences of the study's replication package from the paper; the defaults follow the paper.

    docs/differences.md has the effect of each on the scores. Two more are in other groups: training.precision and
    generation.top_k.

    Attributes:
        name: paper, package-v1 (November 2023: table 3, figures 1, 4 and 5) or package-revision (October 2024: figures
            3, 6, 7 and table 4); part of a cell's name unless it is paper.
        left_padding: pad a decoder's training samples on the left to max_prompt_tokens + max_target_tokens, which
            separates virtual tokens from the prompt.
        leading_newline: put a line break before the prompt at test, but not in training.
        cut_at_angle_brackets: end a candidate at the first "<", ">" or "endoftext".
        clean_up_spaces: remove spaces before punctuation, as tokenizers did by default (Llama's do not).
        max_sample_tokens: leave out training and validation samples that are longer; null keeps all.
        ia3_learning_rate: peak learning rate of IA3 for models without an entry in `model.learning_rates`.
        lora_targets: which layers LoRA attaches to.
        example_leakage: `method.leakage` of ICL and RAG.
    """

    name: str = "paper"
    left_padding: bool = False  # peft puts virtual tokens before the padding, 90 positions away from the prompt
    leading_newline: bool = False
    cut_at_angle_brackets: bool = False  # see docs/differences.md
    clean_up_spaces: bool = False  # see docs/differences.md
    max_sample_tokens: int | None = None  # the package's revision has 1024, for APPS
    ia3_learning_rate: float = 3.0e-4  # the package has 3e-3
    lora_targets: Targets = Targets.attention  # the revision has all linear layers: 40.0M parameters, not 12.6M
    example_leakage: ExampleLeakage = ExampleLeakage.exclude  # the package shows them
