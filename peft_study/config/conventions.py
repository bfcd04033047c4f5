"""The conventions of the replication package that a recorded cell follows."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

import yaml

from peft_study.config.compose import conf_folder
from peft_study.config.identity import WITHOUT_EFFECT
from peft_study.config.schema import ConventionsConfig


def label(conventions: Mapping[str, Any]) -> str | None:
    """The mark in a report of a cell that does not follow the paper.

    Args:
        conventions: the group of a cell's config, however old.

    Returns:
        the name of the conventions and the settings that differ from them, or only the settings that differ from the
        paper; None if all are the paper's. Settings that act only through the method do not count.
    """
    default = str(ConventionsConfig.name)
    name = str(conventions.get("name", default))
    expected = _settings(name)
    changed = [
        key if value is True else f"{key}={str(value).lower()}"
        for key, value in sorted(conventions.items())
        if ("conventions", key) not in WITHOUT_EFFECT and value != expected.get(key)
    ]
    parts = changed if name == default else [name, *changed]
    return ", ".join(parts) or None


@cache
def _settings(name: str) -> dict[str, Any]:
    """The settings of named conventions; the paper's if no YAML has the name."""
    # Read without Hydra: a report composes no cell, and a record may name conventions that were removed.
    file = conf_folder() / "conventions" / f"{name}.yaml"
    changed = yaml.safe_load(file.read_text(encoding="utf-8"))["conventions"] if file.is_file() else {}
    return {**asdict(ConventionsConfig()), **changed}
