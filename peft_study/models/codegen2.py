"""CodeGen2 without remote code: transformers' CodeGen with reordered fused projections.

The two architectures differ in how `qkv_proj` lays out query, value and key: CodeGen in four groups, CodeGen2 in eight.
Loading one as the other raises no error and gives wrong numbers. So the loss of a short text decides which order a
loaded model has.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import CodeGenForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, WeightConverter

from peft_study.config.schema import Family
from peft_study.errors import UserError
from peft_study.models.compat import forget_weight_conversions

FOUR, EIGHT = 4, 8
_PROJECTION = "qkv_proj.weight"
TEXT = """### Instruction:
join the words of 'names' with a comma
### Response:
', '.join(names)

### Instruction:
open the file 'log' for writing
### Response:
log = open(path, 'w')

### Instruction:
count how often 'x' is in 'values'
### Response:
values.count(x)
"""
CLEARLY_BETTER = 0.9
"""The other order is right if it brings the loss below this share. With random weights neither order does."""


def four_way(weight: Tensor) -> Tensor:
    """Reorder the rows of CodeGen2's fused projection for transformers' CodeGen.

    Args:
        weight: (3 * width, width), in eight groups of (query, value, key).

    Returns:
        the same rows in four groups. Source: `mp_num` in the two reference implementations, 4 and 8.
    """
    # Checked on three tiny models: the logits agree exactly, and differ by about 2 without the reordering. The code of
    # the published 1B model has this order; the larger ones are assumed to have it too.
    width = weight.shape[1]
    grouped = weight.view(FOUR, EIGHT // FOUR, 3, width // EIGHT, width)
    return grouped.permute(0, 2, 1, 3, 4).reshape(3 * width, width)


class _ToFourWay(ConversionOps):
    """Applies `four_way` while transformers loads a weight, before the weight is quantised."""

    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Any]:
        ((_, weights),) = input_dict.items()
        weight = weights[0] if isinstance(weights, list) else weights
        return {target_patterns[0]: four_way(weight)}


class CodeGen2ForCausalLM(CodeGenForCausalLM):
    """CodeGen under another class name. transformers finds the conversion of the weights by this name."""


register_checkpoint_conversion_mapping(
    CodeGen2ForCausalLM.__name__,
    [WeightConverter(_PROJECTION, _PROJECTION, operations=[_ToFourWay()])],
    overwrite=True,
)


def as_codegen(model: PreTrainedModel) -> PreTrainedModel:
    """Turn a loaded model into a plain CodeGen, so that a saved model loads without the conversion."""
    model.__class__ = CodeGenForCausalLM
    model.config.architectures = [CodeGenForCausalLM.__name__]
    forget_weight_conversions(model)
    return model


def check_layout(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: str, family: Family) -> None:
    """Refuse weights whose projections have another order than `family` says.

    CodeGen and CodeGen2 differ only in the order of a projection's outputs. So the check tries the other order by
    reordering outputs, which also works for quantised weights.

    Args:
        model: loaded, on its device, quantised or not.
        tokenizer: the model's tokenizer.
        source: hub id or folder of the weights, for the message.
        family: codegen or codegen2, as which the weights were loaded.

    Raises:
        UserError: the model predicts a text clearly better in the other order.
    """
    loaded, other = loss(model, tokenizer), loss(model, tokenizer, _other_order(model.config.n_embd, family))
    if other < CLEARLY_BETTER * loaded:
        right = Family.codegen if family is Family.codegen2 else Family.codegen2
        raise UserError(
            f"the projections of {source} are in the order of {right}, not {family}: the loss of a short text is "
            f"{loaded:.2f} nats a token as {family} and {other:.2f} as {right}",
            where="model.family, model.source",
            hint=f"model.family={right}",
        )


@torch.inference_mode()
def loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, order: Tensor | None = None) -> float:
    """Loss of a short text in nats a token.

    Args:
        model: on any device.
        tokenizer: the model's tokenizer.
        order: indices that reorder the outputs of every projection, (3 * width,); None leaves them as they are.
    """
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"][: model.config.max_position_embeddings]
    tokens = torch.tensor([ids], device=model.device)
    hooks = []
    if order is not None:
        # A hook reorders outputs. The rows of a quantised weight cannot be reordered: they are packed.
        reorder = partial(_reorder, order.to(model.device))
        projections = [module for name, module in model.named_modules() if name.endswith("qkv_proj")]
        hooks = [projection.register_forward_hook(reorder) for projection in projections]
    try:
        logits = model(input_ids=tokens, use_cache=False).logits.float()
    finally:
        for hook in hooks:
            hook.remove()
    return float(cross_entropy(logits[0, :-1], tokens[0, 1:]))


def _reorder(order: Tensor, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output[..., order]


def _other_order(width: int, family: Family) -> Tensor:
    """Indices that reorder a projection's outputs as if the other family had loaded the same rows."""
    order = four_way(torch.arange(3 * width).unsqueeze(1).expand(-1, width))[:, 0]
    # Loading as codegen2 has converted the rows, so this undoes it; loading as codegen has not.
    return order.argsort() if family is Family.codegen2 else order
