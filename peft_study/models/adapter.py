"""Attach a method to a base model: freeze the base, add the adapter, and check that the adapter trains."""

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
"""Stands for the number of optimizer steps before it is known."""
_NEEDS_DATA = "it starts from activations or gradients of a data set, which this project does not collect"
_UNSUPPORTED_INITIALIZATIONS = {
    "eva": _NEEDS_DATA,
    "corda": _NEEDS_DATA,
    "lora_ga": _NEEDS_DATA,
    "pissa_niter": "its random decomposition differs at every load, so that a saved adapter computes another function",
}
"""Prefixes of `init_lora_weights` that LoRA cannot train or reload correctly, with the reason."""
_READ_AS_ALL: dict[str, Any] = {"layers_to_transform": [], "adapter_layers": 0}
"""Values that should select no layer; peft reads them as all layers."""
_PATTERNS = ("rank_pattern", "alpha_pattern")
"""Settings with a number for each layer. With 0, a layer's adapter trains nothing, or peft cannot build it."""
_NAMES_TOKENS = ("token_indices", "trainable_token_indices", "alora_invocation_tokens")
"""Settings that restrict an adapter to some tokens. A sample without these tokens gives no gradient."""


def adapter_config(
    method: MethodConfig, family: FamilyFacts, tokenizer_name: str, total_steps: int = MANY_STEPS
) -> PeftConfig | None:
    """The peft config of a method. It needs no model, so that wrong settings are reported before a model loads.

    Args:
        method: the settings of the method.
        family: names of the layers that an adapter attaches to.
        tokenizer_name: hub id or folder of the tokenizer that encodes the initial text of prompt tuning.
        total_steps: optimizer steps of the run, over which AdaLoRA distributes its ranks.

    Returns:
        None for a method without an adapter.

    Raises:
        UserError: peft does not accept a setting, or an adapter with it cannot be reloaded as it was trained.
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
    _check_settings(config)
    return config


def _check_settings(config: PeftConfig) -> None:
    """Refuse settings with which an adapter does not train, or cannot be reloaded as it was trained."""
    initialization = getattr(config, "init_lora_weights", True)
    for prefix, reason in _UNSUPPORTED_INITIALIZATIONS.items():
        if isinstance(initialization, str) and initialization.startswith(prefix):
            raise UserError(
                f"init_lora_weights={initialization} is not supported: {reason}",
                where="method.adapter.init_lora_weights",
                hint="true, gaussian, pissa, olora or orthogonal",
            )
    if getattr(config, "monteclora_config", None) is not None:
        # peft also keeps its random samples outside the model's state, so that a resumed run would draw others.
        raise UserError(
            "monteclora_config is not supported: its variational loss needs another training loop",
            where="method.adapter.monteclora_config",
            hint="leave it out",
        )
    for setting in _PATTERNS:
        pattern = getattr(config, setting, None) or {}
        values = pattern.values() if isinstance(pattern, Mapping) else [None]
        if not all(isinstance(value, int | float) and value > 0 for value in values):
            raise UserError(
                f"{setting} must hold a number above 0 for each layer that it names, got {pattern}",
                where=f"method.adapter.{setting}",
                hint="leave out the layers that should not train with target_modules or exclude_modules",
            )
    tokens = getattr(config, "num_virtual_tokens", None)
    if not isinstance(tokens, int | None):
        raise UserError(
            f"num_virtual_tokens must be an integer, got {tokens!r}",
            where="method.adapter.num_virtual_tokens",
            hint="such as 20",
        )
    for setting, nothing in _READ_AS_ALL.items():
        if getattr(config, setting, None) == nothing:
            raise UserError(
                f"{setting} must select at least one layer, got {nothing}",
                where=f"method.adapter.{setting}",
                hint="name layers; peft reads this value as all layers",
            )


def _feed_forward(targets: Targets, family: FamilyFacts) -> list[str] | None:
    """The feed-forward modules among the targets; None lets peft choose, as it chooses the targets."""
    if targets is Targets.none:
        return None
    # None would add peft's default modules, which an attention-only adapter does not target and could not reload.
    return [] if targets is Targets.attention else list(family.feed_forward)


def virtual_tokens(adapter: PeftConfig | None) -> int:
    """Number of positions that an adapter takes before a decoder's prompt."""
    return int(adapter.num_virtual_tokens or 0) if isinstance(adapter, PromptLearningConfig) else 0


def attach(model: PreTrainedModel, kind: MethodKind, adapter: PeftConfig | None, seed: int) -> Model:
    """Prepare a base model for a method.

    Args:
        model: the base; `requires_grad` of its parameters is set in place.
        kind: full fine-tuning trains every parameter, prompting none, and a method with an adapter the adapter's.
        adapter: the config of the adapter to put around the base; None for none.
        seed: seed of the adapter's initialisation.

    Returns:
        the model itself, or the peft adapter around it.

    Raises:
        UserError: the adapter does not fit the model, or trains nothing.
    """
    model.requires_grad_(kind is MethodKind.full)
    if adapter is None:
        return model
    # With a name, peft queries the hub at every checkpoint. `training.checkpoint.keep` writes the name at the end.
    model.name_or_path = ""
    # A resumed run attaches with the same seed: a checkpoint holds only what training changes.
    torch.manual_seed(seed)
    with adapter_errors(adapter, "attach"):
        adapted: PeftModel = get_peft_model(model, adapter)
    trained = {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    empty = [name for name, parameter in trained.items() if not parameter.numel()]
    # An empty layer passes nothing of a sample on. What still trains behind it, such as a bias, is a constant.
    if empty or not trained:
        problem = f"the adapter's {empty[0]} must have elements, got none" if empty else "the adapter trains nothing"
        raise UserError(problem, where=_suspects(adapter), hint="check inference_mode and the adapter's sizes")
    return adapted


@contextmanager
def adapter_errors(adapter: PeftConfig, action: str) -> Iterator[None]:
    """Report an error of peft or torch inside the context as wrong settings of the adapter.

    Args:
        adapter: the config whose settings the message names.
        action: what peft does with the adapter, such as "attach".

    Raises:
        UserError: for every error other than exhausted memory.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or is_out_of_memory(error):
            raise
        # The text of a KeyError or an AssertionError often means nothing without the name of its class.
        name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise UserError(
            f"peft cannot {action} the adapter: {name}{error}",
            where=_suspects(adapter),
            hint="check target_modules and the adapter's settings",
        ) from error


def check_trains(
    model: PeftModel,
    batch: Mapping[str, torch.Tensor],
    compute: Compute,
    loss_of: Callable[[PeftModel, Mapping[str, torch.Tensor]], torch.Tensor],
) -> None:
    """Run one forward and backward pass without an update, to refuse an adapter that cannot train before it does.

    Args:
        model: the adapter around its base.
        batch: a batch from the collator.
        compute: device and number format.
        loss_of: the loss of training, computed from the model and a batch on its device.

    Raises:
        UserError: the step raises, its loss is not finite, or no gradient reaches the adapter.
    """
    adapter = model.active_peft_config
    on_device = {name: values.to(compute.device) for name, values in batch.items()}
    random_devices = [compute.device] if compute.device.type == "cuda" else []
    # The random state is restored, so that the check changes no result.
    with torch.random.fork_rng(random_devices), adapter_errors(adapter, "train"):
        model.train()
        with compute.autocast():
            loss = loss_of(model, on_device)
        loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    is_reached = any(bool(gradient.count_nonzero()) for gradient in gradients)
    model.zero_grad(set_to_none=True)
    loss_value = float(loss.detach())
    if not math.isfinite(loss_value):
        raise UserError(
            f"the loss must be a finite number before training, got {loss_value}",
            where=f"{_suspects(adapter)}, training.precision",
            hint="another adapter (method=lora), or training.precision=fp32",
        )
    # peft accepts sizes and scales that cut the adapter off. Hours of training would then change nothing.
    if not is_reached and not any(getattr(adapter, name, None) for name in _NAMES_TOKENS):
        raise UserError(
            "no gradient reaches the adapter, so training would change nothing",
            where=_suspects(adapter),
            hint="check the adapter's scale, its dropout and its sizes",
        )


def _suspects(adapter: PeftConfig) -> str:
    """Names of the settings that are zero, negative, empty or a full dropout, and not by default."""
    suspects = [
        f"method.adapter.{spec.name}"
        for spec in fields(adapter)
        if _disables(spec.name, value := getattr(adapter, spec.name)) and value != _default(spec)
    ]
    return ", ".join(suspects) or "method.adapter"


def _disables(name: str, value: Any) -> bool:
    if isinstance(value, int | float):
        # A bool is an int in Python, and False is an ordinary setting.
        return not isinstance(value, bool) and (value <= 0 or ("dropout" in name and value >= 1))
    return isinstance(value, str | list | tuple | set | dict) and not value


def _default(spec: Field[Any]) -> Any:
    return spec.default_factory() if spec.default_factory is not MISSING else spec.default


def recompute_activations(model: Model) -> None:
    """Recompute activations in the backward pass instead of storing them (gradient checkpointing)."""
    # Later versions of transformers 5 renamed gradient_checkpointing_enable, and warn about the old name.
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if isinstance(model, PeftModel):
        # A recomputed block passes gradients to its adapter only if its inputs require them; a frozen base's do not.
        model.enable_input_require_grads()
