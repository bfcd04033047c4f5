"""Count parameters; a packed 4-bit parameter counts as the weights that it holds."""

import math
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """Sizes of a model.

    Attributes:
        total: number of all parameters, adapters included. A 4-bit weight counts as one, although two share a byte.
        trainable: number of trained parameters.
    """

    total: int
    trainable: int


def count(model: nn.Module) -> ParameterCounts:
    """Count the parameters of a model; tied parameters count once."""
    sizes = [(size_of(parameter), parameter.requires_grad) for parameter in model.parameters()]
    return ParameterCounts(
        total=sum(size for size, _ in sizes), trainable=sum(size for size, trained in sizes if trained)
    )


def size_of(parameter: nn.Parameter) -> int:
    """Return the number of weights that a parameter holds."""
    # bitsandbytes packs two 4-bit weights into a byte, and `numel` counts the bytes.
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)
