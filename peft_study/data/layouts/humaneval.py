"""HumanEval: functions to complete, scored by assertions (Chen et al. 2021, arXiv 2107.03374)."""

from pathlib import Path
from typing import Any

from peft_study.config.schema import DatasetConfig
from peft_study.data import jsonl
from peft_study.data.layouts.base import BaseLayout, Tables, add_unique
from peft_study.data.samples import Sample
from peft_study.errors import UserError


class Layout(BaseLayout):
    """The published problems. All of them are the test split; the other two splits are empty."""

    expected = "one file, the JSONL of the problems"

    def hub_tables(self, dataset: DatasetConfig) -> dict[str, str]:
        return {"test": "test"}

    def read(self, path: Path) -> Tables:
        return {"test": jsonl.read_objects(path)}

    def samples(self, tables: Tables, dataset: DatasetConfig, dropped: dict[str, int]) -> dict[str, list[Sample]]:
        """As in `BaseLayout`; two problems with one id are an error."""
        samples: list[Sample] = []
        seen: set[str] = set()
        for where, row in tables["test"]:
            samples.append(_sample(where, row))
            add_unique(seen, samples[-1].id, "task_id", where)
        return {"train": [], "validation": [], "test": samples}


def _sample(where: str, row: dict[str, Any]) -> Sample:
    fields = {
        name: jsonl.text_field(row, name, where) or ""
        for name in ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    }
    # It becomes part of the source of a test.
    if not fields["entry_point"].isidentifier():
        what = f"entry_point must be the name of a function, got {fields['entry_point']!r}"
        raise UserError(what, where=where, hint="the name that the tests call")
    # A test only defines `check`, so it would pass without this call.
    return Sample(
        id=f"test-{fields['task_id'].rpartition('/')[2]}",
        instruction=fields["prompt"],
        answer=fields["prompt"] + fields["canonical_solution"],
        starter_code=fields["prompt"],  # scores compare whole programs
        assertions=f"{fields['test']}\n\ncheck({fields['entry_point']})\n",
    )
