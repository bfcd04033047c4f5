"""Adafactor over groups of equal parameters."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers.optimization import Adafactor

MOST_NUMBERS = 1 << 24
"""Most numbers in a group: 67 MB in fp32 for each tensor that a step allocates."""


class GroupedAdafactor(Adafactor):
    """transformers' Adafactor, with a single launch of each operation for all parameters of equal shape.

    transformers updates each parameter separately, with some twenty kernels. An adapter has hundreds of small
    parameters, and launching their kernels takes longer than the update (docs/performance-log.md). The state and the
    result are those of transformers, and so is a step with settings other than this project's: a first
    moment, relative steps, scaled parameters or 16-bit parameters.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update the parameters; see torch.optim.Optimizer."""
        if not self._can_group():
            return super().step(closure)  # type: ignore[no-untyped-call]
        loss = None if closure is None else closure()
        for settings in self.param_groups:
            for parameters in self._groups(settings["params"]):
                self._update(parameters, settings)
        return loss

    def _can_group(self) -> bool:
        return all(
            settings["beta1"] is None
            and not settings["scale_parameter"]
            and not settings["relative_step"]
            and all(parameter.dtype == torch.float32 for parameter in settings["params"])
            for settings in self.param_groups
        )

    def _groups(self, parameters: list[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
        """Parameters with a gradient, of equal shape and with equally many steps."""
        by_key: dict[Any, list[torch.nn.Parameter]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                key = (parameter.shape, parameter.device, self.state[parameter].get("step", 0))
                by_key.setdefault(key, []).append(parameter)
        for group in by_key.values():
            size = max(1, MOST_NUMBERS // max(1, group[0].numel()))
            for start in range(0, len(group), size):
                yield group[start : start + size]

    def _update(self, parameters: list[torch.nn.Parameter], settings: dict[str, Any]) -> None:
        weights: list[torch.Tensor] = [*parameters]
        gradients = _stacked([parameter.grad for parameter in parameters])
        states = [self.state[parameter] for parameter in parameters]
        step = states[0].get("step", 0) + 1
        # The formulas, and the order of their operations, are those of transformers 5.23, `Adafactor.step`.
        decay = 1.0 - math.pow(step, settings["decay_rate"])
        squares = gradients**2 + settings["eps"][0]
        if parameters[0].ndim > 1:
            rows, columns = squares.mean(dim=-1), squares.mean(dim=-2)
            rows = self._average(states, "exp_avg_sq_row", rows, decay)
            columns = self._average(states, "exp_avg_sq_col", columns, decay)
            updates: torch.Tensor = self._approx_sq_grad(rows, columns).mul_(gradients)  # type: ignore[no-untyped-call]
        else:
            updates = self._average(states, "exp_avg_sq", squares, decay).rsqrt().mul_(gradients)
        flat = updates.view(len(parameters), -1)
        size = torch.linalg.vector_norm(flat, dim=1, keepdim=True) / flat.shape[1] ** 0.5
        flat.div_((size / settings["clip_threshold"]).clamp_(min=1.0)).mul_(settings["lr"])
        for state in states:
            # transformers stores the size of a parameter under "RMS", which only `scale_parameter` reads.
            state.update(step=step, RMS=0)
        if settings["weight_decay"]:
            torch._foreach_mul_(weights, 1 - settings["weight_decay"] * settings["lr"])
        torch._foreach_sub_(weights, list(updates.unbind()))

    @staticmethod
    def _average(states: list[dict[str, Any]], name: str, values: torch.Tensor, decay: float) -> torch.Tensor:
        """Update a moving average of each parameter."""
        is_first_step = name not in states[0]
        averages = torch.zeros_like(values) if is_first_step else _stacked([state[name] for state in states])
        averages.mul_(decay).add_(values, alpha=1.0 - decay)
        for state, average in zip(states, averages.unbind(), strict=True):
            state[name] = average
        return averages


def _stacked(tensors: list[Any]) -> torch.Tensor:
    # A single tensor needs no copy, which for the weights of a layer would be large.
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)
