"""A cell and its study."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from peft_study.config.schema.conventions import ConventionsConfig
from peft_study.config.schema.dataset import DatasetConfig
from peft_study.config.schema.generation import GenerationConfig
from peft_study.config.schema.hardware import HardwareConfig
from peft_study.config.schema.method import MethodConfig
from peft_study.config.schema.model import ModelConfig
from peft_study.config.schema.quantization import QuantizationConfig
from peft_study.config.schema.scoring import ScoringConfig
from peft_study.config.schema.tracking import TrackingConfig
from peft_study.config.schema.training import MemoryPolicy, TrainingConfig

SMALL_CACHE_GB = 0.4
"""Keys, values and scores of generation with `training.memory=small`: a prompt of CodeLlama-7B with ten candidates."""


class Retry(StrEnum):
    """Which cells that ran and did not succeed run again. Interrupted cells always resume."""

    failed = "failed"
    oom = "oom"
    all = "all"  # failed, oom and diverged
    none = "none"


@dataclass
class StudyConfig:
    """The study of a cell, and for a sweep its cells.

    Attributes:
        name: the folder under `output_dir`.
        common: settings of every block, as `group` or `group.key`.
        blocks: small grids, each a mapping of settings to a value or a list of values. A cell has none.
        includes: other studies whose blocks are part of it.
    """

    name: str = "single"
    common: dict[str, Any] = field(default_factory=dict)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)


@dataclass
class CellConfig:
    """A cell: model x quantization x method x dataset x seed, and how it is trained, decoded and tracked.

    Attributes:
        seed: of adapter initialization, data order and dropout.
        rerun: start over, even if there is a finished or interrupted result.
        retry: which cells with an earlier failure run again: those with status failed, with status oom, all, or none.
        stop_on_failure: of a sweep: after the first cell that fails, end the running cells and start no other.
        output_dir: the folder of the studies.
    """

    seed: int = 42  # of the study's package
    rerun: bool = False
    retry: Retry = Retry.all
    stop_on_failure: bool = False
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

    @property
    def limited_generation(self) -> GenerationConfig:
        """The settings of generation, with the memory that `training.memory` allows."""
        settings = self.generation
        if self.training.memory is not MemoryPolicy.small:
            return settings
        return replace(settings, cache_gb=min(settings.cache_gb, SMALL_CACHE_GB))
