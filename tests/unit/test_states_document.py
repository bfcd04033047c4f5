"""docs/states.md explains every state, and only states that exist."""

import re
from pathlib import Path

from peft_study.cell.retries import RETRIED
from peft_study.cli.status.cells import SHOWN_STATES
from peft_study.config.schema import Retry
from peft_study.results.schema import FAILURES, Status

DOCUMENT = Path(__file__).parents[2] / "docs" / "states.md"


def section(title: str) -> str:
    """The text below a title of the document."""
    return re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8").partition(f"## {title}\n")[2], flags=re.M)[0]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of a table by the name in their first cell."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].split("`")[1]: row[1:] for row in cells}


def test_each_status_has_a_meaning_and_what_to_do() -> None:
    recorded, shown = rows(section("Recorded in result.json")), rows(section("Shown by status alone"))

    assert recorded.keys() == set(Status)
    assert shown.keys() == set(SHOWN_STATES) - set(Status)
    assert all(len(row) == 2 and all(row) for row in (recorded | shown).values())


def test_retry_is_as_the_document_says() -> None:
    documented = rows(section("What runs again"))

    assert documented.keys() == set(Retry)
    for retry, (again,) in documented.items():
        assert set(re.findall(r"`(\w+)`", again)) == RETRIED[Retry(retry)]
    assert RETRIED[Retry.all] == FAILURES
