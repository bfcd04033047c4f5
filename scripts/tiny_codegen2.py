"""Write tiny-codegen's weights in CodeGen2's layout: query, key and value rows in eight groups instead of four."""

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

FOUR, EIGHT = 4, 8


def eight_way(weight: Tensor) -> Tensor:
    """Reorder the rows of a fused projection from four groups of (query, value, key) to eight.

    The inverse of `weight.view(4, 2, 3, E // 8, E).permute(0, 2, 1, 3, 4).reshape(3 * E, E)`, which loads CodeGen2.
    """
    width = weight.shape[1]
    grouped = weight.view(FOUR, 3, EIGHT // FOUR, width // EIGHT, width)
    return grouped.permute(0, 2, 1, 3, 4).reshape(3 * width, width).contiguous()


def write_codegen2(source: Path, folder: Path) -> None:
    """Convert a tiny-codegen folder, and set `mp_num` to 8 in its config."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "model.safetensors")
    converted = {
        name: eight_way(value) if name.endswith("qkv_proj.weight") else value for name, value in weights.items()
    }
    save_file(converted, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"mp_num": EIGHT}, indent=2) + "\n", encoding="utf-8")
    shutil.copy(source / "generation_config.json", folder / "generation_config.json")
    card = (source / "MODEL_CARD.md").read_text(encoding="utf-8").replace("# tiny-codegen", "# tiny-codegen2", 1)
    note = (
        "\nThese are tiny-codegen's weights with the rows of `qkv_proj` reordered into CodeGen2's eight-way layout\n"
        "(`mp_num` 8 in config.json), made by `python scripts/pretrain_tiny.py tiny-codegen2`. Loading them\n"
        "without undoing the order gives wrong numbers and no error; they exist to exercise that conversion.\n"
    )
    head, rest = card.split("\n", 1)
    (folder / "MODEL_CARD.md").write_text(f"{head}\n{note}{rest}", encoding="utf-8")
