"""What LoRA's copies of its inputs add to the predicted peak of training. Needs no GPU.

    python -m benchmarks.lora_memory

The memory replay predicts the peak of a step with `training.memory=fast` under changed LoRA layers:

- without_fp32_copies: inputs are not cast to fp32 before dropout (peft's `disable_input_dtype_casting`).
- without_dropout: `lora_dropout=0`, another training run; it bounds what recomputed dropout can save.
- recomputed: the branch up to LoRA's first matrix is checkpointed, so that only its input is stored.

A real step of a small model in bf16 says whether loss and gradients stay equal.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear
from peft.tuners.lora.bnb import Linear4bit
from peft.tuners.lora.layer import LoraLayer
from torch.utils.checkpoint import checkpoint

from benchmarks import record
from benchmarks.arms import perturb, trainable
from benchmarks.gpu.rows import cell_overrides, memory_arms
from peft_study.config.compose import compose_cell
from peft_study.config.schema import Precision
from peft_study.cost.replay.cuda_rules import replaced
from peft_study.cost.replay.peaks import replay
from peft_study.data.tokens import Encoded
from peft_study.models.adapter import adapter_config
from peft_study.models.families import FAMILIES
from peft_study.models.precision import choose
from peft_study.models.random_weights import on_meta_device
from peft_study.training.loss import training_loss
from peft_study.training.packing import Packer

MODELS = (("codellama-7b", "none"), ("codellama-7b", "nf4"))
NO_DROPOUT = "method.adapter.lora_dropout=0"
SAMPLES = [Encoded(tuple(range(300, 340)), tuple(range(400, 420)), 0, 0) for _ in range(8)]


@contextmanager
def _without_fp32_copies() -> Iterator[None]:
    with replaced(LoraLayer, "_cast_input_dtype", lambda _self, values, _dtype: values):
        yield


@contextmanager
def _recomputed() -> Iterator[None]:
    """Store a LoRA layer's input, and compute cast, dropout and first product again in the backward pass."""

    def forward(layer: Any, values: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        result: torch.Tensor = layer.base_layer(values, *args, **kwargs)
        name = layer.active_adapters[0]
        first, second, dropout = layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]

        def branch(inputs: torch.Tensor) -> torch.Tensor:
            reduced: torch.Tensor = first(dropout(layer._cast_input_dtype(inputs, first.weight.dtype)))
            return reduced

        reduced = checkpoint(branch, values, use_reentrant=False)
        added: torch.Tensor = result + second(reduced) * layer.scaling[name]
        return added.to(result.dtype)

    with replaced(Linear, "forward", forward), replaced(Linear4bit, "forward", forward):
        yield


Change = Callable[[], Any]
ARMS: Mapping[str, tuple[tuple[Change, ...], tuple[str, ...]]] = {
    "peft": ((), ()),
    "without_fp32_copies": ((_without_fp32_copies,), ()),
    "without_dropout": ((), (NO_DROPOUT,)),
    "without_both": ((_without_fp32_copies,), (NO_DROPOUT,)),
    "recomputed": ((_recomputed,), ()),
    "recomputed_without_fp32_copies": ((_recomputed, _without_fp32_copies), ()),
}
"""The changes of peft, and the overrides, of each arm."""


def main() -> None:
    """Run the benchmark and write its result."""
    rows = {}
    for model, quantization in MODELS:
        rows[f"{model} {quantization}"] = {arm: round(_peak(model, quantization, arm) / 1e9, 2) for arm in ARMS}
    expected = _gradients("peft")
    equal = {
        arm: all(torch.equal(first, second) for first, second in zip(expected, _gradients(arm), strict=True))
        for arm, (_, overrides) in ARMS.items()
        if not overrides
    }
    figures = {"predicted_train_peak_gb": rows, "loss_and_gradients_equal_in_bf16": equal}
    record.write("lora_memory", figures, packages=("torch", "transformers", "peft", "bitsandbytes"))


def _peak(model: str, quantization: str, arm: str) -> int:
    changes, overrides = ARMS[arm]
    fast = memory_arms()["fast"]
    cell = compose_cell([*cell_overrides(model, "lora", quantization, "cuda", tiny=False), *fast, *overrides])
    skeleton = on_meta_device(cell.model)
    assert skeleton is not None
    adapter = adapter_config(cell.method, FAMILIES[cell.model.family], "")
    with _changed(changes):
        return replay(cell, skeleton.config, adapter, Precision.bf16).train_peak_bytes


def _gradients(arm: str) -> list[torch.Tensor]:
    """Loss and gradients of a step of tiny-llama on a CPU, in bf16 with dropout."""
    cell = compose_cell(["model=tiny-llama", "training.precision=bf16", "hardware.device=cpu"])
    compute = choose(cell.hardware.device, cell.training.precision)
    model, tokenizer = trainable(cell)
    perturb(model)
    torch.manual_seed(0)
    with _changed(ARMS[arm][0]), compute.autocast(keep_casts=False):
        loss = training_loss(model, Packer.of(model, int(tokenizer.pad_token_id))(SAMPLES))
        loss.backward()
    return [loss.detach(), *(weights.grad for weights in model.parameters() if weights.grad is not None)]


@contextmanager
def _changed(changes: tuple[Change, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(change())
        yield


if __name__ == "__main__":
    main()
