"""Checkpoints: save and load the training state of an adapter, and copy the best checkpoint beside the results.

peft's files in a checkpoint are for inference. For a prompt encoder they hold its output, so that loading them into the
training model would apply the encoder twice. Each checkpoint therefore also holds the training state.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from peft_study.errors import UserError
from peft_study.models.compat import names_that_may_be_tied
from peft_study.models.loading import Model
from peft_study.training import adalora
from peft_study.training.resume import TRAINING_STATE

ADAPTER_CONFIG = "adapter_config.json"


def save_training_state(model: PeftModel, checkpoint: Path) -> None:
    """Write every tensor of an adapter that training changes, so that a resumed run continues exactly.

    Args:
        model: the trained adapter.
        checkpoint: the folder to write to.
    """
    # safetensors refuses a tensor whose values are not contiguous.
    tensors = {name: value.detach().contiguous() for name, value in _training_state(model).items()}
    save_file(tensors | adalora.state(model), checkpoint / TRAINING_STATE)


def load_training_state(model: PeftModel, checkpoint: Path) -> None:
    """Load the tensors that `save_training_state` wrote.

    Args:
        model: an adapter that is attached with the same settings and seed; changed in place.
        checkpoint: the folder to read from.

    Raises:
        UserError: the tensors of the checkpoint do not match those of the adapter.
    """
    saved = adalora.restore(model, load_file(checkpoint / TRAINING_STATE))
    state = _training_state(model)
    _check_tensors(state, saved, checkpoint)
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(saved[name])


def _training_state(model: PeftModel) -> dict[str, torch.Tensor]:
    """Trained parameters, and the buffers in which some adapters keep statistics. Attaching restores the rest."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    persistent = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in persistent}
    return trained | buffers


def restore(model: Model, checkpoint: Path) -> None:
    """Load a checkpoint's trained weights into the model in place.

    Args:
        model: the model whose training wrote the checkpoint.
        checkpoint: the folder of the checkpoint; only safetensors are read.

    Raises:
        UserError: the tensors of the checkpoint do not match those of the model.
    """
    if isinstance(model, PeftModel):
        load_training_state(model, checkpoint)
        return
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        weights.update(load_file(file))
    # A checkpoint stores tied weights once, under one of their names.
    tied = names_that_may_be_tied(model)
    state = {name: value for name, value in model.state_dict().items() if name in weights or name not in tied}
    _check_tensors(state, weights, checkpoint)
    model.load_state_dict(weights, strict=False)


def _check_tensors(expected: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor], checkpoint: Path) -> None:
    """Refuse a checkpoint whose names or shapes of tensors differ from the expected ones."""
    shapes = {name: value.shape for name, value in expected.items()}
    saved_shapes = {name: value.shape for name, value in saved.items()}
    differing = sorted(name for name in {*shapes, *saved_shapes} if shapes.get(name) != saved_shapes.get(name))
    if differing:
        raise UserError(
            f"the checkpoint must hold the model's {len(shapes)} trained tensors, got {len(saved)}; "
            f"{len(differing)} differ, such as {differing[0]}",
            where=str(checkpoint),
            hint="rerun=true starts the cell over",
        )


def keep(model: Model, checkpoint: Path, folder: Path, base: str, revision: str | None) -> Path:
    """Copy the weights of a checkpoint beside the results, completely or not at all.

    Args:
        model: an adapter is copied to `adapter/`, a base after full fine-tuning to `model/`.
        checkpoint: the folder to copy from.
        folder: the cell's folder.
        base: the base model's hub id, folder or name, which is written to an adapter's config.
        revision: the base model's hub revision.

    Returns:
        the new folder, which peft or transformers can load.
    """
    adapter = isinstance(model, PeftModel)
    # The other files of a checkpoint serve only to resume training.
    weights = (".safetensors", ".safetensors.index.json", "config.json")
    files = sorted(path for path in checkpoint.iterdir() if path.name.endswith(weights) and path.name != TRAINING_STATE)
    target = folder / ("adapter" if adapter else "model")
    partial = folder / f"{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    partial.mkdir()
    for file in files:
        shutil.copyfile(file, partial / file.name)
    if adapter:
        # `models.adapter.attach` removed the base's name, so that peft does not query the hub at every checkpoint.
        config = json.loads((partial / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        config |= {"base_model_name_or_path": base, "revision": revision}
        (partial / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    # A crash leaves the folder under its final name whole, or not at all.
    partial.replace(target)
    return target
