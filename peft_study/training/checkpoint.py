"""Putting the best checkpoint back into the model, and beside the results."""

import json
import shutil
from pathlib import Path

from peft import PeftModel, set_peft_model_state_dict
from peft.utils import load_peft_weights
from safetensors.torch import load_file

from peft_study.models.loading import Model

ADAPTER_CONFIG = "adapter_config.json"


def restore(model: Model, checkpoint: Path) -> None:
    """Load a checkpoint's trained weights into the model in place.

    Args:
        model: the model whose training wrote the checkpoint.
        checkpoint: its folder, safetensors only.
    """
    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_peft_weights(str(checkpoint), device="cpu"))
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
    files = sorted(path for path in checkpoint.iterdir() if path.name.endswith(kept))
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
