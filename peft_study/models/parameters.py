"""Counting parameters, packed ones as what they stand for."""

import math
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """Sizes of a model.

    Attributes:
        total: all parameters, adapters included; a 4-bit weight counts as one although two share a byte.
        trainable: those that are trained.
    """

    total: int
    trainable: int


def count(model: nn.Module) -> ParameterCounts:
    """Count the parameters of a model, tied ones once."""
    sizes = [(_size(parameter), parameter.requires_grad) for parameter in model.parameters()]
    return ParameterCounts(
        total=sum(size for size, _ in sizes), trainable=sum(size for size, trained in sizes if trained)
    )


def _size(parameter: nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)
