"""The parts of the paper's claims about examples in prompts."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from peft_study.report.claims.comparison import SCORE, Best, Comparison
from peft_study.report.claims.evidence import Evidence
from peft_study.report.claims.parts import Part, all_hold, missing
from peft_study.report.groups import Group
from peft_study.report.names import dataset_name, model_name

CODELLAMA_7B = ("codellama-7b", "codellama-7b-instruct", "codellama-7b-python")
PEAKS = {"conala": (6.0, 11.0), "codealpacapy": (3.0, 4.0)}
"""The range of the number of examples in which the paper has the peak."""
NO_MORE = -0.01
"""A score counts as not surpassed if it is at most 1 point below the other."""
# Two points have no peak between them.
_FEWEST_POINTS = 3


def icl_beats_zero_shot(evidence: Evidence) -> list[Part]:
    """Claim 1."""
    comparisons = [
        _compare(evidence, zero_shot, _best_beside(evidence, "icl", zero_shot), zero_shot)
        for zero_shot in evidence.find("zero-shot")
    ]
    return [all_hold("ICL above zero-shot", comparisons)] if any(comparisons) else []


def more_examples_do_not_always_help(evidence: Evidence) -> list[Part]:
    """Claim 2."""
    groups = [group for group in evidence.find("icl") if group.num_examples]
    datasets = dict.fromkeys(group.dataset for group in groups if group.dataset)
    beside: list[Comparison] = []
    for dataset in datasets:
        if dataset not in PEAKS:
            beside += [comparison for part in _peak(evidence, dataset) for comparison in part.comparisons]
    if not beside and not datasets.keys() & PEAKS.keys():
        return []
    parts: list[Part] = []
    for dataset in PEAKS:
        absent = missing(f"No in-context learning on {dataset_name(dataset)}.")
        parts += _peak(evidence, dataset) if dataset in datasets else [absent]
    return [*parts, *_remark(beside)]


def lora_beats_prompting(evidence: Evidence) -> list[Part]:
    """Claim 8."""
    parts: list[Part] = []
    beside: list[Comparison] = []
    for method, name in (("icl", "ICL"), ("rag", "RAG")):
        inside: list[Comparison] = []
        for lora in evidence.find("lora"):
            comparison = _compare(evidence, lora, lora, _best_beside(evidence, method, lora))
            if comparison is not None:
                (inside if lora.model in CODELLAMA_7B else beside).append(comparison)
        parts.append(all_hold(f"LoRA above {name} for the CodeLlama-7B variants", inside))
    if not any(part.comparisons for part in parts) and not beside:
        return []
    return [*parts, *_remark(beside)]


def retrieval_helps_on_conala_alone(evidence: Evidence) -> list[Part]:
    """Claim 9."""
    comparisons: dict[str, Comparison] = {}
    for dataset in dict.fromkeys(group.dataset for group in evidence.find("rag") if group.dataset):
        # The claim differs by data set: on CodeAlpacaPy it is that retrieval does not help.
        methods = ("icl", "rag") if dataset == "codealpacapy" else ("rag", "icl")
        comparison = _compare_best(evidence, dataset, *methods)
        if comparison is not None:
            comparisons[dataset] = comparison
    if not comparisons:
        return []
    parts: dict[str, Part] = {}
    for dataset in comparisons:
        if dataset == "conala":
            parts[dataset] = all_hold("RAG above ICL on Conala", [comparisons[dataset]])
        if dataset == "codealpacapy":
            parts[dataset] = all_hold("RAG not above ICL on CodeAlpacaPy", [comparisons[dataset]], NO_MORE)
    for dataset in ("conala", "codealpacapy"):
        parts.setdefault(dataset, missing(f"No RAG and ICL of the same models on {dataset_name(dataset)}."))
    return [*parts.values(), *_remark([comparisons[dataset] for dataset in comparisons if dataset not in parts])]


def _compare(
    evidence: Evidence, base: Group, first: Group | Best | None, second: Group | Best | None
) -> Comparison | None:
    """Compare two configurations on the model and data set of `base`; None if either is missing."""
    if first is None or second is None:
        return None
    label = f"{model_name(base.model)} on {dataset_name(base.dataset or '')}, EM@10"
    return evidence.compare(label, [first], [second], SCORE)


def _best_beside(evidence: Evidence, method: str, group: Group) -> Best | None:
    """Return the best of a method on the model and data set of a configuration."""
    if group.dataset is None:
        return None
    return evidence.best(evidence.find(method, dataset=group.dataset, model=group.model), SCORE)


def _compare_best(evidence: Evidence, dataset: str, method: str, other: str) -> Comparison | None:
    """Compare the best of two methods by model, averaged over the models that have both."""
    pairs = []
    for model in dict.fromkeys(group.model for group in evidence.find(method, dataset=dataset)):
        first = evidence.best(evidence.find(method, dataset=dataset, model=model), SCORE)
        second = evidence.best(evidence.find(other, dataset=dataset, model=model), SCORE)
        if first is not None and second is not None:
            pairs.append((first, second))
    # Both sides are chosen on the test split, so the test repeats both choices.
    return evidence.compare_over_models(dataset, pairs, SCORE)


def _remark(comparisons: Sequence[Comparison]) -> list[Part]:
    """Return a remark on models and data sets outside the claim, which decides nothing."""
    texts = "; ".join(comparison.text for comparison in comparisons)
    return [Part((), f"Outside of the claim: {texts}.")] if texts else []


def _peak(evidence: Evidence, dataset: str) -> list[Part]:
    curve = _curve(evidence, dataset)
    name = dataset_name(dataset)
    peak = PEAKS.get(dataset)
    if not curve:
        return [missing(f"{name}: no model has EM@10 for every number of examples.")]
    if len(curve) < _FEWEST_POINTS or (peak is not None and max(curve) <= peak[1]):
        return [missing(f"{name}: too few numbers of examples ({', '.join(f'{n:.0f}' for n in curve)}).")]
    scores = {
        number: fmean(score.mean for group in groups if (score := group.score(SCORE)))
        for number, groups in curve.items()
    }
    last = max(scores)
    earlier = [number for number in scores if number != last]
    # More examples always help only if the last number of examples is significantly the best.
    before = max(earlier, key=lambda number: scores[number])
    comparison = evidence.compare(f"{name}, EM@10", [_best_of(curve, before, earlier)], curve[last], SCORE)
    part = all_hold(f"{name}: {before:.0f} examples above {last:.0f}", [comparison])
    return [part, _location(evidence, name, curve, peak, scores)] if peak else [part]


def _location(
    evidence: Evidence,
    name: str,
    curve: dict[float, list[Group]],
    peak: tuple[float, float],
    scores: dict[float, float],
) -> Part:
    inside = [number for number in scores if peak[0] <= number <= peak[1]]
    outside = [number for number in scores if number not in inside]
    if not inside or not outside:
        return missing(f"{name}: no numbers of examples both where the paper has the peak and elsewhere.")
    claimed = max(inside, key=lambda number: scores[number])
    other = max(outside, key=lambda number: scores[number])
    comparison = evidence.compare(
        f"{name}, EM@10", [_best_of(curve, claimed, inside)], [_best_of(curve, other, outside)], SCORE
    )
    return all_hold(f"{name}: the peak at {claimed:.0f} examples, above {other:.0f}", [comparison])


def _best_of(curve: Mapping[float, Sequence[Group]], chosen: float, numbers: Sequence[float]) -> Best:
    """Return the choice of a number of examples from several."""
    return Best(tuple(curve[chosen]), tuple(tuple(curve[number]) for number in numbers))


def _curve(evidence: Evidence, dataset: str) -> dict[float, list[Group]]:
    """Return configurations by number of examples, of the models that have all numbers that any model has."""
    scored = [group for group in evidence.find("icl", dataset=dataset) if group.num_examples and group.score(SCORE)]
    numbers = sorted({group.num_examples for group in scored if group.num_examples})
    by_model: dict[str, dict[float | None, Group]] = {}
    for group in scored:
        by_model.setdefault(group.model, {})[group.num_examples] = group
    # A model without some numbers would move the mean where it takes part, and so the peak.
    complete = sorted(model for model, by_number in by_model.items() if len(by_number) == len(numbers))
    return {number: [by_model[model][number] for model in complete] for number in numbers} if complete else {}
