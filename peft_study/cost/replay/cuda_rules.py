"""What torch and bitsandbytes do on a GPU and not on a CPU, for tensors that only pretend to lie on either.

A torch without CUDA ends the process where autograd meets a fake CUDA tensor. The replay therefore uses fake CPU
tensors on every machine, and these rules make them follow the GPU's code path.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import bitsandbytes
import torch
from bitsandbytes import functional as bitsandbytes_functional
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from peft_study.cost.replay.compat import (
    MatMul8bitLt,
    efficient_attention,
    fill_table_of_8bit_values,
    flash_attention,
    run_backward,
)
from peft_study.cost.replay.live_bytes import Transient

FUSED_ROWS = 1536
"""bitsandbytes 0.50 multiplies up to so many rows without expanding a 4-bit weight (backends/cuda/ops.py)."""
_HALF, _INT32 = 2, 4
_BLOCK = 64
"""Weights that share a scale, bitsandbytes' default."""


class CudaRules(TorchFunctionMode):
    """Applies CUDA's autocast list of 32-bit operations and CUDA's attention kernels.

    CPU autocast already has CUDA's list of 16-bit operations. The 32-bit ones are those that transformers' models and
    our loss call (ATen/autocast_mode.h, AT_FORALL_FP32 and AT_FORALL_FP32_SET_OPT_DTYPE).
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function as CUDA would."""
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func is functional.dropout:
            return _dropout(*args, **kwargs)
        if func is torch.Tensor.backward:
            # Called as it is, it would leave these rules off for what checkpointing recomputes.
            with self:
                return run_backward(args[0])
        if func in _IN_FP32 and torch.is_autocast_enabled("cpu"):
            args = tuple(_in_fp32(value) for value in args)
            kwargs = {name: _in_fp32(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _dropout(values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Dropout as CUDA's kernel does it: it keeps a mask of one byte a value, where a CPU keeps the scaled noise."""
    if not training or p == 0.0:
        return values
    dropped: torch.Tensor = torch.ops.aten.native_dropout(values, p, True)[0]
    return dropped


def _in_fp32(value: Any) -> Any:
    return (
        value.float() if isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value
    )


_IN_FP32 = frozenset(
    {
        *(functional.layer_norm, functional.rms_norm, functional.nll_loss, functional.softmax, functional.log_softmax),
        *(torch.pow, torch.Tensor.pow, torch.Tensor.__pow__, torch.rsqrt, torch.Tensor.rsqrt),
        *(torch.softmax, torch.Tensor.softmax, torch.log_softmax, torch.Tensor.log_softmax),
        *(torch.sum, torch.Tensor.sum, torch.cumsum, torch.Tensor.cumsum, torch.logsumexp, torch.Tensor.logsumexp),
        *(torch.exp, torch.Tensor.exp, torch.log, torch.Tensor.log, torch.reciprocal, torch.Tensor.reciprocal),
    }
)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Attention as CUDA's kernels do it: flash for 16 bits without a mask, else the memory-efficient one.

    Args:
        query: (batch, heads, queries, head size).
        key: (batch, key heads, keys, head size).
        value: likewise.
        attn_mask: broadcasts to (batch, heads, queries, keys).
        dropout_p: of the attention weights.
        is_causal: mask what comes later.
        scale: of the scores.
        enable_gqa: several query heads share a key head.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if attn_mask is None and query.dtype is not torch.float32:
        outputs: tuple[torch.Tensor, ...] = flash_attention(query, key, value, dropout_p, is_causal, False, scale=scale)
        return outputs[0]
    if enable_gqa:
        shared = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    if attn_mask is not None:
        bias = torch.zeros_like(attn_mask, dtype=query.dtype) if attn_mask.dtype is torch.bool else attn_mask
        attn_mask = bias.to(query.dtype).expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    keep_statistics = torch.is_grad_enabled()
    outputs = efficient_attention(query, key, value, attn_mask, keep_statistics, dropout_p, is_causal, scale=scale)
    return outputs[0]


@contextmanager
def cuda_layers() -> Iterator[None]:
    """Let bitsandbytes' layers hold fake weights and take the GPU's code path."""
    fill_table_of_8bit_values()
    with ExitStack() as stack:
        stack.enter_context(replaced(bitsandbytes, "matmul", _int8_matmul))
        for module in (bitsandbytes.nn, bitsandbytes.nn.modules):
            stack.enter_context(replaced(module, "Params4bit", _weight_4bit))
            stack.enter_context(replaced(module, "Int8Params", _weight_8bit))
        yield


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Put another value in the place of a module's attribute for a while."""
    plain = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, plain)


def _weight_4bit(data: torch.Tensor, module: Any = None, **settings: Any) -> nn.Parameter:
    """What `Params4bit` holds, without its class, which no fake tensor can have.

    Args:
        data: (outputs, inputs); on the meta device until the weights are read.
        module: the layer.
        **settings: those of `Params4bit`; others are passed over.
    """
    weight = nn.Parameter(data, requires_grad=False)
    if data.device.type != "meta":
        packed, state = bitsandbytes_functional.quantize_4bit(
            data.contiguous(),
            blocksize=settings["blocksize"],
            compress_statistics=settings["compress_statistics"],
            quant_type=settings["quant_type"],
            quant_storage=settings["quant_storage"],
        )
        weight = nn.Parameter(packed, requires_grad=False)
        weight.quant_state = module.quant_state = state  # type: ignore[attr-defined]
    kept = {name: settings.get(name) for name in ("compress_statistics", "quant_type", "quant_storage")}
    vars(weight).update(kept, blocksize=settings.get("blocksize") or _BLOCK, module=module)
    return weight


def _weight_8bit(data: torch.Tensor, has_fp16_weights: bool = False, **_: Any) -> nn.Parameter:
    """What `Int8Params` holds, likewise."""
    scales = None
    if data.device.type != "meta" and data.dtype is not torch.int8:
        data, scales, _outliers = bitsandbytes_functional.int8_vectorwise_quant(data.contiguous().half())
    weight = nn.Parameter(data, requires_grad=False)
    vars(weight).update(CB=None if scales is None else weight.data, SCB=scales, has_fp16_weights=has_fp16_weights)
    return weight


def _int8_matmul(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    out: Any = None,
    state: Any = None,
    threshold: float = 0.0,
    bias: Any = None,
) -> Any:
    # Which columns hold outliers depends on values, and they are few: without a threshold none is split off.
    state.threshold = 0.0
    return MatMul8bitLt.apply(inputs, weight, out, bias, state)  # type: ignore[no-untyped-call]


def _expanded_4bit(args: Sequence[Any]) -> int:
    inputs, _, shape = args[:3]
    rows = inputs.numel() // inputs.shape[-1]
    return shape[0] * shape[1] * inputs.element_size() if rows > FUSED_ROWS else 0


def _int8_quantised(args: Sequence[Any]) -> int:
    # Absolute values in 16 bits, and a mask.
    return int(args[0].numel() * (_HALF + 1))


def _int8_product(args: Sequence[Any]) -> int:
    inputs, weight = args[:2]
    return int(inputs.numel() // inputs.shape[-1] * weight.shape[0] * (_INT32 + _HALF))


TRANSIENTS: Mapping[str, Transient] = {
    "bitsandbytes::gemm_4bit": _expanded_4bit,
    "bitsandbytes::int8_vectorwise_quant": _int8_quantised,
    "bitsandbytes::int8_scaled_mm": _int8_product,
}
"""What bitsandbytes' CUDA kernels allocate within one operation, of which its fake operations say nothing."""
