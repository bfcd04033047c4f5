"""The files of samples beside the page: what a model was asked, and what it wrote.

A page that is opened from a folder may not fetch files, but it may run scripts. Each file is one call with a cell's
number and its samples as base64 of gzipped JSON: whatever a model wrote, the script holds nothing but letters and
digits.
"""

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft_study.results.schema import finite
from peft_study.results.store import PREDICTIONS, CellFolder, Prediction

FOLDER = "explorer"
LONGEST_TEXT = 20_000
"""Characters of a prompt, a reference or a candidate; more than a person reads."""
_INSTRUCTIONS = (
    re.compile(r"### Instruction:\n(.*?)\n### Response:\n", re.DOTALL),
    re.compile(r"\[INST\](.*?)\[/INST\]", re.DOTALL),
)


def read_samples(folder: Path) -> list[Prediction]:
    """The predictions of a cell.

    Args:
        folder: the cell's.

    Returns:
        none where the cell has none.

    Raises:
        ValueError: the file holds something else.
        OSError: it cannot be read.
    """
    if not (folder / PREDICTIONS).is_file():
        return []
    return CellFolder(folder).read_predictions()


def write_samples(folder: Path, row: int, predictions: Sequence[Prediction]) -> Path:
    """Write one cell's file of samples.

    Args:
        folder: where the page is.
        row: the cell's place in the frame, by which the page asks for it.
        predictions: of the cell.

    Returns:
        the file.
    """
    samples = json.dumps([_sample(prediction) for prediction in predictions], separators=(",", ":"))
    packed = base64.b64encode(gzip.compress(samples.encode(), compresslevel=6, mtime=0)).decode()
    file = folder / FOLDER / f"{row}.js"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'peftStudySamples("{row}","{packed}");\n', encoding="ascii")
    return file


def instruction_of(prompt: str) -> str:
    """What a prompt asks for: its last instruction, without the examples before it; all of it in another form."""
    for pattern in _INSTRUCTIONS:
        instructions = pattern.findall(prompt)
        if instructions:
            return str(instructions[-1]).strip()
    return prompt.strip()


def _sample(prediction: Prediction) -> dict[str, Any]:
    """A sample as the page reads it. What a damaged file may hold instead of texts and flags becomes text and False."""
    fields = [prediction.prompt, prediction.reference, *_list(prediction.candidates)]
    texts = ["" if field is None else str(field) for field in fields]
    prompt, reference, *candidates = (text[:LONGEST_TEXT] for text in texts)
    verdicts = prediction.verdicts if isinstance(prediction.verdicts, Mapping) else {}
    scores = prediction.scores if isinstance(prediction.scores, Mapping) else {}
    return {
        "id": str(prediction.id),
        "prompt": prompt,
        "instruction": instruction_of(texts[0])[:LONGEST_TEXT],
        "reference": reference,
        "candidates": candidates,
        "matched": [flag is True for flag in _list(prediction.matched)],
        "scores": finite(dict(scores)),
        "verdicts": {name: [list(map(str, _list(row))) for row in _list(rows)] for name, rows in verdicts.items()},
        "cut": sum(max(0, len(text) - LONGEST_TEXT) for text in texts),
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
