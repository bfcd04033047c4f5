"""The rows of the benchmark in order of importance.

This module does not import torch, because the process that starts the rows must stay light.
"""

from dataclasses import dataclass, field
from typing import Any

MEMORY, TRAINING, GENERATION, TESTS, PREDICTION = "memory", "training", "generation", "tests", "prediction"
COMMON = (
    "dataset=conala",
    "model.weights=random",
    "model.tokenizer=tiny",
    "training.epochs=1",
    "training.evaluations_per_epoch=1",
)
SHRUNKEN = {
    "codellama": ("hidden_size=64", "intermediate_size=128", "num_hidden_layers=2", "num_attention_heads=8"),
    "codegen": ("n_embd=128", "n_layer=2", "n_head=8", "rotary_dim=8"),
    "codet5p": ("d_model=64", "d_ff=128", "d_kv=16", "num_layers=2", "num_decoder_layers=2", "num_heads=4"),
}
"""Settings of `model.architecture`, by the prefix of a model's name."""
# A real model's vocabulary is larger than the embedded tokenizer's as well.
TINY = ("model.architecture.vocab_size=2048", "dataset.max_new_tokens=4", "generation.batch_size=2")
TINY_SECONDS = 1.0
BATCH_OF_EIGHT = ("training.batch_size=8", "training.micro_batch_size=8", "training.gradient_checkpointing=false")
ONE_AT_A_TIME = ("training.batch_size=8", "training.micro_batch_size=1", "training.gradient_checkpointing=true")


@dataclass(frozen=True)
class Row:
    """A measurement, which runs in a separate process.

    Attributes:
        name: unique.
        kind: memory, training, generation, tests or prediction.
        seconds: expected seconds on an H100, without imports. A row that takes several times as long is killed.
        overrides: overrides of the cell.
        select: pytest's `-k` expression, of a row of tests.
        cells: overrides by name, of a row of predictions.
    """

    name: str
    kind: str
    seconds: float
    overrides: tuple[str, ...] = ()
    select: str = ""
    cells: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Row":
        """The row that was written as JSON."""
        return cls(**{**values, "overrides": tuple(values["overrides"])})


# The paper's figure 1 (conf/study/figure1.yaml): model, method, quantization and expected seconds.
FIGURE1 = (
    ("codellama-7b", "lora", "nf4", 35),
    ("codellama-7b", "lora", "none", 30),
    ("codellama-34b-python", "lora", "nf4", 75),
    ("codellama-13b-python", "lora", "nf4", 45),
    ("codegen2-7b", "lora", "none", 30),
    ("codegen2-3.7b", "lora", "none", 20),
    ("codegen2-1b", "lora", "none", 20),
    ("codegen-350m-mono", "full", "none", 20),
    ("codet5p-770m", "full", "none", 30),
    ("codet5p-220m", "full", "none", 20),
)
FIRST_MEMORY_ROWS = 3


PAPER = "paper"


def memory_arms() -> dict[str, tuple[str, ...]]:
    """Overrides of each arm, which computes a step of eight samples in its way.

    - `paper`: a padded batch with all logits.
    - `fast`: a batch without padding, with logits only at the positions that predict a label.
    - `small`: sample by sample without padding, with activations recomputed in the backward pass.
    """
    return {PAPER: ("training.memory=paper", *BATCH_OF_EIGHT), "fast": BATCH_OF_EIGHT, "small": ONE_AT_A_TIME}


def benchmark_rows(device: str, *, tiny: bool) -> list[Row]:
    """All rows, in order of importance.

    Args:
        device: cuda or cpu.
        tiny: models of two small layers in place of the real ones.
    """
    memory = [
        Row(
            f"memory {model} {method} {quantization}",
            MEMORY,
            TINY_SECONDS if tiny else seconds,
            cell_overrides(model, method, quantization, device, tiny=tiny),
        )
        for model, method, quantization, seconds in FIGURE1
    ]
    seven, seven_nf4, seven_base = (
        cell_overrides("codellama-7b", method, quantization, device, tiny=tiny)
        for method, quantization in (("lora", "none"), ("lora", "nf4"), ("zero-shot", "none"))
    )
    return [
        Row("tests of graphs", TESTS, 60, select="graphs"),
        Row("training codellama-7b lora none", TRAINING, 60, seven),
        *memory[:FIRST_MEMORY_ROWS],
        Row("generation codellama-7b none", GENERATION, TINY_SECONDS if tiny else 60, seven_base),
        Row("training codellama-7b lora nf4", TRAINING, 80, seven_nf4),
        *memory[FIRST_MEMORY_ROWS:],
        Row("tests all", TESTS, 120),
    ]


def prediction_rows(rows: list[Row], workers: int) -> list[Row]:
    """The predictions for the memory rows, spread over processes so that the first rows are predicted first."""
    cells = {
        prediction_name(row, arm): (*row.overrides, *overrides)
        for row in rows
        if row.kind == MEMORY
        for arm, overrides in memory_arms().items()
    }
    names = list(cells)
    shares = [{name: cells[name] for name in names[index::workers]} for index in range(workers)]
    return [Row(f"predictions {index}", PREDICTION, 0, cells=share) for index, share in enumerate(shares) if share]


def prediction_name(row: Row, arm: str) -> str:
    """The name of the prediction for an arm of a row."""
    return f"{row.name}, {arm}"


def cell_overrides(model: str, method: str, quantization: str, device: str, *, tiny: bool) -> tuple[str, ...]:
    """Overrides of a cell; see `benchmark_rows` for the last two arguments."""
    overrides = (
        *COMMON,
        f"model={model}",
        f"method={method}",
        f"quantization={quantization}",
        f"hardware.device={device}",
    )
    if not tiny:
        return overrides
    settings = next(settings for prefix, settings in SHRUNKEN.items() if model.startswith(prefix))
    if model.startswith("codellama"):
        settings = (*settings, f"num_key_value_heads={2 if '34b' in model else 8}")
    return (*overrides, *TINY, *(f"model.architecture.{setting}" for setting in settings))
