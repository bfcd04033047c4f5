"""A data set: its source, its layout, its prompts and limits."""

from dataclasses import dataclass, field
from enum import StrEnum

from omegaconf import MISSING


class DatasetSource(StrEnum):
    """The origin of samples without a `path`."""

    hub = "hub"
    generated = "generated"


class DatasetLayout(StrEnum):
    """How a data set's rows become splits. `peft_study.data.layouts` has one module for each.

    The rules across groups need the properties below before any data is read, so they are here and not there.
    """

    pairs = "pairs"
    apps = "apps"
    mbpp = "mbpp"
    humaneval = "humaneval"
    codealpaca = "codealpaca"

    @property
    def has_training_split(self) -> bool:
        """Whether there are samples to train on, or to take examples from."""
        return self is not DatasetLayout.humaneval

    @property
    def is_on_hub(self) -> bool:
        """Whether the rows can come from the hub; if not, `path` must name a file."""
        return self is not DatasetLayout.codealpaca


class PromptForm(StrEnum):
    """How a prompt and its answer are written. `peft_study.data.prompts` has one module for each.

    Attributes:
        plain: bare code.
        fenced: code between Markdown fences.
        apps: a contest problem for CodeLlama-Instruct.
        completion: the head of a function, to be completed.
    """

    plain = "plain"
    fenced = "fenced"
    apps = "apps"
    completion = "completion"

    @property
    def is_whole_program(self) -> bool:
        """Whether an answer is a program of several lines."""
        return self in (PromptForm.apps, PromptForm.completion)


class Truncation(StrEnum):
    """How `max_prompt_tokens` and `max_target_tokens` limit a sample.

    Attributes:
        joint: in training a prompt may also use what its answer leaves; at test only the model's positions limit it.
            The study's replication package does so.
        separate: each limit applies separately, in training and at test.
    """

    joint = "joint"
    separate = "separate"


@dataclass
class DatasetConfig:
    """A text-to-code data set.

    Attributes:
        name: the config's name.
        source: origin of the samples if `path` is null.
        hub_id: data set id on the hub.
        hub_files: the hub's files by split, as glob patterns; if empty, `datasets` finds them.
        revision: hub revision.
        path: a folder with train.jsonl, validation.jsonl and test.jsonl, or one JSONL file that is split 80/10/10.
            Another layout than `pairs` has another form; the error for a wrong path states it.
        layout: how rows become samples; `pairs` reads an instruction and an answer from each.
        instruction_field: the field with the natural-language intent.
        answer_field: the field with the code.
        validation_split: the hub's name of the validation split.
        sizes: expected samples a split; a different size is a warning.
        limit: number of samples to keep of each split; null keeps all.
        test_limit: the same for the test split only; the smaller of the two applies.
        prompt_form: plain, fenced, apps or completion.
        max_prompt_tokens: limit of a prompt; longer instructions are cut as `truncation` says, and counted.
        max_target_tokens: limit of an answer in training; longer ones are cut, and counted.
        truncation: whether prompt and answer share their limits in training, and whether test prompts have a limit.
        max_new_tokens: limit of generated tokens.
        stop_at_newline: generation also ends at the first newline.
    """

    name: str = MISSING
    source: DatasetSource = DatasetSource.hub
    hub_id: str | None = None
    hub_files: dict[str, str] = field(default_factory=dict)
    revision: str | None = None
    path: str | None = None
    layout: DatasetLayout = DatasetLayout.pairs
    instruction_field: str = "nl"  # as CoNaLa names its fields
    answer_field: str = "cmd"
    validation_split: str = "validation"
    sizes: dict[str, int] = field(default_factory=dict)
    limit: int | None = None
    test_limit: int | None = None
    prompt_form: PromptForm = PromptForm.plain
    max_prompt_tokens: int = 64  # as in the study's package
    max_target_tokens: int = 64
    truncation: Truncation = Truncation.joint
    max_new_tokens: int = 64
    stop_at_newline: bool = False
