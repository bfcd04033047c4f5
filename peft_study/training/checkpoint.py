"""What a checkpoint of an adapter holds, and putting the best one back into the model and beside the results.

peft's own files are what a reader loads. They are not what training left: of a prompt encoder they hold the output, so
that loading them into the training model would apply the encoder twice. Beside them stands the training state itself.
"""

import json
import shutil
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from peft_study.models.loading import Model
from peft_study.training import adalora
from peft_study.training.resume import TRAINING_STATE

ADAPTER_CONFIG = "adapter_config.json"


def save_training_state(model: PeftModel, checkpoint: Path) -> None:
    """Write all that training changes in an adapter, by name, so that it can be put back exactly.

    Args:
        model: the adapter that is trained.
        checkpoint: the folder to write into.
    """
    tensors = {name: value.detach().contiguous() for name, value in _training_state(model).items()}
    save_file(tensors | adalora.state(model), checkpoint / TRAINING_STATE)


def load_training_state(model: PeftModel, checkpoint: Path) -> None:
    """Put back what `save_training_state` wrote.

    Args:
        model: an adapter attached with the same settings and seed.
        checkpoint: the folder to read from.
    """
    saved = adalora.restore(model, load_file(checkpoint / TRAINING_STATE))
    state = _training_state(model)
    assert state.keys() == saved.keys(), f"the checkpoint differs by {sorted(state.keys() ^ saved.keys())}"
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(saved[name])


def _training_state(model: PeftModel) -> dict[str, torch.Tensor]:
    """Trained parameters, and the buffers that some adapters keep statistics in; the rest is attached anew."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    persistent = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in persistent}
    return trained | buffers


def restore(model: Model, checkpoint: Path) -> None:
    """Load a checkpoint's trained weights into the model in place.

    Args:
        model: the model whose training wrote the checkpoint.
        checkpoint: its folder, safetensors only.
    """
    if isinstance(model, PeftModel):
        load_training_state(model, checkpoint)
        return
    weights: dict[str, object] = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        weights.update(load_file(file))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    # Tied weights are stored once, under one of their names.
    tied = set(getattr(model, "_tied_weights_keys", None) or {})
    lost = [name for name in missing if name not in tied]
    assert not lost, f"the checkpoint lacks {lost}"
    assert not unexpected, f"the checkpoint holds {unexpected}"


def keep(model: Model, checkpoint: Path, folder: Path, base: str, revision: str | None) -> Path:
    """Copy a checkpoint's weights beside the results, complete or not at all.

    Args:
        model: decides between `adapter/` and, after full fine-tuning, `model/`.
        checkpoint: the folder to copy from.
        folder: the cell's folder.
        base: the base model's hub id, folder or name, which an adapter's config should say.
        revision: the base's hub revision.

    Returns:
        the new folder, which peft or transformers load by name.
    """
    adapter = isinstance(model, PeftModel)
    # Of a checkpoint's files these are the model; the rest is for resuming.
    kept = (".safetensors", ".safetensors.index.json", "config.json")
    files = sorted(path for path in checkpoint.iterdir() if path.name.endswith(kept) and path.name != TRAINING_STATE)
    target = folder / ("adapter" if adapter else "model")
    partial = folder / f"{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    partial.mkdir()
    for file in files:
        shutil.copyfile(file, partial / file.name)
    if adapter:
        config = json.loads((partial / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        config |= {"base_model_name_or_path": base, "revision": revision}
        (partial / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(target)
    return target
