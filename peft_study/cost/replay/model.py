"""Load a cell's model on fake tensors, by the same code as a real model."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from peft_study.config.schema import Attention, CellConfig
from peft_study.cost.replay.compat import FakeTensorMode, without_loading_threads
from peft_study.cost.replay.cuda_rules import TRANSIENTS, CudaRules, cuda_layers, replaced
from peft_study.cost.replay.live_bytes import LiveBytes
from peft_study.models.compat import tied_names
from peft_study.models.loading import load_state
from peft_study.models.precision import Compute


class _UnreadWeight:
    """A weight of a file, which takes memory when it is read."""

    def __init__(self, shape: torch.Size, dtype: torch.dtype) -> None:
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, _everything: object) -> torch.Tensor:
        return torch.empty(self.shape, dtype=self.dtype)


@contextmanager
def fake_tensors(*, like_cuda: bool = True) -> Iterator[LiveBytes]:
    """Create all tensors without data while the context is active, and count their bytes.

    Args:
        like_cuda: follow the code path and the allocator of a GPU; else those of a CPU, whose allocator does not round.

    Yields:
        the counter.
    """
    with ExitStack() as stack:
        # peft 0.21 asks transformers 5.23 by a name that transformers is about to drop.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        stack.enter_context(without_loading_threads())
        stack.enter_context(_without_progress_bar())
        stack.enter_context(cuda_layers())
        # Module.to swaps the tensors of fake parameters, which torch refuses because weak references to them exist.
        stack.enter_context(replaced(torch.utils, "swap_tensors", _take_data))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        # Tensors that the libraries made earlier, such as tables of positions, may be real.
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        if like_cuda:
            counter = stack.enter_context(LiveBytes(transients=TRANSIENTS))
            stack.enter_context(CudaRules())
        else:
            counter = stack.enter_context(LiveBytes(unit=1))
        yield counter


def load(cell: CellConfig, skeleton: PreTrainedModel, compute: Compute) -> PreTrainedModel:
    """Load a cell's base inside `fake_tensors`.

    Args:
        cell: the typed config.
        skeleton: the cell's model on the meta device.
        compute: the number format; the device is the CPU.
    """
    dtype = compute.storage(cell.method.kind)
    tied = tied_names(skeleton)
    state = {
        name: _UnreadWeight(value.shape, dtype) for name, value in skeleton.state_dict().items() if name not in tied
    }
    model = cell.model
    if model.attention is Attention.flash_attention_2:
        # Its kernels take no fake tensors; torch's need as much memory, since neither stores scores.
        model = replace(model, attention=Attention.sdpa)
    return load_state(model, cell.quantization, cell.method.kind, compute, skeleton, state)


def _take_data(parameter: torch.Tensor, converted: torch.Tensor) -> None:
    parameter.data = converted.data


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()
