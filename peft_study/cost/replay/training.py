"""Replay an optimizer step and an evaluation, as transformers' Trainer runs them in `training.loop`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import convert_outputs_to_fp32  # type: ignore[import-untyped]
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from transformers.optimization import Adafactor

from peft_study.config.schema import DatasetConfig, Precision, TrainingConfig
from peft_study.config.schema import Optimizer as OptimizerKind
from peft_study.data.tokens import Encoded
from peft_study.models.loading import Model
from peft_study.models.precision import Compute
from peft_study.training.loss import training_loss
from peft_study.training.packing import BatchBuilder, batch_builder

PLACEHOLDER = 0
"""Id of every token of the replay; its value does not matter."""

BNB_SMALLEST = 4096
"""Elements of a tensor below which moments keep 32 bits: bitsandbytes 0.50, `min_8bit_size`."""
BNB_PAGED = 100_000
"""Elements of a tensor from which a paged optimizer pages its state: bitsandbytes 0.50, `get_state_buffer`."""
BNB_BLOCK = 256
"""Elements for each scale of 8-bit moments: bitsandbytes 0.50, blockwise quantization."""
Begin = Callable[[str], None]


def take_step(model: Model, settings: TrainingConfig, dataset: DatasetConfig, compute: Compute, begin: Begin) -> None:
    """Train a step with an optimizer that already has its state, and evaluate a batch.

    Args:
        model: base or adapter with `requires_grad` set, on fake tensors.
        settings: batch sizes and gradient clipping.
        dataset: gives the limits, which every sample fills.
        compute: the number format.
        begin: receives the name of each segment when it begins.
    """
    collator = batch_builder(model, PLACEHOLDER, settings, dataset)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optimizer_of(trained, settings.optimizer)
    begin("first step")
    # The first step creates the optimizer's state, which takes memory in all later steps.
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    if settings.micro_batch_size == settings.batch_size:
        optimizer.zero_grad(set_to_none=True)
    # With several micro-batches, gradients of the first are in memory during the second: they stay for this step.
    begin("forward")
    with _mixed_precision(model, compute), _halves_of_backward(model, begin):
        loss = _loss(model, collator, settings.micro_batch_size, dataset)
        begin("backward")
        loss.backward()
    begin("update")
    clip_grad_norm_(trained, settings.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    begin("evaluation")
    model.eval()
    with torch.no_grad(), _mixed_precision(model, compute):
        _loss(model, collator, settings.batch_size, dataset)


class _StateOnly(Optimizer):
    """An AdamW that creates its state and computes nothing: its kernels update in place."""

    def __init__(self, parameters: Sequence[nn.Parameter], kind: OptimizerKind) -> None:
        super().__init__(parameters, {})
        self._kind = kind

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Create the two moments of each parameter at the first step."""
        for parameter in (parameter for group in self.param_groups for parameter in group["params"]):
            if parameter not in self.state:
                self.state[parameter] = {"moments": self._moments(parameter)}

    def _moments(self, parameter: nn.Parameter) -> list[torch.Tensor]:
        if self._kind is OptimizerKind.adamw:
            return [torch.empty_like(parameter) for _ in range(2)]
        size = parameter.numel()
        eight_bits = self._kind in {OptimizerKind.adamw_8bit, OptimizerKind.paged_adamw_8bit} and size >= BNB_SMALLEST
        # Paged moments are outside torch's allocator. bitsandbytes pages large tensors only.
        paged = self._kind in {OptimizerKind.paged_adamw, OptimizerKind.paged_adamw_8bit} and size >= BNB_PAGED
        dtype = torch.uint8 if eight_bits else torch.float32
        moments = [] if paged else [torch.empty_like(parameter, dtype=dtype) for _ in range(2)]
        blocks = -(-size // BNB_BLOCK)
        scales = [torch.empty(blocks, dtype=torch.float32) for _ in range(2)] if eight_bits else []
        return [*moments, *scales]


def optimizer_of(parameters: Sequence[nn.Parameter], kind: OptimizerKind) -> Optimizer:
    """Create the optimizer of a replay for `training.optimizer`."""
    if kind is OptimizerKind.adafactor:
        # The Trainer's flags. With `relative_step`, Adafactor would refuse a learning rate.
        return Adafactor(parameters, lr=1e-3, scale_parameter=False, relative_step=False)
    return _StateOnly(parameters, kind)


@contextmanager
def _halves_of_backward(model: Model, begin: Begin) -> Iterator[None]:
    """Begin another segment in the middle of the backward pass of each stack of layers."""
    # Along the backward pass activations are freed and gradients created, so that the peak is at one of the ends. A
    # segment for each end keeps the bytes of a segment linear in the number of layers.

    def watch(number: int) -> Callable[..., None]:
        def before_layer(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden = args[0] if args else kwargs.get("hidden_states")
            if isinstance(hidden, torch.Tensor) and hidden.requires_grad:
                hidden.register_hook(lambda _: begin(f"backward past stack {number}"))

        return before_layer

    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) > 1]
    # A T5 layer contains a list as well. If it counted, the names of the segments would depend on the number of layers.
    nested = {id(inner) for outer in lists for inner in outer.modules() if inner is not outer}
    stacks = [stack for stack in lists if id(stack) not in nested]
    handles = [
        stack[len(stack) // 2].register_forward_pre_hook(watch(number), with_kwargs=True)
        for number, stack in enumerate(stacks)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _mixed_precision(model: Model, compute: Compute) -> Iterator[None]:
    """Compute as accelerate does: autocast inside the model's forward, and outputs in 32 bits."""
    if compute.precision is Precision.fp32:
        yield
        return
    model.forward = convert_outputs_to_fp32(compute.autocast(keep_casts=False)(model.forward))  # type: ignore[method-assign,operator]
    try:
        with compute.autocast(keep_casts=False):
            yield
    finally:
        del model.forward


def _loss(model: Model, collator: BatchBuilder, samples: int, dataset: DatasetConfig) -> torch.Tensor:
    ids = (PLACEHOLDER,)
    longest = Encoded(ids * dataset.max_prompt_tokens, ids * dataset.max_target_tokens, prompt_cut=0, target_cut=0)
    return training_loss(model, collator([longest] * samples))
