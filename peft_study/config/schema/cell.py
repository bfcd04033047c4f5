"""A cell and its study."""

from dataclasses import dataclass, field
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
from peft_study.config.schema.training import TrainingConfig


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
