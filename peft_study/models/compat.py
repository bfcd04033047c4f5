"""Private names of transformers, accelerate and bitsandbytes, each used in one function.

No release note announces a change of these names. After an upgrade, read this file first: every function states the
version it was checked against and what breaks without it. `tests/unit/test_compat.py` checks each effect.

`cost.replay.compat` holds the private names that only a replay of memory needs. Two private methods of the Trainer are
overridden where their replacements are: `training.trainer`.
"""

from typing import TYPE_CHECKING

from bitsandbytes.nn.modules import Linear4bit
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

if TYPE_CHECKING:
    from transformers import TrainingArguments


def attention_kernel(config: PretrainedConfig) -> str | None:
    """The name of the attention implementation that a model runs, such as `sdpa` or `eager`.

    Checked with transformers 5.23, `PretrainedConfig._attn_implementation`. Without it, a packed batch gets a mask of
    the wrong form: `sdpa` takes a boolean mask, `eager` takes values to add to the scores.
    """
    kernel: str | None = config._attn_implementation
    return kernel


def layers_of(model: PreTrainedModel) -> list[nn.Module]:
    """The equal layers that make up most of a model, such as the 32 of CodeLlama-7B.

    Checked with transformers 5.23, `PreTrainedModel._no_split_modules`. Without it, no weight is divided among GPUs.
    """
    names = set(model._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def tied_names(model: PreTrainedModel) -> frozenset[str]:
    """Names of the weights that share the storage of another weight in this model.

    Checked with transformers 5.23, `PreTrainedModel.all_tied_weights_keys`. Without it, random values
    are drawn for a tied head that shares the storage of the embeddings, and a replay counts its bytes twice.
    """
    return frozenset(getattr(model, "all_tied_weights_keys", None) or {})


def names_that_may_be_tied(model: PreTrainedModel) -> frozenset[str]:
    """Names of the weights that the architecture can tie, whether or not this model's config ties them.

    Checked with transformers 5.23, `PreTrainedModel._tied_weights_keys`. Without it, a checkpoint of full fine-tuning
    is refused: it stores a tied weight under one of its names only.
    """
    return frozenset(getattr(model, "_tied_weights_keys", None) or {})


def forget_weight_conversions(model: PreTrainedModel) -> None:
    """Save a model's weights as they are, without reverting the conversions of its loading.

    Checked with transformers 5.23, `PreTrainedModel._weight_conversions`. Without it, `save_pretrained` tries to
    revert the reordering of CodeGen2's projections and raises NotImplementedError.
    """
    model._weight_conversions = []  # type: ignore[assignment]


def use_one_gpu(arguments: "TrainingArguments") -> None:
    """Train on the first visible GPU only.

    Checked with transformers 5.23, `TrainingArguments._n_gpu`. Without it, the Trainer wraps the model in
    `DataParallel` when it sees several GPUs, and multiplies the batch size by their number.
    """
    arguments._n_gpu = min(arguments.n_gpu, 1)


def remove_autocast(model: nn.Module) -> None:
    """Undo what the Trainer's `Accelerator.prepare_model` puts around a model's forward pass.

    Checked with accelerate 1.15, `_original_forward`. Without it, a trained model keeps an autocast that caches no
    casts, so that generation casts each trained weight at each token. The public `unwrap_model` also removes what
    transformers puts around the method, and then `return_dict=False` fails.
    """
    if model.__dict__.pop("_original_forward", None) is not None:
        del model.forward


def keep_4bit_layers_trainable_on_cpu(model: PreTrainedModel) -> None:
    """Keep 4-bit layers on a CPU from a kernel of bitsandbytes that has no backward pass.

    Checked with bitsandbytes 0.50, `Linear4bit.support_avx512bf16_for_cpu`. Without it, a CPU with AVX512-BF16 repacks
    a layer for that kernel the first time the layer runs in evaluation. Training afterwards uses the kernel too: the
    gradients of the layers below are lost, with a warning at most. The kernel also computes in bf16 where fp32 is set.
    """
    for layer in model.modules():
        if isinstance(layer, Linear4bit) and layer.weight.device.type == "cpu":
            layer.support_avx512bf16_for_cpu = False
