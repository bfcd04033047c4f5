"""The paper's tables, and an overview of all configurations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from peft_study.data.samples import LEVELS
from peft_study.metrics.registry import LEVEL_METRICS, OVERVIEW
from peft_study.report.caveats import caveats
from peft_study.report.groups import Group
from peft_study.report.names import (
    DATASETS,
    METHODS,
    MODELS,
    PAPER,
    dataset_name,
    method_name,
    model_name,
    place,
)
from peft_study.report.study import Study
from peft_study.report.tables.costs import costs
from peft_study.report.tables.instances import table2
from peft_study.report.tables.scores import (
    CONFIGURATION,
    GridRow,
    Score,
    configuration_cells,
    cost_cell,
    grid,
    parameters_cell,
    score_cell,
    seeds_note,
)
from peft_study.report.tables.table import MISSING, Cell, Table
from peft_study.report.tables.tradeoff import table1

_MARKS = "The largest number of a column is marked, and the largest of each model; a mark is not a test."
_SECONDS = (("Train s", "train_seconds"), ("Generate s", "generate_seconds"))
_MEMORY = {True: "Peak GPU GB", False: "Peak process GB"}
_PACKAGE_PREFIX, _APPS_PREFIX, _STRICT_PREFIX = "apps_package_", "apps_", ""
_COMPARATOR_NOTES = {
    _PACKAGE_PREFIX: "Programs run under the rules of the study's package (apps_package_*).",
    _APPS_PREFIX: (
        "Outputs compared as APPS' checker does, programs run by our rules. The paper's numbers stand under the rules "
        "of its package: scoring.apps_package_rules=true gives them."
    ),
    _STRICT_PREFIX: "Outputs compared strictly.",
}


def table3(study: Study, other: Study | None = None) -> Table:
    """Return full and parameter-efficient fine-tuning by model: scores in per cent and trained parameters.

    Args:
        study: rows of `rows.load` or `reference.paper_rows`.
        other: rows to compare with.
    """
    groups = _fine_tuned(study)
    others = [] if other is None else _fine_tuned(other)
    datasets = sorted({group.dataset or "" for group in groups}, key=lambda slug: place(slug, DATASETS))
    # The paper's CodeBLEU is CodeXGLUE's, so its numbers can be compared with no other convention.
    bleu = _codebleu(study)
    scores = [
        Score(dataset_name(slug), title, metric)
        for slug in datasets
        for title, metric in (("EM@1", "em@1"), ("EM@10", "em@10"), ("CodeBLEU", bleu))
    ]
    by_name, compared = _by_model_and_method(groups), _by_model_and_method(others)
    rows = []
    # In the paper's order of models and methods, regardless of the data set.
    for model, method in sorted(by_name, key=lambda name: (place(name[0], MODELS), place(name[1], METHODS))):
        members = by_name[model, method]
        labels = (Cell(model_name(model)), Cell(method_name(method)), parameters_cell(*members))
        rows.append(GridRow(labels, model, _by_dataset(members), _by_dataset(compared.get((model, method), []))))
    title = "SLMs and LLMs by fine-tuning method: EM@1, EM@10 and CodeBLEU in per cent"
    convention = "as the paper's evaluator computes it" if bleu != "codebleu" else "in the strict convention"
    notes: tuple[str, ...] = (_MARKS, f"CodeBLEU {convention} ({bleu}).", *seeds_note(groups), *caveats(groups))
    table = Table("table3", title, (), (), notes if groups else ("No fine-tuned cell is scored by references.",))
    return grid(table, ("Model", "Method", "# Params"), scores, rows, _other_name(other))


def table4(study: Study, other: Study | None = None) -> Table:
    """Return scores on contest problems by level, in per cent, by the comparator that was published with APPS.

    Args:
        study: rows of `rows.load` or `reference.paper_rows`.
        other: rows to compare with.
    """
    title = "Contest problems by level: average share of tests passed and Pass@k in per cent"
    # The published checker and the study's package run programs in ways that change verdicts: docs/scoring.md.
    prefix = _PACKAGE_PREFIX if _levels(study.groups, _PACKAGE_PREFIX) else _APPS_PREFIX
    return _by_level(Table("table4", title, (), (), (_COMPARATOR_NOTES[prefix],)), prefix, study, other)


def table4_strict(study: Study, other: Study | None = None) -> Table:
    """Return table 4 by the strict comparator, for which the paper has no numbers.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with.
    """
    title = "Contest problems by level, judged strictly: average share of tests passed and Pass@k in per cent"
    note = _COMPARATOR_NOTES[_STRICT_PREFIX]
    return _by_level(Table("table4_strict", title, (), (), (note,)), _STRICT_PREFIX, study, other)


def overview(study: Study, other: Study | None = None) -> Table:
    """Return every configuration: scores in per cent, and medians over seeds of memory in GB (1e9 bytes) and seconds.

    Args:
        study: rows of `rows.load` or `reference.paper_rows`.
        other: unused; `comparison.compare` compares all configurations.
    """
    groups = [group for group in study.groups if group.dataset is not None]
    scores = [(title, metric) for metric, title in OVERVIEW.items() if any(group.score(metric) for group in groups)]
    # A process holds Python's libraries too, so its peak gets a column of its own.
    memory = [kind for kind in _MEMORY if any(group.on_gpu is kind for group in groups)]
    cells = tuple(
        (
            *configuration_cells(group),
            Cell(str(len(group.frame)), float(len(group.frame)), state=group.state()),
            parameters_cell(group),
            *(score_cell(group, metric) for _, metric in scores),
            *(cost_cell(group, "peak_bytes", 1e9, 2) if group.on_gpu is kind else Cell(MISSING) for kind in memory),
            *(cost_cell(group, column, 1, 0) for _, column in _SECONDS),
        )
        for group in groups
    )
    titles = [title for title, _ in scores] + [_MEMORY[kind] for kind in memory] + [title for title, _ in _SECONDS]
    columns = (*CONFIGURATION, "Cells", "# Params", *titles)
    notes = (
        "CodeBLEU in the strict convention. Peak memory is of training and generation: what was allocated on the GPU, "
        "or all that the process held.",
        *seeds_note(groups),
    )
    return Table("overview", "Every configuration", columns, cells, (*notes, *caveats(groups)))


TABLES: Mapping[str, Callable[[Study, Study | None], Table]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "table4_strict": table4_strict,
    "overview": overview,
    "costs": costs,
}
"""Each table by name: a function of a study, and of a study to compare with or None."""


def _fine_tuned(study: Study) -> list[Group]:
    """Return the configurations of table 3: trained on a base that is not quantised, and scored by references."""
    groups = [
        group
        for group in study.groups
        if group.trained
        and group.dataset is not None
        # Figure 5 has the quantised ones. A cell whose record names no quantization is in a group of "none", too.
        and group.frame["quantization"].eq("none").all()
        and not any(_levels([group], prefix) for prefix in _COMPARATOR_NOTES)
    ]
    scored = {group.dataset for group in groups if group.score("em@1")}
    # If no cell of a data set succeeded, sampling shows that it has tests instead of references.
    unscored = {group.dataset for group in groups if len(group.done) or group.frame["sampled"].eq(True).any()} - scored
    return [group for group in groups if group.dataset not in unscored]


def _by_level(table: Table, prefix: str, study: Study, other: Study | None) -> Table:
    groups = [group for group in study.groups if group.dataset is not None]
    # A cell that failed has no scores, but stands in the table of its data set.
    with_levels = {group.dataset for group in groups if _levels([group], prefix)}
    groups = [group for group in groups if group.dataset in with_levels]
    levels = {
        level: level.capitalize() for level in sorted(_levels(groups, prefix), key=lambda level: place(level, LEVELS))
    }
    scores = [
        Score(heading, str(metric.short), f"{level}/{prefix}{metric.name}")
        for level, heading in levels.items()
        for metric in LEVEL_METRICS
    ]
    others = {} if other is None else other.by_key
    names = ("Model", "Method") if len(with_levels) < 2 else ("Data set", "Model", "Method")
    rows = []
    for group in groups:
        labels = (Cell(dataset_name(group.dataset or "")), Cell(model_name(group.model)), Cell(group.title))
        counterpart = others.get(group.key)
        counterparts = dict.fromkeys(levels.values(), counterpart) if counterpart else {}
        rows.append(GridRow(labels[-len(names) :], group.model, dict.fromkeys(levels.values(), group), counterparts))
    notes = (*table.notes, _MARKS, *seeds_note(groups), *caveats(groups))
    table = replace(table, notes=notes if groups else ("No cell has scores by level.",))
    return grid(table, names, scores, rows, _other_name(other))


def _levels(groups: Sequence[Group], prefix: str) -> set[str]:
    """Return the levels for which cells have scores by a comparator."""
    end = f"/{prefix}tests_passed_share"
    return {
        str(name).removesuffix(end)
        for group in groups
        for name in group.frame
        if str(name).endswith(end) and group.frame[name].notna().any()
    }


def _codebleu(study: Study) -> str:
    name = "codebleu_codexglue"
    return name if name in study.frame and study.frame[name].notna().any() else "codebleu"


def _by_model_and_method(groups: Sequence[Group]) -> dict[tuple[str, str], list[Group]]:
    named: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        named.setdefault((group.model, group.method), []).append(group)
    return named


def _by_dataset(groups: Sequence[Group]) -> dict[str, Group]:
    return {dataset_name(group.dataset or ""): group for group in groups}


def _other_name(other: Study | None) -> str | None:
    return None if other is None else PAPER if other.is_paper else "other"
