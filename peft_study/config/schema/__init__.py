"""The typed schema of every config group, one module for each folder under conf/.

YAML under conf/ holds the values, these dataclasses the names and types. Hydra refuses at composition what does not
fit. Convert with `OmegaConf.to_object` before use: a dataclass that only served as a schema is still a dictionary.
"""

from peft_study.config.schema.cell import CellConfig, Retry, StudyConfig
from peft_study.config.schema.conventions import ConventionsConfig
from peft_study.config.schema.dataset import DatasetConfig, DatasetLayout, DatasetSource, PromptForm, Truncation
from peft_study.config.schema.generation import GenerationConfig
from peft_study.config.schema.hardware import Device, HardwareConfig
from peft_study.config.schema.method import (
    ExampleChoice,
    ExampleDraw,
    ExampleLeakage,
    ExampleOrder,
    MethodConfig,
    MethodKind,
    Targets,
)
from peft_study.config.schema.model import Attention, Family, ModelConfig, SizeClass, Weights
from peft_study.config.schema.quantization import QuantizationConfig
from peft_study.config.schema.scoring import ExecutionChoice, ScoringConfig
from peft_study.config.schema.tracking import Artifacts, TrackingConfig, WandbMode
from peft_study.config.schema.training import MemoryPolicy, Optimizer, Precision, RateSchedule, TrainingConfig

__all__ = [
    "Artifacts",
    "Attention",
    "CellConfig",
    "ConventionsConfig",
    "DatasetConfig",
    "DatasetLayout",
    "DatasetSource",
    "Device",
    "ExampleChoice",
    "ExampleDraw",
    "ExampleLeakage",
    "ExampleOrder",
    "ExecutionChoice",
    "Family",
    "GenerationConfig",
    "HardwareConfig",
    "MemoryPolicy",
    "MethodConfig",
    "MethodKind",
    "ModelConfig",
    "Optimizer",
    "Precision",
    "PromptForm",
    "QuantizationConfig",
    "RateSchedule",
    "Retry",
    "ScoringConfig",
    "SizeClass",
    "StudyConfig",
    "Targets",
    "TrackingConfig",
    "TrainingConfig",
    "Truncation",
    "WandbMode",
    "Weights",
]
