"""Where a model's weights lie and which architecture they declare, read before any weights."""

from dataclasses import dataclass

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PretrainedConfig

from peft_study.config.schema import ModelConfig, Weights
from peft_study.config.sources import EMBEDDED_SOURCE, local_path
from peft_study.errors import UserError, near_names
from peft_study.models import tiny
from peft_study.models.families import FAMILIES
from peft_study.models.random_weights import architecture_config


@dataclass(frozen=True, slots=True)
class Positions:
    """The positions of a decoder.

    Attributes:
        total: number of positions of the model.
        virtual: number of positions that an adapter's virtual tokens take.
    """

    total: int
    virtual: int = 0

    @property
    def free(self) -> int:
        """Number of positions for a prompt and its candidate."""
        return self.total - self.virtual

    def __str__(self) -> str:
        virtual = f" with {self.virtual} virtual tokens" if self.virtual else ""
        return f"the model's {self.total} positions{virtual}"


def declared_config(model: ModelConfig) -> PretrainedConfig | None:
    """The transformers config of a model's weights.

    Args:
        model: random weights follow `architecture`, pretrained weights the config of their source.

    Returns:
        None if the source cannot be read; loading the weights reports the reason.

    Raises:
        UserError: the architecture of the source is not `family`, or the package has no such embedded model.
    """
    if model.weights is Weights.random:
        return architecture_config(model)
    assert model.source is not None, "config.checks asks for a source"
    source = resolve_source(model.source)
    options = {"revision": model.revision} if model.revision else {}
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(source, trust_remote_code=False, **options)
    # What cannot be read is reported when the weights load, with the hint for it.
    except (OSError, ValueError, StrictDataclassError):
        return None
    check_family(model, config)
    return config


def check_family(model: ModelConfig, config: PretrainedConfig) -> None:
    """Refuse weights of another architecture than `model.family`.

    Args:
        model: settings of the model.
        config: config of the weights.

    Raises:
        UserError: the architectures differ.
    """
    if config.model_type != FAMILIES[model.family].model_type:
        raise UserError(
            f"{model.source} holds a {config.model_type} model, not {model.family}",
            where="model.family, model.source",
            hint=f"model.family={config.model_type} if that is a supported family, or another source",
        )


def resolve_source(source: str) -> str:
    """Return the folder of an embedded model or of a path below `~`, or any other source unchanged.

    Raises:
        UserError: the package has no embedded model of this name.
    """
    if not source.startswith(EMBEDDED_SOURCE):
        return str(local_path(source)) if source.startswith("~") else source
    name = source.removeprefix(EMBEDDED_SOURCE)
    if name not in tiny.MODELS:
        raise UserError(
            f"the package has no embedded model {name!r}", where="model.source", hint=near_names(name, tiny.MODELS)
        )
    return str(tiny.FOLDER / name)
