"""Write the card of an embedded model from its loss curve: `python scripts/tiny_cards.py FOLDER`."""

import argparse
import json
import math
from pathlib import Path

from safetensors import safe_open

DATA = (
    "generated pairs of instruction and code: operations invented per document (words tied to code at random), and "
    "true operations of families that minipy lacks; a check refuses minipy's wordings and its pairings of words with "
    "code"
)
CARD = """# {name}

A tiny code model of the embedded family: {parameters:.2f} million parameters, pretrained from scratch on generated
text. It shows the shape of the study without a download; it is of no use for writing code.

| | |
|---|---|
| architecture | {architecture} |
| data | {data} |
| layout | `### Instruction:` / `### Response:` pairs, one to some fifteen a document, separated by blank lines |
| steps, tokens | {steps:,} steps, {tokens:,} tokens |
| loss | {loss:.3f} at the end; answers alone: {answers} |
| seed | {seed} |
| optimizer | Muon on matrices, AdamW on the rest, bf16 autocast |
| learning rate | 4e-3 at its peak (T5: queries 2e-3, other matrices 12e-3, embeddings 40e-3), then a cosine |
| command | `python scripts/pretrain_tiny.py {name}` |
| machine, time | 2 cores CPU (shared with other work), {minutes:.0f} minutes |
| stored as | 16-bit floats, safetensors |

Limits: English instructions of one sentence, Python answers of one or two lines, variable names and literals copied
from the instruction. What an ordinary word means (even, largest, sort) is unknown to it until it is fine-tuned or shown
examples. The same command gives the same corpus everywhere; the weights differ in the last digits between machines.
"""


def write_card(folder: Path) -> None:
    """Write MODEL_CARD.md beside the weights, from loss_curve.json and config.json."""
    curve = json.loads((folder / "loss_curve.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with safe_open(folder / "model.safetensors", framework="numpy") as weights:
        sizes = [math.prod(weights.get_slice(name).get_shape()) for name in weights.keys()]  # noqa: SIM118 - no mapping
    means: dict[str, float] = {}
    for key in ("loss", "first", "later"):
        values = [point[key] for point in curve["curve"][-4:] if key in point]
        if values:
            means[key] = sum(values) / len(values)
    names = {"first": "the first pairs of documents", "later": "the fifth and later pairs"}
    answers = ", ".join(f"{means[key]:.3f} for {text}" for key, text in names.items() if key in means)
    text = CARD.format(
        name=folder.name,
        parameters=sum(sizes) / 1e6,
        architecture=config["architectures"][0],
        data=DATA,
        steps=curve["steps"],
        tokens=curve["tokens"],
        loss=means.get("loss", math.nan),
        answers=answers or "not recorded",
        seed=curve["seed"],
        minutes=curve["seconds"] / 60,
    )
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of an embedded model, with config.json and loss_curve.json")
    write_card(parser.parse_args().folder)


if __name__ == "__main__":
    main()
