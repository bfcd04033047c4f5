"""Number formats: what a cell computes in, and in what its weights are stored."""

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from peft_study.config.schema import Device, MethodKind, Precision
from peft_study.errors import UserError

DTYPES = {Precision.fp32: torch.float32, Precision.bf16: torch.bfloat16, Precision.fp16: torch.float16}


@dataclass(frozen=True)
class Compute:
    """Where and in which number format a cell computes.

    Attributes:
        device: a torch device.
        precision: fp32, bf16 or fp16; never auto.
    """

    device: torch.device
    precision: Precision

    @property
    def dtype(self) -> torch.dtype:
        """The torch type of `precision`."""
        return DTYPES[self.precision]

    def storage(self, kind: MethodKind) -> torch.dtype:
        """The type that the base's weights are stored in.

        Weights that are trained themselves stay in fp32: a step of 5e-5 is lost in the rounding of a 16-bit weight.
        """
        return torch.float32 if kind is MethodKind.full else self.dtype

    def autocast(self, *, keep_casts: bool = True) -> AbstractContextManager[object]:
        """The context in which 16-bit generation runs, the same as in training.

        Args:
            keep_casts: keep 16-bit copies of trained weights until the context ends. Generation reads a weight at every
                token; a training step reads it once, and needs no second copy of a model that it trains as a whole.
        """
        if self.precision is Precision.fp32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype, cache_enabled=keep_casts)


def choose(device: Device, precision: Precision) -> Compute:
    """Resolve `auto` against the machine: on a GPU bf16 where it has that, else fp16; fp32 on a CPU.

    Raises:
        UserError: a GPU is asked for where none is, fp16 on a CPU, or bf16 on a GPU without it.
    """
    cuda = torch.cuda.is_available()
    if device is Device.cuda and not cuda:
        raise UserError(
            "no CUDA device is visible", where="hardware.device=cuda", hint="hardware=auto, or check nvidia-smi"
        )
    on = torch.device("cuda", torch.cuda.current_device()) if cuda and device is not Device.cpu else torch.device("cpu")
    has_bf16 = on.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision is Precision.auto:
        best_on_gpu = Precision.bf16 if has_bf16 else Precision.fp16
        precision = Precision.fp32 if on.type == "cpu" else best_on_gpu
    if precision is Precision.fp16 and on.type == "cpu":
        raise UserError("fp16 on a CPU", where="training.precision", hint="training.precision=auto, fp32 or bf16")
    if precision is Precision.bf16 and not has_bf16:
        raise UserError("this GPU has no bf16", where="training.precision", hint="training.precision=auto or fp16")
    return Compute(on, precision)
