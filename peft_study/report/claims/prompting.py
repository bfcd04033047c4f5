"""The parts of the paper's claims about examples in prompts."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from peft_study.report.claims.comparison import Best, Comparison
from peft_study.report.claims.evidence import Evidence
from peft_study.report.claims.verdicts import Part, all_hold, missing
from peft_study.report.groups import Group
from peft_study.report.names import dataset_name, model_name

SCORE = "em@10"
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
        _compare(evidence, zero, evidence.best(_same(evidence, "icl", zero), SCORE), zero)
        for zero in evidence.find("zero-shot")
    ]
    return [all_hold("ICL above zero-shot", comparisons)] if any(comparisons) else []


def more_examples_do_not_always_help(evidence: Evidence) -> list[Part]:
    """Claim 2."""
    datasets = dict.fromkeys(group.dataset for group in evidence.find("icl") if group.num_examples and group.dataset)
    elsewhere = [name for name in datasets if name and name not in PEAKS]
    beside = [group for name in elsewhere for part in _peak(evidence, name) for group in part.numbers]
    if not beside and not datasets.keys() & PEAKS.keys():
        return []
    parts: list[Part] = []
    for name in PEAKS:
        absent = missing(f"No in-context learning on {dataset_name(name)}.")
        parts += _peak(evidence, name) if name in datasets else [absent]
    return [*parts, *_beside(beside)]


def lora_beats_prompting(evidence: Evidence) -> list[Part]:
    """Claim 8."""
    parts: list[Part] = []
    beside: list[Comparison] = []
    for method, name in (("icl", "ICL"), ("rag", "RAG")):
        inside: list[Comparison | None] = []
        for lora in evidence.find("lora"):
            best = evidence.best(_same(evidence, method, lora), SCORE)
            compared = _compare(evidence, lora, lora, best)
            if compared and lora.model in CODELLAMA_7B:
                inside.append(compared)
            elif compared:
                beside.append(compared)
        parts.append(all_hold(f"LoRA above {name} for the CodeLlama-7B variants", inside))
    if not any(part.numbers for part in parts) and not beside:
        return []
    return [*parts, *_beside(beside)]


def retrieval_helps_on_conala_alone(evidence: Evidence) -> list[Part]:
    """Claim 9."""
    parts: list[Part] = []
    beside: list[Comparison] = []
    for dataset in dict.fromkeys(group.dataset for group in evidence.find("rag") if group.dataset):
        # The claim differs by data set: on CodeAlpacaPy it is that retrieval does not help.
        order = ("icl", "rag") if dataset == "codealpacapy" else ("rag", "icl")
        compared = _average(evidence, dataset, *order)
        if compared is None:
            continue
        if dataset == "conala":
            parts.append(all_hold("RAG above ICL on Conala", [compared]))
        elif dataset == "codealpacapy":
            parts.append(all_hold("RAG not above ICL on CodeAlpacaPy", [compared], NO_MORE))
        else:
            beside.append(compared)
    if not parts and not beside:
        return []
    for dataset in ("conala", "codealpacapy"):
        if not any(dataset_name(dataset) in group.label for part in parts for group in part.numbers):
            parts.append(missing(f"No RAG and ICL of the same models on {dataset_name(dataset)}."))
    return [*parts, *_beside(beside)]


def _compare(
    evidence: Evidence, base: Group, first: Group | Best | None, second: Group | Best | None
) -> Comparison | None:
    """Compare two configurations on the model and data set of `base`; None if either is missing."""
    if first is None or second is None:
        return None
    label = f"{model_name(base.model)} on {dataset_name(base.dataset or '')}, EM@10"
    return evidence.compare(label, [first], [second], SCORE)


def _same(evidence: Evidence, method: str, group: Group) -> list[Group]:
    return evidence.find(method, dataset=group.dataset, model=group.model) if group.dataset else []


def _average(evidence: Evidence, dataset: str, method: str, other: str) -> Comparison | None:
    """Compare the best of two methods by model, averaged over the models that have both."""
    pairs = []
    for model in dict.fromkeys(group.model for group in evidence.find(method, dataset=dataset)):
        best = [evidence.best(evidence.find(name, dataset=dataset, model=model), SCORE) for name in (method, other)]
        if best[0] is not None and best[1] is not None:
            pairs.append((best[0], best[1]))
    # Both sides are chosen on the test split, so the test repeats both choices.
    label = f"{dataset_name(dataset)}, EM@10 of {len(pairs)} model{'s' * (len(pairs) != 1)}"
    return evidence.compare(label, [first for first, _ in pairs], [second for _, second in pairs], SCORE)


def _beside(comparisons: Sequence[Comparison]) -> list[Part]:
    """Return a remark on models and data sets outside the claim, which decides nothing."""
    texts = "; ".join(comparison.text for comparison in comparisons)
    return [Part((), f"Outside of the claim: {texts}.")] if texts else []


def _peak(evidence: Evidence, dataset: str) -> list[Part]:
    curve = _curve(evidence, dataset)
    name = dataset_name(dataset)
    place = PEAKS.get(dataset)
    if not curve:
        return [missing(f"{name}: no model has EM@10 for every number of examples.")]
    if len(curve) < _FEWEST_POINTS or (place is not None and max(curve) <= place[1]):
        return [missing(f"{name}: too few numbers of examples ({', '.join(f'{n:.0f}' for n in curve)}).")]
    scores = {
        number: fmean(score.mean for group in groups if (score := group.score(SCORE)))
        for number, groups in curve.items()
    }
    last = max(scores)
    earlier = [number for number in scores if number != last]
    # More examples always help only if the last number of examples is significantly the best.
    before = max(earlier, key=lambda number: scores[number])
    compared = evidence.compare(f"{name}, EM@10", [_best_of(curve, before, earlier)], curve[last], SCORE)
    part = all_hold(f"{name}: {before:.0f} examples above {last:.0f}", [compared])
    return [part, _location(evidence, name, curve, place, scores)] if place else [part]


def _location(
    evidence: Evidence,
    name: str,
    curve: dict[float, list[Group]],
    place: tuple[float, float],
    scores: dict[float, float],
) -> Part:
    inside = [number for number in scores if place[0] <= number <= place[1]]
    outside = [number for number in scores if number not in inside]
    if not inside or not outside:
        return missing(f"{name}: no numbers of examples both where the paper has the peak and elsewhere.")
    claimed, other = (max(numbers, key=lambda number: scores[number]) for numbers in (inside, outside))
    sides = [_best_of(curve, claimed, inside)], [_best_of(curve, other, outside)]
    compared = evidence.compare(f"{name}, EM@10", *sides, SCORE)
    return all_hold(f"{name}: the peak at {claimed:.0f} examples, above {other:.0f}", [compared])


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
    whole = sorted(model for model, by_number in by_model.items() if len(by_number) == len(numbers))
    return {number: [by_model[model][number] for model in whole] for number in numbers} if whole else {}
