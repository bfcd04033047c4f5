"""The typed schema of every config group.

YAML under conf/ holds the values, these dataclasses the names and types; Hydra refuses at composition whatever does not
fit. Convert with `OmegaConf.to_object` before use: a dataclass that only served as schema is a dictionary still.
"""

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
    """Where a model's weights come from."""

    pretrained = "pretrained"
    random = "random"


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
    """Which training samples stand before the prompt: none, some at random, or those with the nearest instructions."""

    none = "none"
    random = "random"
    nearest = "nearest"


class DatasetSource(StrEnum):
    """Where samples come from when no `path` is given."""

    hub = "hub"
    generated = "generated"


class DatasetLayout(StrEnum):
    """How a data set's rows become splits: as they are, problems with tests (three), or the raw CodeAlpaca."""

    pairs = "pairs"
    apps = "apps"
    mbpp = "mbpp"
    humaneval = "humaneval"
    codealpaca = "codealpaca"


class PromptForm(StrEnum):
    """The study's prompt forms: bare code, code between Markdown fences, or a contest problem (CodeLlama-Instruct).

    And one more: a function's head, to be gone on with.
    """

    plain = "plain"
    fenced = "fenced"
    apps = "apps"
    completion = "completion"


class Truncation(StrEnum):
    """How `max_prompt_tokens` and `max_target_tokens` limit a sample.

    `joint`: in training a prompt may also take what its answer leaves of both; at test nothing but the model's
    positions limits it. That is how the study's replication package does it. `separate`: each limit by itself, for
    training and test.
    """

    joint = "joint"
    separate = "separate"


class ExecutionChoice(StrEnum):
    """Whether generated code is run against tests."""

    auto = "auto"
    always = "always"
    never = "never"


class Precision(StrEnum):
    """Number format of training and generation; `auto` asks the device."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Device(StrEnum):
    """Where a cell runs; `auto` takes a GPU when there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class WandbMode(StrEnum):
    """`auto` is online with a key and offline without."""

    auto = "auto"
    online = "online"
    offline = "offline"


@dataclass
class ModelConfig:
    """A base model.

    Attributes:
        name: the config's name, used in folders and tables.
        family: architecture.
        size_class: slm or llm; full fine-tuning is for SLMs.
        weights: `random` builds the same architecture without a download.
        source: hub id or local folder of weights and tokenizer; "package:NAME" is a model that the package carries.
        revision: hub revision (commit, tag or branch); null is the hub's default branch.
        tokenizer: hub id or local folder; "tiny" is the tokenizer that the package carries; null is `source`.
        prompt_prefix: text before every prompt.
        prompt_sentinel: of an encoder-decoder, the token that stands for missing text in pretraining. Behind a prompt,
            in place of `prompt_prefix`, it asks a model for its answer that no method trained for that.
        architecture: arguments of the family's transformers config, enough to build the model with random weights.
        learning_rates: learning rate by method, where this model wants another one than the study's.
        preamble: the line before a prompt, and its examples, that no adapter was trained for.
        retriever: what finds examples for this model's prompts.
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
    architecture: dict[str, Any] = field(default_factory=dict)
    learning_rates: dict[str, float] = field(default_factory=dict)
    preamble: str = "Generate Python code given a natural language instruction."
    retriever: str = "thenlper/gte-small"


@dataclass
class MethodConfig:
    """A way of adapting a model.

    Attributes:
        name: the config's name.
        kind: what changes.
        learning_rate: peak learning rate; null where nothing is trained.
        targets: which layers the adapter attaches to.
        adapter: `_target_` (a peft config class) and its arguments; null unless kind is adapter.
        allow_large: fine-tune even a model of a billion parameters or more fully, which the study does not.
        examples: which training samples stand before the prompt.
        num_examples: how many.
        retriever: hub id or local folder of the sentence-transformers model that finds the nearest instructions, or
            "tfidf" for words alone.
        preamble: a line before the examples and the prompt, but in the apps form.
    """

    name: str = MISSING
    kind: MethodKind = MISSING
    learning_rate: float | None = None
    targets: Targets = Targets.none
    adapter: dict[str, Any] | None = None
    allow_large: bool = False
    examples: ExampleChoice = ExampleChoice.none
    num_examples: int = 0
    retriever: str | None = None
    preamble: str = ""


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


@dataclass
class QuantizationConfig:
    """How the frozen base is stored.

    Attributes:
        name: the config's name.
        bits: 8 or 4; null keeps the base in the training precision.
        quant_type: 4-bit number format ("nf4" or "fp4").
        double_quantization: quantise the 4-bit scales once more.
        compute_dtype: format that 4-bit weights are expanded to; `auto` follows the training precision.
    """

    name: str = MISSING
    bits: int | None = None
    quant_type: str = "nf4"
    double_quantization: bool = True
    compute_dtype: Precision = Precision.auto


class MemoryPolicy(StrEnum):
    """How micro-batch and gradient checkpointing are chosen; the result does not depend on it.

    Attributes:
        auto: the fastest that fits the memory budget, by the prediction.
        fast: the whole batch at once, nothing recomputed.
        small: one sample at a time, activations recomputed.
        paper: the whole batch at once, as the study's authors trained.
    """

    auto = "auto"
    fast = "fast"
    small = "small"
    paper = "paper"


@dataclass
class TrainingConfig:
    """Fine-tuning.

    Attributes:
        epochs: passes over the training split; a fraction is allowed.
        batch_size: samples an optimizer step.
        memory: chooses the micro-batch and gradient checkpointing, unless one of them is set to another value than its
            default.
        micro_batch_size: samples a forward pass; must divide `batch_size`, the rest is gradient accumulation.
        warmup_fraction: share of the steps during which the learning rate rises.
        evaluations_per_epoch: validation losses an epoch.
        max_grad_norm: gradient clipping.
        precision: number format.
        gradient_checkpointing: recompute activations instead of keeping them.
    """

    epochs: float = 5.0
    batch_size: int = 8
    micro_batch_size: int = 8
    warmup_fraction: float = 0.05
    evaluations_per_epoch: int = 5
    max_grad_norm: float = 1.0
    precision: Precision = Precision.auto
    gradient_checkpointing: bool = False
    memory: MemoryPolicy = MemoryPolicy.auto


@dataclass
class ConventionsConfig:
    """Where the study's replication package differs from the paper; the defaults follow the paper.

    docs/differences.md says what each makes of a score. Two more are settings of their own groups: training.precision
    and generation.top_k.

    Attributes:
        name: paper, package-v1 (November 2023: table 3, figures 1, 4 and 5) or package-revision (October 2024: figures
            3, 6, 7 and table 4); in a cell's name unless it is paper.
        left_padding: pad a decoder's training samples on the left, all to max_prompt_tokens + max_target_tokens, so
            that virtual tokens stand far from the prompt.
        leading_newline: a line break before the prompt at test that training does not have.
        cut_at_angle_brackets: end a candidate at the first "<", ">" or "endoftext".
        clean_up_spaces: remove spaces before punctuation, as tokenizers did by default (Llama's do not).
        max_sample_tokens: leave out training and validation samples that are longer; null keeps all.
        ia3_learning_rate: peak learning rate of IA3, where the model has no rate of its own (the tiny models have).
        lora_targets: which layers LoRA attaches to.
    """

    name: str = "paper"
    left_padding: bool = False
    leading_newline: bool = False
    cut_at_angle_brackets: bool = False
    clean_up_spaces: bool = False
    max_sample_tokens: int | None = None
    ia3_learning_rate: float = 3.0e-4
    lora_targets: Targets = Targets.attention


@dataclass
class GenerationConfig:
    """Beam search, or sampling.

    Attributes:
        num_beams: beams a prompt; 1 where candidates are sampled.
        num_candidates: candidates kept a prompt, best first; at most `num_beams`, unless they are sampled.
        temperature: divides the logits of a sampled candidate; null searches by beams.
        top_p: a token is drawn from the fewest that have this probability together; 1 is all of them.
        top_k: a token is drawn from so many of the most probable; 0 is all of them.
        length_penalty: exponent of the length by which a beam's log-probability is divided.
        early_stopping: end a prompt as soon as `num_candidates` beams are complete.
        batch_size: prompts at once; null takes as many as keep the key-value cache below `cache_gb`, at most 32.
        cache_gb: key-value cache, in GB (1e9 bytes), that a null `batch_size` may fill.
    """

    num_beams: int = 10
    num_candidates: int = 10
    temperature: float | None = None
    top_p: float = 1.0
    top_k: int = 0
    length_penalty: float = 1.0
    early_stopping: bool = False
    batch_size: int | None = None
    cache_gb: float = 2.0

    @property
    def sequences(self) -> int:
        """How many sequences are written side by side for one prompt."""
        return self.num_beams if self.temperature is None else self.num_candidates


@dataclass
class ScoringConfig:
    """How candidates are scored. It decides nothing that cannot be decided again: `python -m peft_study score`.

    Attributes:
        execution: when candidates are run against tests; `auto` does where the data has tests, and goes without where
            this machine has no sandbox and references are there to score by.
        cpu_seconds: CPU time of one test.
        wall_seconds: wall-clock time of one test.
        memory_mb: memory of one test, in MiB (2^20 bytes), as for `python -m peft_study judge`.
        output_kb: output of one test, in KiB (2^10 bytes), likewise.
        workers: tests at once; null is one a core.
        accept_level_c: run candidates even where nothing but resource limits contains them.
        resamples: draws of the bootstrap for intervals; 0 leaves them out.
        packages: installed packages that candidates may import beside the standard library; numpy is allowed.
        apps_package_rules: score outputs a second time under the rules of the checker that the study's package used
            for APPS, as `apps_package_*`.
    """

    execution: ExecutionChoice = ExecutionChoice.auto
    cpu_seconds: float = 4.0
    wall_seconds: float = 8.0
    memory_mb: int = 512
    output_kb: int = 4096
    workers: int | None = None
    accept_level_c: bool = False
    resamples: int = 10_000
    packages: list[str] = field(default_factory=list)
    apps_package_rules: bool = False


@dataclass
class TrackingConfig:
    """A dashboard.

    Attributes:
        kind: the tracker: none, or the name of a module of peft_study/tracking such as wandb.
        options: settings of a tracker other than wandb, which checks them.
        project: W&B project.
        entity: W&B entity; null is the account's default.
        mode: auto, online or offline.
        timeout_seconds: how long to wait for the server before going on offline.
    """

    kind: str = "none"
    options: dict[str, Any] = field(default_factory=dict)
    project: str = "peft-study"
    entity: str | None = None
    mode: WandbMode = WandbMode.auto
    timeout_seconds: float = 30.0


@dataclass
class HardwareConfig:
    """The machine, which never decides a result's identity.

    Attributes:
        name: the config's name.
        device: auto, cpu or cuda.
        threads: CPU threads; null leaves torch's choice.
        memory_budget_gb: GPU memory, in GB (1e9 bytes), that a cell may use, even on a larger card; null is all of it.
        gpus: the GPUs of a sweep, one a cell: "auto" (every one that is visible), "none", or a list of indices.
        cells_at_once: cells of a sweep that run side by side; null is one a GPU or, without one, as many as cores and
            free memory carry.
    """

    name: str = MISSING
    device: Device = Device.auto
    threads: int | None = None
    memory_budget_gb: float | None = None
    gpus: Any = "auto"
    cells_at_once: int | None = None


@dataclass
class StudyConfig:
    """What a cell belongs to, and for a sweep which cells there are.

    Attributes:
        name: the folder under `output_dir`.
        common: settings of every block, as `group` or `group.key`.
        blocks: small grids; each says what to set, and the value or the list of values it takes. A cell has none.
        includes: other studies whose blocks belong to it, too.
    """

    name: str = "single"
    common: dict[str, Any] = field(default_factory=dict)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)


@dataclass
class CellConfig:
    """One cell: model x quantization x method x dataset x seed, and how it is trained, decoded and followed.

    Attributes:
        seed: of adapter initialisation, data order and dropout.
        rerun: start over where a finished or interrupted result lies.
        output_dir: where studies are kept.
    """

    seed: int = 42
    rerun: bool = False
    output_dir: str = "multirun"
    study: StudyConfig = field(default_factory=StudyConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    conventions: ConventionsConfig = field(default_factory=ConventionsConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
