"""Table 2: an example of each data set, from the predictions of cells on this machine."""

import json
from pathlib import Path

import pandas as pd

from peft_study.report.names import DATASETS, dataset_name, place
from peft_study.report.study import Study
from peft_study.report.tables.table import MISSING, Cell, Table
from peft_study.results.store import PREDICTIONS

# A contest problem is a page of text.
_CHARACTERS_AT_MOST = 600
# The first short example, or the shortest of these, is easy to read.
_LOOKED_AT = 50
_SHORT = 200


def table2(study: Study, other: Study | None = None) -> Table:
    """Return an example of each data set: the prompt and the reference.

    Args:
        study: rows of `rows.load`; the first cell of each data set with predictions on this machine is read.
        other: unused.
    """
    frame = study.frame
    datasets = sorted({str(slug) for slug in frame["dataset"].dropna()}, key=lambda slug: place(slug, DATASETS))
    cells = []
    for slug in datasets:
        example = _example(frame[frame["dataset"] == slug])
        texts = (
            [Cell(MISSING, state="no predictions here")] * 2 if example is None else [Cell(text) for text in example]
        )
        cells.append((Cell(dataset_name(slug)), *texts))
    return Table("table2", "One example of each data set", ("Data set", "Prompt", "Reference"), tuple(cells))


def _example(frame: pd.DataFrame) -> tuple[str, str] | None:
    """Return a prompt and its reference, from a cell without examples in its prompts if there is one."""
    # Examples in the prompt would fill the table; a zero-shot prompt shows the form alone.
    ordered = frame[frame["folder"].notna()].sort_values("num_examples", kind="stable")
    for folder in ordered["folder"]:
        pairs = _read(Path(folder) / PREDICTIONS)
        if pairs:
            shortest = min(pairs, key=lambda pair: sum(map(len, pair)))
            prompt, reference = next((pair for pair in pairs if sum(map(len, pair)) <= _SHORT), shortest)
            return _cut(prompt), _cut(reference)
    return None


def _read(file: Path) -> list[tuple[str, str]]:
    # Without `read_predictions`, because the first lines suffice and a file takes some megabytes.
    pairs = []
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for _, line in zip(range(_LOOKED_AT), lines, strict=False):
                row = json.loads(line)
                if row["reference"]:
                    pairs.append((str(row["prompt"]), str(row["reference"])))
    # What was read before a damaged line still makes an example.
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return pairs
    return pairs


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _CHARACTERS_AT_MOST else text[:_CHARACTERS_AT_MOST] + " ..."
