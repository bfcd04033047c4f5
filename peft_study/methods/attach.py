"""Attaching a method to a base model: what is frozen, what is added, what is trained."""

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from peft_study.config.build import build
from peft_study.config.schema import MethodConfig, MethodKind, Targets
from peft_study.errors import UserError
from peft_study.models.families import FamilyFacts
from peft_study.models.loading import Model


def adapter_config(method: MethodConfig, family: FamilyFacts, tokenizer_name: str) -> PeftConfig | None:
    """The peft config of a method; None for one without an adapter. Needs no model, so mistakes show before one loads.

    Args:
        method: what to train.
        family: names of the layers that an adapter attaches to.
        tokenizer_name: hub id or folder, with which prompt tuning turns its initial text into tokens.

    Raises:
        UserError: an adapter setting that peft does not take.
    """
    if method.kind is not MethodKind.adapter:
        return None
    assert method.adapter is not None, "config.checks asks for an adapter"
    config: PeftConfig = build(
        method.adapter,
        task_type=family.task_type,
        target_modules=family.modules(method.targets) or None,
        feedforward_modules=list(family.feed_forward) if method.targets is Targets.attention_feed_forward else None,
        tokenizer_name_or_path=tokenizer_name,
    )
    return config


def attach(model: PreTrainedModel, kind: MethodKind, adapter: PeftConfig | None, seed: int) -> Model:
    """Make a base model ready for a method.

    Args:
        model: the base; its parameters' `requires_grad` is set in place.
        kind: full fine-tuning trains everything, prompting nothing, an adapter itself.
        adapter: the config of the adapter to put around the base.
        seed: of the adapter's initialisation.

    Returns:
        the model itself, or the peft adapter around it.

    Raises:
        UserError: an adapter that does not go with the model, or that trains nothing.
    """
    model.requires_grad_(kind is MethodKind.full)
    if adapter is None:
        return model
    # For a base with a name, peft asks the hub at every checkpoint; `training.checkpoint.keep` names it in the end.
    model.name_or_path = ""
    torch.manual_seed(seed)
    try:
        adapted: PeftModel = get_peft_model(model, adapter)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"peft cannot attach the adapter: {error}",
            where="method.adapter",
            hint="check target_modules and the adapter's settings",
        ) from error
    if not any(parameter.requires_grad for parameter in adapted.parameters()):
        raise UserError("the adapter trains nothing", where="method.adapter", hint="check inference_mode and its sizes")
    return adapted


def recompute_activations(model: Model) -> None:
    """Recompute activations in the backward pass instead of keeping them (gradient checkpointing)."""
    # Until transformers 5.2x it is called gradient_checkpointing_enable; after that, the old name warns.
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if isinstance(model, PeftModel):
        # The inputs of a frozen base carry no gradient, and a recomputed block without one passes none to its adapter.
        model.enable_input_require_grads()
