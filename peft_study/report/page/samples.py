"""The files of samples beside the page: prompts, references and candidates.

A page from a folder may not fetch files, but it may run scripts. So each file is a script with a single call, which has
the number of a cell and its samples. These are base64 of gzipped JSON, so that a model's text cannot become code.
"""

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft_study.results.predictions import Prediction
from peft_study.results.schema import finite
from peft_study.results.store import PREDICTIONS, CellFolder

FOLDER = "explorer"
LONGEST_TEXT = 20_000
"""Characters of a prompt, a reference or a candidate that the page keeps."""
_INSTRUCTIONS = (
    re.compile(r"### Instruction:\n(.*?)\n### Response:\n", re.DOTALL),
    re.compile(r"\[INST\](.*?)\[/INST\]", re.DOTALL),
)


def read_samples(folder: Path) -> list[Prediction]:
    """Read the predictions of a cell.

    Args:
        folder: folder of the cell.

    Returns:
        The predictions; an empty list if the cell has no file of them.

    Raises:
        ValueError: the file has other contents.
        OSError: the file cannot be read.
    """
    return CellFolder(folder).read_predictions() if (folder / PREDICTIONS).is_file() else []


def write_samples(folder: Path, row: int, predictions: Sequence[Prediction]) -> Path:
    """Write a cell's file of samples.

    Args:
        folder: folder of the page.
        row: position of the cell in the frame, by which the page finds the file.
        predictions: predictions of the cell.

    Returns:
        The path of the file.
    """
    # A file for each cell, loaded on demand: the samples of a whole study are too large for a page.
    samples = json.dumps([_sample(prediction) for prediction in predictions], separators=(",", ":"))
    # No time stamp, so that the same samples give the same file.
    packed = base64.b64encode(gzip.compress(samples.encode(), compresslevel=6, mtime=0)).decode()
    file = folder / FOLDER / f"{row}.js"
    file.parent.mkdir(exist_ok=True)
    # Not atomically: the whole report appears at once, under another name.
    file.write_text(f'peftStudySamples("{row}","{packed}");\n', encoding="ascii")
    return file


def instruction_of(prompt: str) -> str:
    """Extract the last instruction of a prompt, without the examples before it; all of a prompt in another form."""
    for pattern in _INSTRUCTIONS:
        instructions = pattern.findall(prompt)
        if instructions:
            return str(instructions[-1]).strip()
    return prompt.strip()


def _sample(prediction: Prediction) -> dict[str, Any]:
    """Convert a prediction for the page; in a damaged file, other types become texts and False."""
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
        # The page says how much is missing; the whole text is in the cell's folder.
        "cut": sum(max(0, len(text) - LONGEST_TEXT) for text in texts),
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
