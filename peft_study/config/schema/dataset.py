"""A data set: its source, its layout, its prompts and limits."""

from dataclasses import dataclass, field
from enum import StrEnum

from omegaconf import MISSING


class DatasetSource(StrEnum):
    """Where samples come from when no `path` is given."""

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

    `joint`: in training a prompt may also take what its answer leaves of both; at test nothing but the model's
    positions limits it. That is how the study's replication package does it. `separate`: each limit by itself, for
    training and test.
    """

    joint = "joint"
    separate = "separate"


@dataclass
class DatasetConfig:
    """A text-to-code data set.

    Attributes:
        name: the config's name.
        source: where samples come from when `path` is null.
        hub_id: data set id on the hub.
        hub_files: the hub's files by split, as glob patterns; empty lets `datasets` find them.
        revision: hub revision.
        path: a folder with train.jsonl, validation.jsonl and test.jsonl, or one JSONL file that is split 80/10/10;
            for the layout `apps` a folder with train.jsonl and test.jsonl, for `codealpaca`, `mbpp` and `humaneval` one
            JSON or JSONL file.
        layout: what the rows are; pairs of an instruction and an answer, unless the data set is special.
        instruction_field: the field with the natural-language intent.
        answer_field: the field with the code.
        validation_split: the hub's name of the validation split.
        sizes: expected samples a split; a different size is a warning.
        limit: keep only the first so many samples of each split; null keeps all.
        test_limit: the same for the test split alone; the smaller of the two counts.
        prompt_form: plain, fenced, apps or completion.
        max_prompt_tokens: longer instructions are cut, and counted; `truncation` says which.
        max_target_tokens: longer answers are cut in training, and counted.
        truncation: whether prompt and answer share their limits in training, and whether test prompts have one.
        max_new_tokens: generation stops there.
        stop_at_newline: generation also ends at the first newline.
    """

    name: str = MISSING
    source: DatasetSource = DatasetSource.hub
    hub_id: str | None = None
    hub_files: dict[str, str] = field(default_factory=dict)
    revision: str | None = None
    path: str | None = None
    layout: DatasetLayout = DatasetLayout.pairs
    instruction_field: str = "nl"
    answer_field: str = "cmd"
    validation_split: str = "validation"
    sizes: dict[str, int] = field(default_factory=dict)
    limit: int | None = None
    test_limit: int | None = None
    prompt_form: PromptForm = PromptForm.plain
    max_prompt_tokens: int = 64
    max_target_tokens: int = 64
    truncation: Truncation = Truncation.joint
    max_new_tokens: int = 64
    stop_at_newline: bool = False
