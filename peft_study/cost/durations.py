"""How long a cell takes, from finished replicates.

Measured and not modelled: steps on a GPU are limited by kernel launches, which no count of operations shows.
"""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from peft_study.config import identity
from peft_study.results.schema import RunResult

TimeKey = tuple[str | None, str | None]
"""`identity.settings_key` and the hardware option: cells with the same key take the same time."""


def time_key(config: Mapping[str, Any]) -> TimeKey:
    """Return the key of cells that take the same time.

    Args:
        config: as `identity.plain` gives it; an old or damaged record is allowed.
    """
    hardware = config.get("hardware")
    name = hardware.get("name") if isinstance(hardware, Mapping) else None
    return identity.settings_key(config), name if isinstance(name, str) else None


def work_seconds(result: RunResult) -> float:
    """Return the seconds of all phases so far, without the import of libraries."""
    # A record that was edited may hold anything.
    seconds = (cost.seconds for cost in result.phases.values())
    return float(sum(value for value in seconds if isinstance(value, int | float)))


def median_seconds(finished: Iterable[tuple[TimeKey, float]]) -> dict[TimeKey, float]:
    """Return the median duration of finished cells by key.

    Args:
        finished: key and seconds of each finished cell.
    """
    seconds: dict[TimeKey, list[float]] = {}
    for key, value in finished:
        seconds.setdefault(key, []).append(value)
    return {key: statistics.median(values) for key, values in seconds.items()}
