"""Compares two studies by configuration and score, and marks significant differences."""

from collections.abc import Iterator
from dataclasses import dataclass

from peft_study.metrics.differences import holm
from peft_study.metrics.registry import COMPARED, LEVEL_METRICS
from peft_study.report.caveats import caveats_between
from peft_study.report.claims.comparison import ALPHA, Comparison, Scope, Test, p_text
from peft_study.report.claims.evidence import Evidence
from peft_study.report.groups import Group
from peft_study.report.names import LEVELS, dataset_name, method_name, model_name
from peft_study.report.study import Study
from peft_study.report.tables.scores import signed_text
from peft_study.report.tables.table import MISSING, Cell, Table

DIFFERENCES = (
    "docs/differences.md lists where the paper, its replication package and this project differ, and the effect on "
    "scores. The package's left padding alone explains its low prompt and prefix tuning."
)
_COLUMNS = (
    *("Data set", "Model", "Method", "Examples", "Score", "This", "Other", "Difference"),
    *("Lowest", "Highest", "p", "Difference is", "Test"),
)
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
    compared: Comparison | None = None


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
    lines = [
        line
        for group, counterpart in pairs
        for line in (*_scores(ours, theirs, group, counterpart), *_costs(group, counterpart))
    ]
    # Holm over all tests of the table: of 156 equal comparisons some have p < 0.05 by chance.
    p_values = [None if line.compared is None else line.compared.p_value for line in lines]
    tested = [index for index, p_value in enumerate(p_values) if p_value is not None]
    adjusted = dict(zip(tested, holm([value for value in p_values if value is not None]), strict=True))
    tests = len(tested)
    common = len({group.key for group, _ in pairs})
    if not pairs:
        return Table("comparison", "Comparison with another study", _COLUMNS, (), (_NOTHING_IN_COMMON,))
    notes = (
        "Scores in per cent, differences in points (this less the other) with the ends of their 95 % intervals. "
        f"* p < {ALPHA}; ** p < {ALPHA} over all {tests} tests in this table (Holm). A dagger in place of the star: of "
        "these runs alone, as the spread between runs of a single seed is not known.",
        f"{common} configurations are in both, {len(ours.groups) - common} only in this, "
        f"{len(theirs.groups) - len({counterpart.key for _, counterpart in pairs})} only in the other.",
        "By intervals the runs count as if they were of different samples, which finds fewer differences. A score "
        "without an interval is assumed to have one as wide as the other's. A single seed's spread between runs is "
        "that of the same study's configurations with several seeds, or of the other study's.",
        *((DIFFERENCES,) if other.is_paper else ()),
        *caveats_between(pairs),
        *ours.caveats(cell for group, _ in pairs for cell in group.cells),
        *(
            f"Of the other: {sentence}"
            for sentence in theirs.caveats(cell for _, counterpart in pairs for cell in counterpart.cells)
        ),
    )
    cells = tuple(_row(line, adjusted.get(index)) for index, line in enumerate(lines))
    return Table("comparison", "Comparison with another study", _COLUMNS, cells, notes)


def _pairs(ours: Evidence, other: Study) -> Iterator[tuple[Group, Group]]:
    theirs = other.by_key
    for group in ours.groups:
        counterpart = theirs.get(group.key)
        if counterpart is not None:
            yield group, counterpart
        elif (
            counterpart := theirs.get((group.dataset, group.model, group.method, group.quantization, None))
        ) is not None:
            # The paper states its best number of examples by score only, so it is compared with our best.
            best = ours.best(ours.find(group.method, group.quantization, group.dataset, group.model), "em@10")
            if best is not None and best.chosen[0] is group:
                yield group, counterpart
        if group.dataset and (
            counterpart := theirs.get((None, group.model, group.method, group.quantization, group.num_examples))
        ):
            yield group, counterpart


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
    group, comparison = line.group, line.compared
    low, high, p_value = (
        (None, None, None) if comparison is None else (comparison.low, comparison.high, comparison.p_value)
    )
    examples = Cell(MISSING) if group.num_examples is None else Cell(f"{group.num_examples:.0f}", group.num_examples)
    difference = line.first - line.second
    return (
        Cell(dataset_name(group.dataset) if group.dataset else MISSING),
        Cell(model_name(group.model)),
        Cell(method_name(group.method, group.quantization)),
        examples,
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
