"""AdaLoRA's allocation of ranks, which peft leaves to the training loop (arXiv 2303.10512, section 3.3)."""

from typing import Any

import torch
from peft import PeftModel
from peft.tuners.adalora import AdaLoraConfig, AdaLoraModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_SCORES = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""Attributes of peft's RankAllocator: the importance of each parameter at the last step, and the moving averages of it
and of its deviation. Checked with peft 0.21. Without them a resumed run prunes other ranks.
"""
_PREFIX = "adalora:"
_RANKS = "ranks"


class RankAllocation(TrainerCallback):
    """Updates the importance scores and prunes ranks after each optimizer step, before gradients are set to zero."""

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        tuner = _tuner(model)
        if tuner is None or not _finite(tuner):
            return
        config = _config(tuner)
        assert config.total_step is not None, "models.adapter.adapter_config sets it from the schedule"
        step = state.global_step + 1  # the Trainer counts the step after this callback
        tuner.update_and_allocate(step)  # type: ignore[no-untyped-call]
        if step < config.total_step - config.tfinal:
            # Ranks that are pruned before the last phase may grow again. With the pattern, peft would not save them.
            config.rank_pattern = None


def state(model: PeftModel) -> dict[str, torch.Tensor]:
    """The state of the rank allocator as named tensors; empty for adapters other than AdaLoRA."""
    tuner = _tuner(model)
    if tuner is None:
        return {}
    tensors = {
        f"{_PREFIX}{scores}:{name}": value.contiguous()
        for scores in _SCORES
        for name, value in getattr(tuner.rankallocator, scores).items()
    }
    # peft derives the pattern at the last pruning. A run that resumes later than that needs it from the checkpoint.
    pattern = _config(tuner).rank_pattern or {}
    return tensors | {f"{_PREFIX}{_RANKS}:{name}": torch.tensor(mask) for name, mask in pattern.items()}


def restore(model: PeftModel, saved: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Restore the state of the rank allocator that `state` returned.

    Args:
        model: the adapter.
        saved: all tensors of a checkpoint.

    Returns:
        the tensors of the checkpoint that belong to the model.
    """
    tuner = _tuner(model)
    if tuner is None:
        return saved
    groups: dict[str, dict[str, torch.Tensor]] = {name: {} for name in (*_SCORES, _RANKS)}
    for key, value in saved.items():
        if key.startswith(_PREFIX):
            group, _, name = key.removeprefix(_PREFIX).partition(":")
            groups[group][name] = value
    for scores in _SCORES:
        setattr(tuner.rankallocator, scores, {name: value.to(model.device) for name, value in groups[scores].items()})
    pattern = {name: mask.tolist() for name, mask in groups[_RANKS].items()}
    _config(tuner).rank_pattern = pattern or None
    return {key: value for key, value in saved.items() if not key.startswith(_PREFIX)}


def _tuner(model: Any) -> AdaLoraModel | None:
    tuner = getattr(model, "base_model", None)
    return tuner if isinstance(tuner, AdaLoraModel) else None


def _config(tuner: AdaLoraModel) -> AdaLoraConfig:
    config = tuner.peft_config[tuner.trainable_adapter_name]
    assert isinstance(config, AdaLoraConfig)
    return config


def _finite(tuner: AdaLoraModel) -> bool:
    """Whether all gradients are finite. In fp16 the Trainer skips an optimizer step if they are not."""
    gradients = (parameter.grad for parameter in tuner.parameters() if parameter.grad is not None)
    return all(bool(gradient.isfinite().all()) for gradient in gradients)
