"""Which of the replication package's conventions a recorded cell follows."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from peft_study.config.schema import ConventionsConfig


def label(conventions: Mapping[str, Any]) -> str | None:
    """How a report marks a cell that does not follow the paper.

    Args:
        conventions: the group of a cell's config, however old.

    Returns:
        the name of the conventions, or the settings that were switched on alone; None where all are the paper's.
    """
    defaults = asdict(ConventionsConfig())
    name = conventions.get("name", defaults["name"])
    if name != defaults["name"]:
        return str(name)
    return ", ".join(sorted(key for key, value in conventions.items() if value != defaults.get(key))) or None
