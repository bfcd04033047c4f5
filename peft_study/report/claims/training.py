"""The parts of the paper's claims about scores of fine-tuned models."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist, fmean

from peft_study.data.samples import LEVELS
from peft_study.report.claims.comparison import SCORE, Best, Comparison, Scope
from peft_study.report.claims.evidence import Evidence
from peft_study.report.claims.parts import UNDECIDED, Odds, Part, all_hold, certain, missing
from peft_study.report.groups import Group
from peft_study.report.names import dataset_name, method_name, model_name
from peft_study.report.tables.scores import signed_text

LITTLE = 0.5
"""At most this share of the introductory gain counts as a little gain."""
_SCORE_NAMES = {"tests_passed_share": "tests passed", "pass@5": "Pass@5"}
# By the rules of the study's package, else by APPS' comparator, else strictly.
_COMPARATORS = ("apps_package_", "apps_", "")
Option = Mapping[str, Group]
"""A model and method by data set."""


def lora_beats_full(evidence: Evidence) -> list[Part]:
    """Claim 3."""
    comparisons = []
    for dataset in _datasets(evidence, "full"):
        # The paper's table 3 has full fine-tuning of the small models only.
        small = [group for group in evidence.find("full", dataset=dataset) if _size_class(group) == "slm"]
        comparisons.append(_compare_with_each(evidence, dataset, "lora", small))
    return [all_hold("LoRA above full fine-tuning", comparisons)] if any(comparisons) else []


def lora_is_the_best_adapter(evidence: Evidence) -> list[Part]:
    """Claim 4."""
    # Any adapter counts, not only the paper's four: a method that was added in a YAML file may beat LoRA.
    adapters = (group.method for group in evidence.groups if group.frame["kind"].eq("adapter").any())
    comparisons = [
        _compare_with_each(evidence, dataset, "lora", evidence.find(method, dataset=dataset))
        for method in dict.fromkeys(adapters)
        if method != "lora"
        for dataset in _datasets(evidence, method)
    ]
    return [all_hold("LoRA above another adapter", comparisons)] if any(comparisons) else []


def large_beats_small(evidence: Evidence) -> list[Part]:
    """Claim 5."""
    large, small = _options(evidence, "llm"), _options(evidence, "slm")
    # A mean over other data sets would rank the data, not the models.
    shared = {frozenset(option.keys() & other.keys()) for option in large for other in small}
    common = max(shared, key=lambda names: (len(names), sorted(names)), default=frozenset())
    if not common:
        return []
    large, small = ([option for option in options if common <= option.keys()] for options in (large, small))
    best_large, best_small = _best(large, common), _best(small, common)
    comparisons = []
    for dataset in sorted(common, key=dataset_name):
        names = f"{model_name(best_large[dataset].model)} and {model_name(best_small[dataset].model)}"
        # The choice is over all data sets, so each data set's options are those of the whole choice.
        first = Best((best_large[dataset],), tuple((option[dataset],) for option in large))
        second = Best((best_small[dataset],), tuple((option[dataset],) for option in small))
        for metric in ("em@1", SCORE):
            label = f"{names} on {dataset_name(dataset)}, {metric.upper()}"
            comparisons.append(evidence.compare(label, [first], [second], metric))
    part = all_hold("Large above small", comparisons)
    ratios = "; ".join(_ratio_text(comparison) for comparison in part.comparisons)
    return [replace(part, reason=f"{part.reason} Ratios, where the paper has 1.398 to 1.723: {ratios}.")]


def _ratio_text(comparison: Comparison) -> str:
    if comparison.ratio is None:
        return f"{comparison.label} not defined"
    ratio, low, high = comparison.ratio
    ends = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{comparison.label} {ratio:.3f}{ends}"


def apps_gains(evidence: Evidence) -> list[Part]:
    """Claim 10."""
    gains: list[Comparison] = []
    little: list[Part] = []
    for quantization in ("none", "nf4"):
        pairs = [
            (tuned, base)
            for base in evidence.find("zero-shot")
            for tuned in evidence.find("lora", quantization, base.dataset, base.model)
        ]
        introductory = [
            _compare_level(evidence, tuned, base, LEVELS[0], score) for tuned, base in pairs for score in _SCORE_NAMES
        ]
        method_gains = [comparison for comparison in introductory if comparison is not None]
        gains += method_gains
        method = method_name("lora", quantization)
        # "Little" is measured by the introductory gain, so without that gain no other level is judged.
        if not method_gains:
            little.append(missing(f"{method}: no introductory scores of it and of zero-shot."))
            continue
        for level in LEVELS[1:]:
            parts = [_gains_little(evidence, tuned, base, level) for tuned, base in pairs]
            absent = missing(f"{method}: no {level} Pass@5 of it and of zero-shot.")
            little += [part for part in parts if part is not None] or [absent]
    return [all_hold("Introductory scores above zero-shot's", gains), *little] if gains else []


def _gains_little(evidence: Evidence, tuned: Group, base: Group, level: str) -> Part | None:
    """Return whether a level's gain is at most `LITTLE` of the introductory gain; levels share no samples."""
    introductory = _compare_level(evidence, tuned, base, LEVELS[0], "pass@5")
    other = _compare_level(evidence, tuned, base, level, "pass@5")
    if introductory is None or other is None:
        return None
    odds = _little_odds(introductory, other)
    reason = f"{other.label}: {signed_text(100 * other.difference)} points ({other.first_name})"
    if odds.verdict is None:
        reason += ", not told from half of the introductory gain"
    return Part((odds,), f"{reason}.", (other,))


def _little_odds(introductory: Comparison, other: Comparison) -> Odds:
    # A loss at the introductory level counts as a gain of 0.
    excess = other.difference - LITTLE * max(introductory.difference, 0.0)
    if introductory.scope is Scope.printed and other.scope is Scope.printed:
        return certain(excess <= 0)
    base, tested = introductory.deciding_test, other.deciding_test
    if base is None or tested is None:
        return UNDECIDED
    # Levels share no samples, so the variances of both gains add up.
    error = math.hypot(tested.standard_error, LITTLE * base.standard_error)
    above = NormalDist().cdf(-excess / error)
    return Odds(1 - above, above)


def _compare_level(evidence: Evidence, tuned: Group, base: Group, level: str, score: str) -> Comparison | None:
    """Compare by the first comparator that both configurations were scored by."""
    label = f"{model_name(base.model)}, {level} {_SCORE_NAMES[score]}"
    for comparator in _COMPARATORS:
        comparison = evidence.compare(label, [tuned], [base], f"{level}/{comparator}{score}")
        if comparison is not None:
            return comparison
    return None


def _compare_with_each(evidence: Evidence, dataset: str, method: str, others: Sequence[Group]) -> Comparison | None:
    """Compare a method with others on one data set, averaged over the models that have both."""
    pairs = [
        (group, other)
        for other in others
        for group in evidence.find(method, dataset=dataset, model=other.model)
        if group.score(SCORE) and other.score(SCORE)
    ]
    return evidence.compare_over_models(dataset, pairs, SCORE)


def _options(evidence: Evidence, size: str) -> list[Option]:
    """Return the fine-tuned models and methods of a size class that have both scores."""
    # The paper's claim is on PEFT for large models, and its small models may be tuned in full.
    kinds = ["adapter", "full"] if size == "slm" else ["adapter"]
    by_name: dict[tuple[str, str], dict[str, Group]] = {}
    for group in evidence.groups:
        if group.dataset is None or group.quantization != "none" or _size_class(group) != size:
            continue
        if group.frame["kind"].isin(kinds).all() and group.score("em@1") and group.score(SCORE):
            by_name.setdefault((group.model, group.method), {})[group.dataset] = group
    return list(by_name.values())


def _best(options: Sequence[Option], datasets: frozenset[str]) -> Option:
    def mean_score(option: Option) -> float:
        scores = [option[name].score(metric) for name in datasets for metric in ("em@1", SCORE)]
        return fmean(score.mean for score in scores if score is not None)

    return max(options, key=mean_score)


def _datasets(evidence: Evidence, method: str) -> list[str]:
    return [name for name in dict.fromkeys(group.dataset for group in evidence.find(method)) if name]


def _size_class(group: Group) -> str | None:
    classes = group.frame["size_class"].dropna().tolist()
    return classes[0] if classes else None
