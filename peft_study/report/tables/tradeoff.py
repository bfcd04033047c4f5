"""Table 1: classes of compute cost and effectiveness for each family of techniques, from measurements.

Within a model and data set, a family is represented by its configuration with the best EM@10:

- Its peak memory, its seconds of training and generation, and its EM@10 are relative to the family with the largest.
- Memory is compared only if all of it was measured on GPUs, or all of processes. Seconds are compared only on one
  device and for the same number of test samples.
- A family's values are the medians over models and data sets. Its cost is the geometric mean of memory and seconds,
  its effectiveness is EM@10. `HIGH_COST` and `HIGH_EFFECTIVENESS` divide the classes.

The best of many configurations scores above its true score, which favours the family with most configurations. The
class of effectiveness is therefore given only if the interval of the relative EM@10, which allows for the choice,
excludes the limit. The rule was not changed after runs were checked with it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from peft_study.report.caveats import caveats
from peft_study.report.claims.comparison import SCORE, Best, Comparison, Scope
from peft_study.report.claims.evidence import Evidence
from peft_study.report.groups import Group
from peft_study.report.study import Study
from peft_study.report.tables.table import MISSING, Cell, Table

HIGH_COST = 0.5
HIGH_EFFECTIVENESS = 0.8
_PAPER = {"Full fine-tuning": ("high", "high"), "ICL and RAG": ("low", "low"), "PEFT": ("low", "high")}
_OF_PROCESSES = (
    "Memory of cells on a CPU is that of their process, Python's libraries included, which differs little between "
    "techniques for a small model."
)
_NOT_COMPARABLE = Cell(MISSING, state="not measured alike")
_FAMILY_OF_KIND = {"full": "Full fine-tuning", "adapter": "PEFT"}
_FAMILY_OF_METHOD = {"icl": "ICL and RAG", "rag": "ICL and RAG"}


@dataclass(frozen=True)
class _FamilyBest:
    """The best configuration of a family for a model and data set.

    Attributes:
        peak_bytes: of training and generation; None if unknown or not comparable.
        seconds: of training and generation; None if unknown or not comparable.
        share: both ends of EM@10 as a share of the largest; 0 and 1 if nothing is decided.
    """

    score: float
    best: Best
    peak_bytes: float | None
    seconds: float | None
    on_gpu: bool | None
    devices: frozenset[str]
    test_samples: float | None
    share: tuple[float, float] = (0.0, 1.0)


def table1(study: Study, other: Study | None = None) -> Table:
    """Return the trade-off of compute cost and effectiveness; the head of this file has the rule.

    Args:
        study: rows of `rows.load` or `reference.paper_rows`.
        other: unused; the last columns always have the paper's classes.
    """
    # Without predictions, so that the classes follow from the intervals that tables show.
    evidence = Evidence(study.groups)
    groups = [group for group in evidence.groups if group.dataset and _family(group) and group.score(SCORE)]
    comparisons = _comparisons(evidence, groups)
    names = ("Technique", "Relative memory", "Relative time", "Relative EM@10", "Models x data sets")
    columns = (*names, "Compute cost", "Effectiveness", "Paper's cost", "Paper's effectiveness")
    cells = tuple(_row(family, comparisons) for family in _PAPER)
    of_processes = any(
        best.peak_bytes and best.on_gpu is False for families in comparisons for best in families.values()
    )
    notes = (
        "Within one model and data set each technique is its configuration with the best EM@10. Memory (peak of "
        "training and generation), time (of both) and EM@10 are relative to the technique with the largest; medians "
        "over models and data sets.",
        *([_OF_PROCESSES] if of_processes else []),
        *caveats(groups),
        f"Compute cost is high from {HIGH_COST} on (geometric mean of memory and time), effectiveness from "
        f"{HIGH_EFFECTIVENESS} on. The best configurations are chosen on the test split. Effectiveness is not decided "
        "where the 95 % interval of the relative EM@10 holds this limit; the interval allows for the choice: in each "
        "resample the largest error of any configuration counts (max-T). Of the paper's printed numbers the numbers "
        "alone decide.",
    )
    return Table("table1", "Compute cost and effectiveness of each technique", columns, cells, notes)


def _row(family: str, comparisons: list[Mapping[str, _FamilyBest]]) -> tuple[Cell, ...]:
    memory = _shares_of_largest(comparisons, family, "peak_bytes")
    time = _shares_of_largest(comparisons, family, "seconds")
    score = _shares_of_largest(comparisons, family, "score")
    # The geometric mean, so that a halved memory and a halved time count alike.
    cost = math.sqrt(median(memory) * median(time)) if memory and time else None
    intervals = [families[family].share for families in comparisons if family in families]
    return (
        Cell(family),
        *(_share(median(values) if values else None) for values in (memory, time, score)),
        Cell(str(len(intervals)), float(len(intervals))),
        _NOT_COMPARABLE if cost is None else Cell("high" if cost >= HIGH_COST else "low"),
        _effectiveness(intervals),
        *(Cell(word) for word in _PAPER[family]),
    )


def _comparisons(evidence: Evidence, configurations: Iterable[Group]) -> list[Mapping[str, _FamilyBest]]:
    """Return the best of each family by model and data set, if there are two families to compare."""
    by_model_and_dataset: dict[tuple[str, str], dict[str, list[Group]]] = {}
    for group in configurations:
        family = _family(group)
        if family is not None and group.dataset is not None:
            by_model_and_dataset.setdefault((group.model, group.dataset), {}).setdefault(family, []).append(group)
    return [
        _with_shares(evidence, _comparable({family: _best(evidence, options) for family, options in families.items()}))
        for families in by_model_and_dataset.values()
        if len(families) > 1
    ]


def _best(evidence: Evidence, options: Sequence[Group]) -> _FamilyBest:
    best = evidence.best(options, SCORE)
    assert best is not None
    (chosen,) = best.chosen
    score = chosen.score(SCORE)
    assert score is not None
    # A configuration with cells on GPUs and on CPUs has peaks of two kinds.
    peak_bytes = None if chosen.on_gpu is None else chosen.middle("peak_bytes")
    devices = frozenset(str(name) for name in chosen.done["device"].dropna())
    return _FamilyBest(score.mean, best, peak_bytes, chosen.work_seconds(), chosen.on_gpu, devices, chosen.test_samples)


def _with_shares(evidence: Evidence, families: Mapping[str, _FamilyBest]) -> Mapping[str, _FamilyBest]:
    """Compare each family with every other one: its share of the largest is the smallest of its shares."""
    shares = {}
    for family, choice in families.items():
        against = [
            _share_ends(evidence.compare(family, [choice.best], [other.best], SCORE), other.score)
            for name, other in families.items()
            if name != family
        ]
        shares[family] = min(low for low, _ in against), min(high for _, high in against)
    return {family: replace(choice, share=shares[family]) for family, choice in families.items()}


def _share_ends(compared: Comparison | None, other: float) -> tuple[float, float]:
    """Return both ends of a score as a share of another score, at most 1."""
    if compared is None or not other:
        return 0.0, 1.0
    # The paper prints no intervals, so both ends are the share itself.
    if compared.scope is Scope.printed:
        return min(1.0, compared.first / other), min(1.0, compared.first / other)
    if compared.low is None or compared.high is None or compared.scope is not Scope.methods:
        return 0.0, 1.0
    # The interval of a difference, on the scale of the other's score.
    low, high = (min(1.0, max(0.0, 1 + end / other)) for end in (compared.low, compared.high))
    return low, high


def _comparable(families: Mapping[str, _FamilyBest]) -> Mapping[str, _FamilyBest]:
    """Remove peaks of both GPUs and processes, and seconds of different devices or numbers of samples."""
    if len({best.on_gpu for best in families.values() if best.peak_bytes is not None}) > 1:
        families = {name: replace(best, peak_bytes=None) for name, best in families.items()}
    # Seconds of generation grow with the number of test samples.
    timed = [best for best in families.values() if best.seconds is not None]
    comparable = len({best.test_samples for best in timed}) < 2 and len({best.devices for best in timed}) < 2
    if not comparable or any(len(best.devices) > 1 for best in timed):
        families = {name: replace(best, seconds=None) for name, best in families.items()}
    return families


def _family(group: Group) -> str | None:
    kinds = group.frame["kind"].dropna().tolist()
    return _FAMILY_OF_METHOD.get(group.method) or _FAMILY_OF_KIND.get(kinds[0] if kinds else "")


def _shares_of_largest(comparisons: Sequence[Mapping[str, _FamilyBest]], family: str, name: str) -> list[float]:
    """Return a family's value as a share of the largest, where two families have a value."""
    shares = []
    for families in comparisons:
        values = {other: value for other, best in families.items() if (value := getattr(best, name)) is not None}
        if family in values and len(values) > 1 and max(values.values()):
            shares.append(float(values[family] / max(values.values())))
    return shares


def _share(value: float | None) -> Cell:
    return _NOT_COMPARABLE if value is None else Cell(f"{value:.2f}", value)


def _effectiveness(shares: Sequence[tuple[float, float]]) -> Cell:
    if not shares:
        return _NOT_COMPARABLE
    low, high = median(low for low, _ in shares), median(high for _, high in shares)
    if low < HIGH_EFFECTIVENESS <= high:
        return Cell("not decided")
    return Cell("high" if low >= HIGH_EFFECTIVENESS else "low")
