"""Private names of transformers and torch that generation needs. See `models.compat`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.codegen.modeling_codegen import CodeGenAttention

_ALIGNMENT = 16
"""The efficient kernel reads a bias whose rows begin at multiples of this number of values."""


@contextmanager
def replaced_attention(model: PreTrainedModel, kernel: str) -> Iterator[None]:
    """Run a model with an attention function registered under this name.

    Checked with transformers 5.23: `PretrainedConfig._attn_implementation`, and `CodeGenAttention._attn`, because
    CodeGen does not call transformers' attention interface.
    """
    # The decoder of an encoder-decoder has a separate config.
    configs: dict[int, Any] = {
        id(module.config): module.config for module in model.modules() if hasattr(module, "config")
    }
    before = {key: config._attn_implementation for key, config in configs.items()}
    patched = [module for module in model.modules() if isinstance(module, CodeGenAttention)]
    for config in configs.values():
        config._attn_implementation = kernel
    for module in patched:
        module._attn = _codegen_attention(module)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
        for module in patched:
            del module._attn


def _codegen_attention(module: CodeGenAttention) -> Any:
    scaling = 1 / float(module.scale_attn)

    def attend(query: torch.Tensor, key: Any, _value: Any, _mask: Any = None) -> tuple[torch.Tensor, None]:
        return key.attend(query, scaling, None), None

    return attend


def attention_with_log_sum(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention, and the logarithm of the sum of the exponentials of its scores.

    Args:
        query: (batch, heads, queries, head size).
        key: (batch, heads, keys, head size).
        value: like `key`.
        bias: added to the scores, broadcast to (batch, heads, queries, keys); None adds nothing.
        scaling: factor of the products of queries and keys.

    Returns:
        the output, like `query`, and the logarithm in fp32, (batch, heads, queries).
    """
    if query.device.type == "cuda":
        return efficient_attention_with_log_sum(query, key, value, bias, scaling)
    scores = torch.matmul(query.float() * scaling, key.float().transpose(-1, -2))
    if bias is not None:
        scores += bias
    largest = scores.amax(-1, keepdim=True)
    weights = scores.sub_(largest).exp_()
    total = weights.sum(-1, keepdim=True)
    output = torch.matmul(weights.to(value.dtype), value) / total.to(value.dtype)
    return output, (largest + total.log())[..., 0]


def aligned_zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros in rows that begin where the efficient kernel can read them."""
    width = -(-shape[-1] // _ALIGNMENT) * _ALIGNMENT
    return torch.zeros((*shape[:-1], width), dtype=dtype, device=device)[..., : shape[-1]]


def efficient_attention_with_log_sum(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`attention_with_log_sum` by CUDA's memory-efficient kernel, which stores no scores.

    Checked with torch 2.13, `aten._scaled_dot_product_efficient_attention`. torch has no public name for it.
    """
    # CodeGen under autocast keeps keys in fp32 and values in 16 bits. The kernel takes a single format.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if bias is not None:
        if bias.dtype != value.dtype or bias.stride(-2) % _ALIGNMENT:
            bias = aligned_zeros(bias.shape, value.dtype, bias.device).copy_(bias)
        bias = bias.expand(*query.shape[:-1], bias.shape[-1])
    output, log_sum, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, True, 0.0, False, scale=scaling
    )
    # The kernel pads the number of queries to a multiple of 32.
    return output, log_sum[..., : query.shape[-2]]
