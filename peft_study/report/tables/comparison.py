"""Compares two studies by configuration and score, and marks significant differences."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from peft_study.data.samples import LEVELS
from peft_study.metrics.differences import holm
from peft_study.metrics.registry import COMPARED, LEVEL_METRICS
from peft_study.report.caveats import caveats_between
from peft_study.report.claims.comparison import ALPHA, SCORE, Comparison, Scope, Test, p_text
from peft_study.report.claims.evidence import Evidence
from peft_study.report.groups import Group
from peft_study.report.study import Study
from peft_study.report.tables.scores import CONFIGURATION, configuration_cells, signed_text
from peft_study.report.tables.table import MISSING, Cell, Table

DIFFERENCES = (
    "docs/differences.md lists where the paper, its replication package and this project differ, and the effect on "
    "scores. The package's left padding alone explains its low prompt and prefix tuning."
)
_RESULTS = ("Score", "This", "Other", "Difference", "Lowest", "Highest", "p", "Difference is", "Test")
_COLUMNS = (*CONFIGURATION, *_RESULTS)
_NOTHING_IN_COMMON = (
    "The two studies have no configuration with the same data set, model, method, quantization and number of examples."
)
_COMPARATORS = {"": "", "apps_": " (APPS' comparator)", "apps_package_": " (the package's rules)"}
_TESTS = {
    Test.paired: "paired",
    Test.intervals: "both intervals",
    Test.one_interval: "one interval",
    Test.printed: "none",
    Test.summary: "none",
}


@dataclass(frozen=True)
class _Line:
    """A score or cost of a configuration in both studies."""

    group: Group
    title: str
    first: float
    second: float
    comparison: Comparison | None = None


def compare(study: Study, other: Study) -> Table:
    """Compare the configurations that two studies have in common.

    Configurations match by data set, model, method, quantization and number of examples. If the other study states a
    best score without its number of examples, it is compared with this study's best. If it names no data set, as the
    paper does for memory, it is compared with each data set.

    The variance between samples is paired if both studies' predictions are on this machine and of the same samples;
    otherwise it follows from the scores' intervals. The variance between runs follows from the seeds. Memory is
    compared only if both were measured on a GPU, or both of a process.

    Args:
        study: rows of `rows.load`.
        other: rows of `rows.load` or `reference.paper_rows`.
    """
    renamed = other.renamed_for(study.frame["model"].dropna())
    ours, theirs = study.evidence, renamed.evidence
    pairs = list(_pairs(ours, renamed))
    if not pairs:
        return Table("comparison", "Comparison with another study", _COLUMNS, (), (_NOTHING_IN_COMMON,))
    lines = [
        line
        for group, counterpart in pairs
        for line in (*_scores(ours, theirs, group, counterpart), *_costs(group, counterpart))
    ]
    # Holm over all tests of the table: of 156 equal comparisons some have p < 0.05 by chance.
    p_values = {
        index: line.comparison.p_value
        for index, line in enumerate(lines)
        if line.comparison is not None and line.comparison.p_value is not None
    }
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    common = len({group.key for group, _ in pairs})
    notes = (
        "Scores in per cent, differences in points (this less the other) with the ends of their 95 % intervals. "
        f"* p < {ALPHA}; ** p < {ALPHA} over all {len(adjusted)} tests in this table (Holm). "
        "A dagger in place of the star: of these runs alone, as the spread between runs of a single seed is not known.",
        f"{common} configurations are in both, {len(ours.groups) - common} only in this, "
        f"{len(theirs.groups) - len({counterpart.key for _, counterpart in pairs})} only in the other.",
        "By intervals the runs count as if they were of different samples, which finds fewer differences. A score "
        "without an interval is assumed to have one as wide as the other's. A single seed's spread between runs is "
        "that of the same study's configurations with several seeds, or of the other study's.",
        *((DIFFERENCES,) if other.is_paper else ()),
        *caveats_between(pairs),
        *ours.caveats(_cells(group for group, _ in pairs)),
        *(f"Of the other: {sentence}" for sentence in theirs.caveats(_cells(counterpart for _, counterpart in pairs))),
    )
    cells = tuple(_row(line, adjusted.get(index)) for index, line in enumerate(lines))
    return Table("comparison", "Comparison with another study", _COLUMNS, cells, notes)


def _cells(groups: Iterable[Group]) -> Iterator[str]:
    return (cell for group in groups for cell in group.cells)


def _pairs(ours: Evidence, other: Study) -> Iterator[tuple[Group, Group]]:
    theirs = other.by_key
    for group in ours.groups:
        names = (group.model, group.method, group.quantization)
        counterpart = theirs.get(group.key)
        best = theirs.get((group.dataset, *names, None))
        without_dataset = theirs.get((None, *names, group.num_examples))
        if counterpart is not None:
            yield group, counterpart
        # The paper states its best number of examples by score only, so it is compared with our best.
        elif best is not None and _is_best(ours, group):
            yield group, best
        if group.dataset and without_dataset is not None:
            yield group, without_dataset


def _is_best(ours: Evidence, group: Group) -> bool:
    best = ours.best(ours.find(group.method, group.quantization, group.dataset, group.model), SCORE)
    return best is not None and best.chosen[0] is group


def _scores(ours: Evidence, theirs: Evidence, group: Group, counterpart: Group) -> Iterator[_Line]:
    # Under three rules for programs, so that the paper's APPS numbers meet those that follow its package.
    levels = {
        f"{level}/{prefix}{metric.name}": f"{level.capitalize()} {metric.headline or metric.title}{comparator}"
        for level in LEVELS
        for prefix, comparator in _COMPARATORS.items()
        for metric in LEVEL_METRICS
    }
    for metric, title in (dict(COMPARED) | levels).items():
        comparison = ours.compare(title, [group], [counterpart], metric, other=theirs)
        if comparison is not None:
            yield _Line(group, title, 100 * comparison.first, 100 * comparison.second, comparison)


def _costs(group: Group, counterpart: Group) -> Iterator[_Line]:
    # A process holds Python's libraries too, so its peak says almost nothing beside a GPU's.
    if group.on_gpu is not None and group.on_gpu == counterpart.on_gpu:
        kind = "GPU" if group.on_gpu else "process"
        yield from _cost(group, counterpart, f"Training's peak {kind} memory, GB", "train_peak_bytes", 1e9)
    # Seconds on two devices compare the devices, so the line says which they are.
    devices = [", ".join(sorted(set(side.done["device"].dropna()))) for side in (group, counterpart)]
    where = f" ({' against '.join(name or 'unknown' for name in devices)})" if devices[0] != devices[1] else ""
    yield from _cost(group, counterpart, f"Training, s{where}", "train_seconds", 1.0)


def _cost(group: Group, counterpart: Group, title: str, column: str, unit: float) -> Iterator[_Line]:
    first, second = group.middle(column), counterpart.middle(column)
    if first is not None and second is not None:
        yield _Line(group, title, first / unit, second / unit)


def _row(line: _Line, adjusted: float | None) -> tuple[Cell, ...]:
    comparison = line.comparison
    low, high, p_value = (
        (None, None, None) if comparison is None else (comparison.low, comparison.high, comparison.p_value)
    )
    difference = line.first - line.second
    return (
        *configuration_cells(line.group),
        Cell(line.title),
        Cell(f"{line.first:.2f}", line.first),
        Cell(f"{line.second:.2f}", line.second),
        Cell(signed_text(difference), difference),
        *(Cell(MISSING) if end is None else Cell(signed_text(100 * end), 100 * end) for end in (low, high)),
        Cell(MISSING) if p_value is None else Cell(p_text(p_value).removeprefix("p ").removeprefix("= "), p_value),
        Cell(_significance(comparison, adjusted)),
        Cell("none" if comparison is None else _TESTS[comparison.test]),
    )


def _significance(comparison: Comparison | None, adjusted: float | None) -> str:
    if comparison is None or comparison.p_value is None or adjusted is None:
        return "not tested"
    if comparison.has_few_samples:
        return "too few samples"
    # A large p-value does not show that two methods are equal.
    if comparison.p_value >= ALPHA:
        return "not decided"
    sign = "*" if comparison.scope is Scope.methods else "†"
    return ("higher" if comparison.difference > 0 else "lower") + sign * (2 if adjusted < ALPHA else 1)
