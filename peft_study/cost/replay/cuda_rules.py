"""Rules that make fake CPU tensors follow the code path of a GPU in torch and bitsandbytes.

A torch without CUDA ends the process when autograd meets a fake CUDA tensor. The replay therefore uses fake CPU tensors
on every machine.
"""

import math
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
"""bitsandbytes 0.50 multiplies up to this many rows without expanding a 4-bit weight (backends/cuda/ops.py)."""
_HALF, _INT32 = 2, 4
"""Bytes of a number."""
_BLOCK = 64
"""Number of weights that share a scale, by bitsandbytes' default."""


class CudaRules(TorchFunctionMode):
    """Applies CUDA's autocast list of 32-bit operations and CUDA's attention kernels.

    CPU autocast already has CUDA's list of 16-bit operations. The list of 32-bit operations holds those that the models
    and our loss call. Source: ATen/autocast_mode.h, AT_FORALL_FP32 and AT_FORALL_FP32_SET_OPT_DTYPE.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function as CUDA would."""
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func is functional.dropout:
            return _dropout(*args, **kwargs)
        if func is torch.Tensor.backward:
            # A plain backward pass would run the recomputed operations without these rules: see `run_backward`.
            with self:
                return run_backward(args[0])
        if func in _IN_FP32 and torch.is_autocast_enabled("cpu"):
            args = tuple(_in_fp32(value) for value in args)
            kwargs = {name: _in_fp32(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _dropout(values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Dropout by CUDA's kernel, which stores a mask with a byte for each value. A CPU stores the scaled noise."""
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
    """Attention by CUDA's kernels: flash attention for 16 bits without a mask, else memory-efficient attention.

    Neither takes a mask whose last dimension has gaps, as T5's bias has it in transformers before 5.23: plain products
    follow. The arguments are those of `scaled_dot_product_attention`. Source: ATen/native/transformers/sdp_utils_cpp.h.
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
        if attn_mask.stride(-1) != 1:
            return _attention_of_products(query, key, value, attn_mask, dropout_p, scale)
    keep_statistics = torch.is_grad_enabled()
    outputs = efficient_attention(query, key, value, attn_mask, keep_statistics, dropout_p, is_causal, scale=scale)
    return outputs[0]


def _attention_of_products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor,
    dropout_p: float,
    scale: float | None,
) -> torch.Tensor:
    """Attention in 32 bits, as `_scaled_dot_product_attention_math` of ATen/native/transformers/attention.cpp."""
    with torch.autocast("cpu", enabled=False):
        root = math.sqrt(query.shape[-1] ** -0.5 if scale is None else scale)
        scores = (query.float() * root) @ (key.float().transpose(-2, -1) * root) + bias
        weights = torch.ops.aten._safe_softmax.default(scores, -1)
        return (_dropout(weights, dropout_p) @ value.float()).to(query.dtype)


@contextmanager
def cuda_layers() -> Iterator[None]:
    """Make bitsandbytes' layers accept fake weights and follow the GPU's code path."""
    fill_table_of_8bit_values()
    with ExitStack() as stack:
        stack.enter_context(replaced(bitsandbytes, "matmul", _int8_matmul))
        for module in (bitsandbytes.nn, bitsandbytes.nn.modules):
            stack.enter_context(replaced(module, "Params4bit", _weight_4bit))
            stack.enter_context(replaced(module, "Int8Params", _weight_8bit))
        yield


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a module while the context is active."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


def _weight_4bit(data: torch.Tensor, module: Any = None, **settings: Any) -> nn.Parameter:
    """A parameter with the attributes of `Params4bit`. A fake tensor cannot have that class."""
    weight = nn.Parameter(data, requires_grad=False)
    # A layer is made on the meta device first, and again when its weight is read.
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
    attributes = {name: settings.get(name) for name in ("compress_statistics", "quant_type", "quant_storage")}
    vars(weight).update(attributes, blocksize=settings.get("blocksize") or _BLOCK, module=module)
    return weight


def _weight_8bit(data: torch.Tensor, has_fp16_weights: bool = False, **_: Any) -> nn.Parameter:
    """A parameter with the attributes of `Int8Params`. A fake tensor cannot have that class."""
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
    # Outlier columns depend on values, which fake tensors lack, and are few. A threshold of 0 splits off no columns.
    state.threshold = 0.0
    return MatMul8bitLt.apply(inputs, weight, out, bias, state)  # type: ignore[no-untyped-call]


def _expanded_4bit(args: Sequence[Any]) -> int:
    # Many rows are multiplied with the weight in 16 bits, which is expanded for this product only.
    inputs, _, shape = args[:3]
    rows = inputs.numel() // inputs.shape[-1]
    return shape[0] * shape[1] * inputs.element_size() if rows > FUSED_ROWS else 0


def _int8_quantised(args: Sequence[Any]) -> int:
    # The kernel allocates absolute values in 16 bits, and a mask of bytes.
    return int(args[0].numel() * (_HALF + 1))


def _int8_product(args: Sequence[Any]) -> int:
    # The sums of the product are 32-bit integers; the kernel scales them to 16 bits.
    inputs, weight = args[:2]
    return int(inputs.numel() // inputs.shape[-1] * weight.shape[0] * (_INT32 + _HALF))


TRANSIENTS: Mapping[str, Transient] = {
    "bitsandbytes::gemm_4bit": _expanded_4bit,
    "bitsandbytes::int8_vectorwise_quant": _int8_quantised,
    "bitsandbytes::int8_scaled_mm": _int8_product,
}
"""Bytes that CUDA kernels of bitsandbytes allocate and free within an operation; its fake operations allocate none."""
