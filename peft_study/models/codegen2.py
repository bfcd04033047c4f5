"""CodeGen2 without its own code: transformers' CodeGen with the fused projections put in another order.

The two differ in how `qkv_proj` lays out query, value and key: CodeGen in four groups, CodeGen2 in eight. Loading one
as the other gives no error and wrong numbers, so a loaded model is asked which order predicts code better.
"""

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
"""The other order is the right one where it brings the loss below this share; of random weights neither order does."""


def four_way(weight: Tensor) -> Tensor:
    """Reorder the rows of CodeGen2's fused projection as transformers' CodeGen wants them.

    Args:
        weight: 3E x E, in eight groups of (query, value, key).

    Returns:
        the same rows in four groups. Source: the `mp_num` of the two reference implementations, 4 and 8.
    """
    width = weight.shape[1]
    grouped = weight.view(FOUR, EIGHT // FOUR, 3, width // EIGHT, width)
    return grouped.permute(0, 2, 1, 3, 4).reshape(3 * width, width)


class _ToFourWay(ConversionOps):
    """`four_way` as a step of transformers' loading, before a weight is quantised."""

    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Any]:
        ((_, given),) = input_dict.items()
        weight = given[0] if isinstance(given, list) else given
        return {target_patterns[0]: four_way(weight)}


class CodeGen2ForCausalLM(CodeGenForCausalLM):
    """The name under which transformers converts the weights while it loads them."""


register_checkpoint_conversion_mapping(
    CodeGen2ForCausalLM.__name__,
    [WeightConverter(_PROJECTION, _PROJECTION, operations=[_ToFourWay()])],
    overwrite=True,
)


def as_codegen(model: PreTrainedModel) -> PreTrainedModel:
    """Make a loaded model what it is from now on: a CodeGen, also in what it saves."""
    model.__class__ = CodeGenForCausalLM
    model.config.architectures = [CodeGenForCausalLM.__name__]
    forget_weight_conversions(model)
    return model


def check_layout(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: str, family: Family) -> None:
    """Refuse weights whose projections are in another order than the model computes with.

    A CodeGen and a CodeGen2 differ in the order of a projection's outputs alone, so the other order is tried by
    reordering outputs, which works for quantised weights as well.

    Args:
        model: loaded, on its device, quantised or not.
        tokenizer: its own.
        source: where the weights came from, for the error.
        family: codegen or codegen2, as the weights were taken to be.

    Raises:
        UserError: the model predicts a text clearly better in the other order.
    """
    loaded, other = loss(model, tokenizer), loss(model, tokenizer, _other_order(model.config.n_embd, family))
    if other < CLEARLY_BETTER * loaded:
        right = Family.codegen if family is Family.codegen2 else Family.codegen2
        raise UserError(
            f"the projections of {source} are in the order of {right}, not {family}: a line of code costs {loaded:.2f} "
            f"nats a token as {family} and {other:.2f} as {right}",
            where="model.family, model.source",
            hint=f"model.family={right}",
        )


@torch.inference_mode()
def loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, order: Tensor | None = None) -> float:
    """Loss of a short text in nats a token.

    Args:
        model: on any device.
        tokenizer: its own.
        order: reorders what every projection gives; 3E indices.
    """
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"][: model.config.max_position_embeddings]
    tokens = torch.tensor([ids], device=model.device)

    def reorder(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        assert order is not None
        return output[..., order.to(output.device)]

    projections = [module for name, module in model.named_modules() if name.endswith("qkv_proj")]
    hooks = [] if order is None else [module.register_forward_hook(reorder) for module in projections]
    try:
        logits = model(input_ids=tokens, use_cache=False).logits.float()
    finally:
        for hook in hooks:
            hook.remove()
    return float(cross_entropy(logits[0, :-1], tokens[0, 1:]))


def _other_order(width: int, family: Family) -> Tensor:
    """Indices that turn a projection's outputs into those of the other family's reading of the same rows."""
    order = four_way(torch.arange(3 * width).unsqueeze(1).expand(-1, width))[:, 0]
    # What was converted is put back; what was not is converted.
    return order.argsort() if family is Family.codegen2 else order
