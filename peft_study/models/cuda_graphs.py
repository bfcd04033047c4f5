"""CUDA graphs: the kernels of a computation, recorded once and launched together.

A step of a 7B model launches thousands of kernels, and on a fast GPU Python takes longer to launch them than the GPU
takes to run them (docs/performance-log.md). A graph launches all of them at once, and computes the same numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftType
from transformers import PretrainedConfig

from peft_study.errors import UserError
from peft_study.models.loading import Model, base_of
from peft_study.models.out_of_memory import is_out_of_memory

# A wait for the GPU inside of a computation cannot be recorded, and a failed recording spoils torch's random state.
# Only what `tests/gpu` compares with usual steps is therefore recorded.
_ARCHITECTURES = frozenset({"llama", "codegen"})
_ADAPTERS = frozenset({PeftType.LORA, PeftType.IA3, PeftType.PROMPT_TUNING, PeftType.PREFIX_TUNING})
_LORA_SETTINGS = frozenset(
    {
        *("task_type", "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision"),
        *("r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules", "exclude_modules", "inference_mode"),
        *("layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern"),
    }
)
"""Settings of plain LoRA. Others select a variant, which may compute something else in each step."""

Output = TypeVar("Output")


def is_recordable(model: Model) -> bool:
    """Whether forward passes of a model can be recorded: no part of it waits for the GPU.

    Args:
        model: base or adapter.
    """
    base: Any = base_of(model)
    adapter = model.active_peft_config if isinstance(model, PeftModel) else None
    return (
        model.device.type == "cuda"
        and base.config.model_type in _ARCHITECTURES
        and not _looks_at_positions(base.config)
        and (adapter is None or is_recordable_adapter(adapter))
        # 8-bit layers look for outliers, and wait for their number.
        and not getattr(base, "is_loaded_in_8bit", False)
    )


def _looks_at_positions(config: PretrainedConfig) -> bool:
    """Whether the model compares positions with the longest so far: rotary embeddings that change with the length."""
    rotary = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = str(rotary.get("rope_type", rotary.get("type", "default")))
    return "dynamic" in kind or kind == "longrope"


def is_recordable_adapter(adapter: PeftConfig) -> bool:
    """Whether forward passes of an adapter can be recorded: the methods of the study, without variants."""
    if adapter.peft_type not in _ADAPTERS:
        return False
    if not isinstance(adapter, LoraConfig):
        return True
    defaults = vars(LoraConfig())
    return all(value == defaults.get(name) for name, value in vars(adapter).items() if name not in _LORA_SETTINGS)


class Recording(Generic[Output]):
    """A recorded computation.

    Args:
        graph: its kernels.
        inputs: the tensors that the kernels read.
        output: the tensors that the kernels write.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, inputs: Mapping[str, torch.Tensor], output: Output) -> None:
        self._graph = graph
        self._inputs = inputs
        self._output = output

    def replay(self, inputs: Mapping[str, torch.Tensor]) -> Output:
        """Compute the output for other inputs.

        Args:
            inputs: tensors with the names and shapes of the recorded ones.

        Returns:
            the output, which the next replay overwrites.
        """
        for name, values in inputs.items():
            self._inputs[name].copy_(values, non_blocking=True)
        self._graph.replay()
        return self._output


class Recorder:
    """Records computations that never run at the same time, and therefore share the memory of their activations."""

    def __init__(self) -> None:
        self._pool: Any = None

    def record(
        self, compute: Callable[[Mapping[str, torch.Tensor]], Output], inputs: Mapping[str, torch.Tensor]
    ) -> Recording[Output]:
        """Record a computation. It is not executed: `Recording.replay` does that.

        Args:
            compute: launches kernels and never waits for the GPU. It must have run before with inputs of these shapes,
                because a first run chooses kernels. Tensors that it reads besides its inputs must stay where they are.
            inputs: what it is called with; the recording keeps copies.

        Raises:
            UserError: for every error other than exhausted memory. The random state of torch is then unusable.
        """
        graph = torch.cuda.CUDAGraph()
        recorded_inputs = {name: values.clone() for name, values in inputs.items()}
        # With the default mode, a call of another thread, such as one that copies a batch, would spoil the recording.
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                output = compute(recorded_inputs)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise UserError(
                f"a step cannot be recorded as a CUDA graph: {error}",
                where="hardware.cuda_graphs",
                hint="hardware.cuda_graphs=false computes each step as usual",
            ) from error
        self._pool = graph.pool()
        return Recording(graph, recorded_inputs, output)


def memory_room(device: torch.device) -> int:
    """Bytes that this process may still allocate on a GPU: within its budget, and within what other processes leave."""
    free, total = torch.cuda.mem_get_info(device)
    budget = int(torch.cuda.get_per_process_memory_fraction(device) * total)
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    return min(budget - allocated, free + reserved - allocated)
