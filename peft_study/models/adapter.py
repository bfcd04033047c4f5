"""Attaching a method to a base model: what is frozen, what is added, what is trained."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PromptLearningConfig, get_peft_model
from transformers import PreTrainedModel

from peft_study.config.build import build
from peft_study.config.schema import MethodConfig, MethodKind, Targets
from peft_study.errors import UserError
from peft_study.models.families import FamilyFacts
from peft_study.models.loading import Model
from peft_study.models.out_of_memory import is_out_of_memory
from peft_study.models.precision import Compute

MANY_STEPS = 2**31
"""Stands for a run whose number of optimizer steps is not known yet."""
_NEEDS_DATA = "it starts from activations or gradients of a data set, which are not collected here"
_UNSUPPORTED_STARTS = {
    "eva": _NEEDS_DATA,
    "corda": _NEEDS_DATA,
    "lora_ga": _NEEDS_DATA,
    "pissa_niter": "its random decomposition differs at every load, so that the saved adapter is another function",
}
"""Values of LoRA's init_lora_weights, by how they begin, that would train or reload as something else."""
_READ_AS_ALL: dict[str, Any] = {"layers_to_transform": [], "adapter_layers": 0}
"""Values that ask for no layer, which peft reads as all layers."""
_PATTERNS = ("rank_pattern", "alpha_pattern")
"""A number by layer; at zero the layer gets an adapter that trains nothing, or none that peft can build."""
_NAMES_TOKENS = ("token_indices", "trainable_token_indices", "alora_invocation_tokens")
"""Settings that restrict an adapter to some tokens, so that a sample without them gives no gradient."""


def adapter_config(
    method: MethodConfig, family: FamilyFacts, tokenizer_name: str, total_steps: int = MANY_STEPS
) -> PeftConfig | None:
    """The peft config of a method; None for one without an adapter. Needs no model, so mistakes show before one loads.

    Args:
        method: what to train.
        family: names of the layers that an adapter attaches to.
        tokenizer_name: hub id or folder, with which prompt tuning turns its initial text into tokens.
        total_steps: optimizer steps of the run, over which AdaLoRA distributes its ranks.

    Raises:
        UserError: an adapter setting that peft does not take, or that cannot be reloaded as it was trained.
    """
    if method.kind is not MethodKind.adapter:
        return None
    assert method.adapter is not None, "config.checks asks for an adapter"
    config: PeftConfig = build(
        method.adapter,
        task_type=family.task_type,
        target_modules=family.modules(method.targets) or None,
        feedforward_modules=_feed_forward(method.targets, family),
        tokenizer_name_or_path=tokenizer_name,
        total_step=total_steps,
    )
    start = getattr(config, "init_lora_weights", True)
    for prefix, reason in _UNSUPPORTED_STARTS.items():
        if isinstance(start, str) and start.startswith(prefix):
            raise UserError(
                f"init_lora_weights={start} is not supported: {reason}",
                where="method.adapter.init_lora_weights",
                hint="true, gaussian, pissa, olora or orthogonal",
            )
    if getattr(config, "monteclora_config", None) is not None:
        # Its draws, which peft keeps outside of the model's state, would also differ after an interrupt.
        raise UserError(
            "monteclora_config is not supported: its variational loss belongs to a training loop of its kind",
            where="method.adapter.monteclora_config",
            hint="leave it out",
        )
    for setting in _PATTERNS:
        pattern = getattr(config, setting, None) or {}
        if any(value <= 0 for value in pattern.values()):
            raise UserError(
                f"the values of {setting} must be above 0, got {pattern}",
                where=f"method.adapter.{setting}",
                hint="leave out the layers that should not train with target_modules or exclude_modules",
            )
    for setting, nothing in _READ_AS_ALL.items():
        if getattr(config, setting, None) == nothing:
            raise UserError(
                f"{setting} must select at least one layer, got {nothing}",
                where=f"method.adapter.{setting}",
                hint="name layers; peft reads this value as all layers",
            )
    return config


def _feed_forward(targets: Targets, family: FamilyFacts) -> list[str] | None:
    """The feed-forward modules among the targets; None leaves them to peft, as it does its own targets."""
    if targets is Targets.none:
        return None
    # With None, peft adds its own default, which an attention-only adapter does not target: it could not be reloaded.
    return [] if targets is Targets.attention else list(family.feed_forward)


def virtual_tokens(adapter: PeftConfig | None) -> int:
    """Positions that an adapter takes in front of a decoder's prompt."""
    return int(adapter.num_virtual_tokens or 0) if isinstance(adapter, PromptLearningConfig) else 0


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
    with adapter_errors(adapter, "attach"):
        adapted: PeftModel = get_peft_model(model, adapter)
    trained = {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    empty = [name for name, parameter in trained.items() if not parameter.numel()]
    # Behind an empty layer nothing of a sample arrives: what is left to train, such as a bias, is a constant.
    if empty or not trained:
        what = f"the adapter's {empty[0]} has no elements" if empty else "the adapter trains nothing"
        raise UserError(what, where=_suspects(adapter), hint="check inference_mode and its sizes")
    return adapted


@contextmanager
def adapter_errors(adapter: PeftConfig, what: str) -> Iterator[None]:
    """Report whatever peft or torch raises within as a mistake in the adapter's settings.

    Args:
        adapter: the config whose settings the message names.
        what: what peft was to do with the adapter, a verb.

    Raises:
        UserError: for every error but exhausted memory.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or is_out_of_memory(error):
            raise
        # A KeyError or an AssertionError often says nothing without its name.
        name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise UserError(
            f"peft cannot {what} the adapter: {name}{error}",
            where=_suspects(adapter),
            hint="check target_modules and the adapter's settings",
        ) from error


def check_trains(
    model: PeftModel,
    batch: Mapping[str, torch.Tensor],
    compute: Compute,
    loss_of: Callable[[PeftModel, Mapping[str, torch.Tensor]], torch.Tensor],
) -> None:
    """Take one step forwards and backwards, without an update, so that an adapter which cannot train is refused early.

    Args:
        model: the adapter around its base.
        batch: what the Trainer receives from the collator.
        compute: number format.
        loss_of: the loss of training, from the model and a batch on its device.

    Raises:
        UserError: the step raises, its loss is not finite, or no gradient reaches the adapter.
    """
    adapter = model.active_peft_config
    on_device = {name: values.to(compute.device) for name, values in batch.items()}
    random_states = [compute.device] if compute.device.type == "cuda" else []
    with torch.random.fork_rng(random_states), adapter_errors(adapter, "train"):
        model.train()
        with compute.autocast():
            loss = loss_of(model, on_device)
        loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    reached = any(bool(gradient.count_nonzero()) for gradient in gradients)
    model.zero_grad(set_to_none=True)
    if not math.isfinite(value := float(loss.detach())):
        raise UserError(
            f"the loss must be a finite number before training, got {value}",
            where=f"{_suspects(adapter)}, training.precision",
            hint="another adapter (method=lora), or training.precision=fp32",
        )
    if not reached and not any(getattr(adapter, name, None) for name in _NAMES_TOKENS):
        raise UserError(
            "no gradient reaches the adapter, so that training would change nothing",
            where=_suspects(adapter),
            hint="check the adapter's scale, its dropout and its sizes",
        )


def _suspects(adapter: PeftConfig) -> str:
    """The settings that are zero, negative, empty or a full dropout, and not by default; all of them where none is."""
    suspects = [
        f"method.adapter.{spec.name}"
        for spec in fields(adapter)
        if _disables(spec.name, value := getattr(adapter, spec.name)) and value != _default(spec)
    ]
    return ", ".join(suspects) or "method.adapter"


def _disables(name: str, value: Any) -> bool:
    if isinstance(value, int | float):
        return not isinstance(value, bool) and (value <= 0 or ("dropout" in name and value >= 1))
    return isinstance(value, str | list | tuple | set | dict) and not value


def _default(spec: Field[Any]) -> Any:
    return spec.default_factory() if spec.default_factory is not MISSING else spec.default


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
