"""MBPP: short functions that are scored by assertions (Austin et al. 2021, arXiv 2108.07732)."""

import re
from itertools import chain
from pathlib import Path
from typing import Any

from peft_study.config.schema import DatasetConfig
from peft_study.data import jsonl
from peft_study.data.layouts.base import BaseLayout, Tables, add_unique
from peft_study.data.samples import Sample
from peft_study.errors import UserError

# The split by task id, section 2.1; tasks 1 to 10 are the paper's own examples, and in none of the splits.
TASKS = {"train": range(601, 975), "validation": range(511, 601), "test": range(11, 511)}
TESTS_FOLLOW = "Your code should pass these tests:"
"""How the paper's prompt (section 3.2) introduces the assertions, which alone name the function."""


class Layout(BaseLayout):
    """The published problems, split by their number: the full version ("text") or the sanitized one ("prompt")."""

    expected = "one file, the JSONL of all problems or the JSON list of the sanitized ones"

    def minimum(self, dataset: DatasetConfig, split: str) -> str:
        return "tasks 11 to 510 are the test split, 511 to 600 validation, 601 to 974 training: it needs one of each"

    def read(self, path: Path) -> Tables:
        return {"all": jsonl.read_objects(path)}

    def samples(self, tables: Tables, dataset: DatasetConfig, dropped: dict[str, int]) -> dict[str, list[Sample]]:
        """As in `BaseLayout`; two problems with one number are an error."""
        splits: dict[str, list[Sample]] = {split: [] for split in TASKS}
        seen: set[int] = set()
        for where, row in chain.from_iterable(tables.values()):
            task = _task(row.get("task_id"), where)
            add_unique(seen, task, "task_id", where)
            split = next((split for split, tasks in TASKS.items() if task in tasks), None)
            if split is not None:  # tasks 1 to 10 are examples for few-shot prompts
                splits[split].append(_sample(f"{split}-{task}", where, row))
        return splits


def _task(value: Any, where: str) -> int:
    """The number of a problem; EvalPlus writes it as "Mbpp/2"."""
    if type(value) is int:
        return value
    number = re.fullmatch(r"Mbpp/([0-9]+)", value) if isinstance(value, str) else None
    if number is None:
        raise UserError(
            f'task_id must be a number or a text such as "Mbpp/2", got {value!r}',
            where=f"task_id, {where}",
            hint="the number that MBPP gives the problem",
        )
    return int(number[1])


def _sample(sample_id: str, where: str, row: dict[str, Any]) -> Sample:
    # Only the sanitized version has "prompt" and "test_imports", and only the full one "test_setup_code".
    text = jsonl.text_field(row, "text" if "text" in row else "prompt", where) or ""
    assertions = jsonl.text_list_field(row, "test_list", where)
    setup = jsonl.text_field(row, "test_setup_code", where) if "test_setup_code" in row else None
    imports = jsonl.text_list_field(row, "test_imports", where) if "test_imports" in row else []
    return Sample(
        id=sample_id,
        instruction="\n".join([text.strip(), TESTS_FOLLOW, "", *assertions]),
        # Earlier results know the data by the fingerprint of this text.
        answer=(jsonl.text_field(row, "code", where) or "").replace("\r\n", "\n"),
        assertions="\n".join(line for line in (setup or "", *imports, *assertions) if line),
    )
