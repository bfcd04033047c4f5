"""Rules within a config group: which names and numbers its settings take."""

import math
import re
from collections.abc import Iterator
from operator import attrgetter

from peft_study.config.schema import CellConfig, GenerationConfig, ScoringConfig, TrainingConfig
from peft_study.config.schema.tracking import WANDB_PROJECT, WANDB_PROJECT_NAMES
from peft_study.errors import UserError

# Names become folder names, table cells and dashboard labels.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_NAMED_GROUPS = ("study", "model", "method", "dataset", "quantization", "conventions")
_POSITIVE = {
    "training": ("epochs", "batch_size", "micro_batch_size", "evaluations_per_epoch", "max_grad_norm"),
    "generation": ("num_beams", "num_candidates", "temperature", "batch_size", "cache_gb"),
    "dataset": ("limit", "test_limit", "max_prompt_tokens", "max_target_tokens", "max_new_tokens"),
    "hardware": ("threads", "memory_budget_gb", "peak_tflops", "gpus_per_cell"),
    "tracking": ("timeout_seconds",),
    "method": ("learning_rate",),
    "conventions": ("max_sample_tokens", "ia3_learning_rate"),
}
# A day, a tebibyte, a gibibyte. More is a typing error.
_LARGEST_SCORING = {
    "cpu_seconds": 86_400,
    "wall_seconds": 86_400,
    "memory_mb": 2**20,
    "output_kb": 2**20,
    "workers": 1024,
}
_MAX_RESAMPLES = 1_000_000


def check_names(cell: CellConfig) -> None:
    """Refuse names that could lead a path out of the output folder.

    Raises:
        UserError: the first invalid name.
    """
    for problem in _name_problems(cell):
        raise problem


def range_problems(cell: CellConfig) -> Iterator[UserError]:
    """Every name and number of a cell that its setting does not take."""
    yield from _name_problems(cell)
    yield from _number_problems(cell)
    yield from _batch_problems(cell.training)
    yield from _beam_problems(cell.generation)
    yield from scoring_problems(cell.scoring)


def scoring_problems(scoring: ScoringConfig) -> Iterator[UserError]:
    """Every setting of scoring that is out of its range."""
    for name, largest in _LARGEST_SCORING.items():
        value = getattr(scoring, name)
        if value is not None and not 0 < value <= largest:
            yield UserError(
                f"scoring.{name} must be above 0 and at most {largest:,}, got {value}",
                where=f"scoring.{name}",
                hint=f"scoring.{name}={getattr(ScoringConfig, name) or 'null'}, the default",
            )
    if not 0 <= scoring.resamples <= _MAX_RESAMPLES:
        what = f"scoring.resamples must be between 0 and {_MAX_RESAMPLES:,}, got {scoring.resamples}"
        yield UserError(what, where="scoring.resamples", hint="scoring.resamples=10000, or 0 for no intervals")


def _name_problems(cell: CellConfig) -> Iterator[UserError]:
    for group in _NAMED_GROUPS:
        where, name = f"{group}.name", getattr(cell, group).name
        if not NAME.fullmatch(name):
            what = f"{where} must be 1 to 80 letters, digits, '.', '_' and '-', got {name!r}"
            yield UserError(what, where=where, hint=f"{where}=NAME, beginning with a letter or digit")


def _number_problems(cell: CellConfig) -> Iterator[UserError]:
    for where in (f"{group}.{name}" for group, names in _POSITIVE.items() for name in names):
        value = attrgetter(where)(cell)
        # A float setting also accepts NaN and infinity from a command line.
        if value is not None and not 0 < value < math.inf:
            yield UserError(
                f"{where} must be a positive number, got {value}", where=where, hint=f"for example {where}=1"
            )
    training, generation, hardware, tracking = cell.training, cell.generation, cell.hardware, cell.tracking
    fits_trackers = "wandb" not in tracking.trackers or WANDB_PROJECT.fullmatch(tracking.project) is not None
    for where, holds, allowed, example in (
        ("generation.length_penalty", math.isfinite(generation.length_penalty), "a finite number", "1.0"),
        ("hardware.oom_retries", hardware.oom_retries >= 0, "at least 0", "10"),
        ("hardware.requeues", hardware.requeues >= 0, "at least 0", "3"),
        ("training.weight_decay", 0 <= training.weight_decay < math.inf, "at least 0", "0.01"),
        ("training.warmup_fraction", 0 <= training.warmup_fraction < 1, "at least 0 and below 1", "0.05"),
        ("tracking.predictions", 0 <= tracking.predictions <= 10_000, "between 0 and 10000", "100"),
        ("tracking.project", fits_trackers, WANDB_PROJECT_NAMES, "my-project"),
        # numpy, which transformers' `set_seed` seeds as well, takes 32 bits.
        ("seed", 0 <= cell.seed < 2**32, f"between 0 and {2**32 - 1}", "42"),
        ("generation.top_p", 0 < generation.top_p <= 1, "above 0 and at most 1", "1 for all tokens"),
        ("generation.top_k", generation.top_k >= 0, "0 (all tokens) or more", "0"),
    ):
        if not holds:
            what = f"{where} must be {allowed}, got {attrgetter(where)(cell)}"
            yield UserError(what, where=where, hint=f"{where}={example}")


def _batch_problems(training: TrainingConfig) -> Iterator[UserError]:
    if training.micro_batch_size > 0 and training.batch_size % training.micro_batch_size:
        yield UserError(
            f"training.batch_size must be a multiple of training.micro_batch_size, got {training.batch_size} and"
            f" {training.micro_batch_size}",
            where="training.batch_size, training.micro_batch_size",
            hint="training.micro_batch_size=8, 4, 2 or 1 for the study's batch of 8",
        )


def _beam_problems(generation: GenerationConfig) -> Iterator[UserError]:
    # transformers would sample within beams, which are not independent, and pass@k needs independent candidates.
    if generation.temperature is not None and generation.num_beams != 1:
        yield UserError(
            f"generation.num_beams must be 1 with a temperature, which samples candidates, got {generation.num_beams}",
            where="generation.num_beams, generation.temperature",
            hint="generation.num_beams=1, as generation=sampling has it, or generation.temperature=null",
        )
    if generation.temperature is None and generation.num_candidates > generation.num_beams:
        yield UserError(
            f"generation.num_beams must be at least generation.num_candidates ({generation.num_candidates}), got"
            f" {generation.num_beams}",
            where="generation.num_beams, generation.num_candidates",
            hint=f"generation.num_beams={generation.num_candidates}",
        )
