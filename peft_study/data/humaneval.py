"""HumanEval: functions to be gone on with, scored by assertions (Chen et al. 2021, arXiv 2107.03374)."""

from collections.abc import Iterable
from typing import Any

from peft_study.data import jsonl
from peft_study.data.samples import Sample
from peft_study.errors import UserError


def split(rows: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, list[Sample]]:
    """All problems as the test split; the other two are empty.

    Args:
        rows: place and fields of each problem.

    Raises:
        UserError: a field is missing or of another type, or two problems have one id.
    """
    samples: dict[str, Sample] = {}
    for where, row in rows:
        sample = _sample(where, row)
        if sample.id in samples:
            raise UserError(f"two problems are {sample.id}", where=where, hint="each problem once")
        samples[sample.id] = sample
    return {"train": [], "validation": [], "test": list(samples.values())}


def _sample(where: str, row: dict[str, Any]) -> Sample:
    fields = {
        name: jsonl.text_field(row, name, where) or ""
        for name in ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    }
    if not fields["entry_point"].isidentifier():
        raise UserError(f"{fields['entry_point']!r} is no function's name", where=where, hint="entry_point: a name")
    return Sample(
        id=f"test-{fields['task_id'].rpartition('/')[2]}",
        instruction=fields["prompt"],
        answer=fields["prompt"] + fields["canonical_solution"],
        starter_code=fields["prompt"],
        assertions=f"{fields['test']}\n\ncheck({fields['entry_point']})\n",
    )
