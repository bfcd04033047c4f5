"""Table 1: compute cost and effectiveness of each family of techniques, in classes that follow from what was measured.

The rule was not changed after runs were held against it. Within one model and data set each family is its
configuration with the best EM@10. Its peak memory, its seconds of training and generation, and its EM@10 are taken
relative to the family that has most; memory only where it was measured alike, on GPUs or of processes, and seconds
where they are of one device and as many test samples. Over models and data sets the median of each is a family's own.
Its cost is the geometric mean of the first two, its effectiveness the third; `HIGH_COST` and `HIGH_EFFECTIVENESS` make
classes of them.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median

import pandas as pd

from peft_study.report.groups import Group, caveats, groups
from peft_study.report.table import MISSING, Cell, Table

HIGH_COST = 0.5
HIGH_EFFECTIVENESS = 0.8
_PAPER = {"Full fine-tuning": ("high", "high"), "ICL and RAG": ("low", "low"), "PEFT": ("low", "high")}
_OF_PROCESSES = (
    "Memory of cells on a CPU is that of their process, Python's libraries included, which differs little between "
    "techniques for a small model."
)
_FAMILY_OF_KIND = {"full": "Full fine-tuning", "adapter": "PEFT"}
_FAMILY_OF_METHOD = {"icl": "ICL and RAG", "rag": "ICL and RAG"}


@dataclass(frozen=True)
class _Best:
    """A family's best configuration for one model and data set."""

    score: float
    peak_bytes: float | None
    seconds: float | None
    on_gpu: bool | None
    devices: frozenset[str]
    test_samples: float | None


def table1(frame: pd.DataFrame, other: pd.DataFrame | None = None) -> Table:
    """The trade-off of compute cost and effectiveness; see the head of this file for the rule.

    Args:
        frame: rows of `rows.load` or `reference.paper_rows`.
        other: not compared: the paper's own classes, which are words, stand in the last columns.
    """
    found = [one for one in groups(frame) if one.dataset and _family(one) and one.score("em@10")]
    pairs = _pairs(found)
    names = ("Technique", "Relative memory", "Relative time", "Relative EM@10", "Models x data sets")
    columns = (*names, "Compute cost", "Effectiveness", "Paper's cost", "Paper's effectiveness")
    cells = tuple(_row(family, pairs) for family in _PAPER)
    of_processes = any(best.peak_bytes and best.on_gpu is False for pair in pairs for best in pair.values())
    notes = (
        "Within one model and data set each technique is its configuration with the best EM@10. Memory (peak of "
        "training and generation), time (of both) and EM@10 are relative to the technique with the largest; medians "
        "over models and data sets.",
        *([_OF_PROCESSES] if of_processes else []),
        *caveats(found),
        f"Compute cost is high from {HIGH_COST} on (geometric mean of memory and time), effectiveness from "
        f"{HIGH_EFFECTIVENESS} on.",
    )
    return Table("table1", "Compute cost and effectiveness of each technique", columns, cells, notes)


def _row(family: str, pairs: list[Mapping[str, _Best]]) -> tuple[Cell, ...]:
    memory = [share for pair in pairs if (share := _relative(pair, family, "peak_bytes")) is not None]
    time = [share for pair in pairs if (share := _relative(pair, family, "seconds")) is not None]
    score = [share for pair in pairs if (share := _relative(pair, family, "score")) is not None]
    cost = math.sqrt(median(memory) * median(time)) if memory and time else None
    number = sum(family in pair for pair in pairs)
    return (
        Cell(family),
        *(_share(median(values) if values else None) for values in (memory, time, score)),
        Cell(str(number), float(number)),
        _class(cost, HIGH_COST),
        _class(median(score) if score else None, HIGH_EFFECTIVENESS),
        *(Cell(word) for word in _PAPER[family]),
    )


def _pairs(configurations: Iterable[Group]) -> list[Mapping[str, _Best]]:
    """The families' best by model and data set, wherever there are two families to compare."""
    found: dict[tuple[str, str], dict[str, _Best]] = {}
    for one in configurations:
        family, score = _family(one), one.score("em@10")
        if family is None or score is None or one.dataset is None:
            continue
        families = found.setdefault((one.model, one.dataset), {})
        if family not in families or families[family].score < score.mean:
            peak_bytes = None if one.on_gpu is None else one.middle("peak_bytes")
            devices = frozenset(str(name) for name in one.done["device"].dropna())
            families[family] = _Best(score.mean, peak_bytes, one.work_seconds(), one.on_gpu, devices, one.test_samples)
    return [_alike(families) for families in found.values() if len(families) > 1]


def _alike(families: Mapping[str, _Best]) -> Mapping[str, _Best]:
    """Without peaks where some are of a GPU and others of a process, and without seconds of other work or devices."""
    if len({best.on_gpu for best in families.values() if best.peak_bytes is not None}) > 1:
        families = {name: replace(best, peak_bytes=None) for name, best in families.items()}
    timed = [best for best in families.values() if best.seconds is not None]
    alike = len({best.test_samples for best in timed}) < 2 and len({best.devices for best in timed}) < 2
    if not alike or any(len(best.devices) > 1 for best in timed):
        families = {name: replace(best, seconds=None) for name, best in families.items()}
    return families


def _family(one: Group) -> str | None:
    kinds = one.frame["kind"].dropna().tolist()
    return _FAMILY_OF_METHOD.get(one.method) or _FAMILY_OF_KIND.get(kinds[0] if kinds else "")


def _relative(pair: Mapping[str, _Best], family: str, name: str) -> float | None:
    """A family's value as a share of the largest; None where fewer than two families have one."""
    values = {other: value for other, best in pair.items() if (value := getattr(best, name)) is not None}
    if family not in values or len(values) < 2 or not max(values.values()):
        return None
    return float(values[family] / max(values.values()))


def _share(value: float | None) -> Cell:
    return Cell(MISSING, state="not measured alike") if value is None else Cell(f"{value:.2f}", value)


def _class(value: float | None, high_from: float) -> Cell:
    if value is None:
        return Cell(MISSING, state="not measured alike")
    return Cell("high" if value >= high_from else "low")
