"""MBPP: short functions that are scored by assertions (Austin et al. 2021, arXiv 2108.07732)."""

import re
from collections.abc import Iterable
from typing import Any

from peft_study.data import jsonl
from peft_study.data.samples import Sample
from peft_study.errors import UserError

# The split by task id, section 2.1; tasks 1 to 10 are the paper's own examples, and in none of the splits.
TEST, VALIDATION, TRAIN = range(11, 511), range(511, 601), range(601, 975)
ASKED = "Your code should pass these tests:"
"""How the paper's prompt (section 3.2) introduces the assertions, which alone name the function."""


def split(rows: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, list[Sample]]:
    """The published splits.

    Args:
        rows: place and fields of each problem, of all splits; the full version's field is "text", the sanitized
            version's "prompt".

    Raises:
        UserError: a field is missing or of another type, or two problems have one id.
    """
    parts: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
    seen = set()
    for where, row in rows:
        task = _task(row.get("task_id"), where)
        if task in seen:
            raise UserError(f"two problems are task {task}", where=where, hint="each problem once")
        seen.add(task)
        name = "test" if task in TEST else "validation" if task in VALIDATION else "train" if task in TRAIN else None
        if name is not None:
            parts[name].append(_sample(f"{name}-{task}", where, row))
    return parts


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


def _sample(name: str, where: str, row: dict[str, Any]) -> Sample:
    text = jsonl.text_field(row, "text" if "text" in row else "prompt", where) or ""
    assertions = jsonl.text_list_field(row, "test_list", where)
    setup = jsonl.text_field(row, "test_setup_code", where) if "test_setup_code" in row else None
    imports = jsonl.text_list_field(row, "test_imports", where) if "test_imports" in row else []
    return Sample(
        id=name,
        instruction="\n".join([text.strip(), ASKED, "", *assertions]),
        # Earlier results know the data by the fingerprint of this text.
        answer=(jsonl.text_field(row, "code", where) or "").replace("\r\n", "\n"),
        assertions="\n".join(line for line in (setup or "", *imports, *assertions) if line),
    )
