"""The parts of the paper's claims about fine-tuning."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean

from peft_study.metrics.shares import WIDTH
from peft_study.report.claims.comparison import Best, Comparison, Scope, Test
from peft_study.report.claims.evidence import Evidence
from peft_study.report.claims.verdicts import FEWEST_SAMPLES, UNDECIDED, Odds, Part, all_hold, certain, missing
from peft_study.report.groups import Group
from peft_study.report.names import LEVELS, dataset_name, method_name, model_name
from peft_study.report.tables.scores import signed_text

SCORE = "em@10"
HALF = 0.55
"""At most this share of LoRA's memory counts as half of it."""
SMALLEST_MARGIN = 0.01
LARGEST_MARGIN = 0.05
"""Bounds of the margin of EM@10 within which two methods count as equal; the samples decide between them."""
LIMIT_BYTES = 24e9
LARGEST = "34b"
LITTLE = 0.5
# The number of standard errors beyond the limit of a test for a power of 80 %.
_EIGHTY_PERCENT = NormalDist().inv_cdf(0.8)
# The memory of a card sold with 24 GB differs by a few hundred megabytes.
_ALL_BUT_ALL = 0.97


def lora_beats_full(evidence: Evidence) -> list[Part]:
    """Claim 3."""
    comparisons = []
    for dataset in _datasets(evidence, "full"):
        # The paper's table 3 has full fine-tuning of the small models only.
        small = [group for group in evidence.find("full", dataset=dataset) if _size_class(group) == "slm"]
        comparisons.append(_average(evidence, dataset, "lora", small))
    return [all_hold("LoRA above full fine-tuning", comparisons)] if any(comparisons) else []


def lora_is_the_best_adapter(evidence: Evidence) -> list[Part]:
    """Claim 4."""
    # Any adapter counts, not only the paper's four: a method that was added in a YAML file may beat LoRA.
    adapters = (group.method for group in evidence.groups if group.frame["kind"].eq("adapter").any())
    comparisons = [
        _average(evidence, dataset, "lora", evidence.find(method, dataset=dataset))
        for method in dict.fromkeys(adapters)
        if method != "lora"
        for dataset in _datasets(evidence, method)
    ]
    return [all_hold("LoRA above another adapter", comparisons)] if any(comparisons) else []


def large_beats_small(evidence: Evidence) -> list[Part]:
    """Claim 5."""
    large, small, options = _best_of_both(evidence)
    comparisons = []
    for dataset in large:
        # The choice is over all data sets, so each data set's options are those of the whole choice.
        sides = [
            Best((chosen[dataset],), tuple((option[dataset],) for option in of_class))
            for chosen, of_class in zip((large, small), options, strict=True)
        ]
        for metric in ("em@1", SCORE):
            names = f"{model_name(large[dataset].model)} and {model_name(small[dataset].model)}"
            label = f"{names} on {dataset_name(dataset)}, {metric.upper()}"
            comparisons.append(evidence.compare(label, [sides[0]], [sides[1]], metric))
    made = sorted(
        (comparison for comparison in comparisons if comparison is not None), key=lambda comparison: comparison.label
    )
    if not made:
        return []
    part = all_hold("Large above small", made)
    ratios = "; ".join(_ratio_text(comparison) for comparison in made)
    return [Part(part.odds, f"{part.why} Ratios, where the paper has 1.398 to 1.723: {ratios}.", part.numbers)]


def _ratio_text(comparison: Comparison) -> str:
    if comparison.ratio is None:
        return f"{comparison.label} not defined"
    ratio, low, high = comparison.ratio
    ends = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{comparison.label} {ratio:.3f}{ends}"


def four_bit_halves_memory(evidence: Evidence) -> list[Part]:
    """Claim 6."""
    memory: list[Comparison] = []
    pairs: dict[str, list[tuple[Group, Group]]] = {}
    for small in evidence.find("lora", "nf4"):
        for plain in evidence.find("lora", "none", model=small.model):
            if plain.dataset != small.dataset:
                continue
            label = " on ".join([model_name(small.model), *([dataset_name(small.dataset)] if small.dataset else [])])
            # The peak of a process on a CPU says almost nothing about the method.
            if (peak := _gpu_peak(small)) and (plain_peak := _gpu_peak(plain)):
                cells = (*small.cells, *plain.cells)
                names = small.title, plain.title
                memory.append(_number(f"{label}, peak of training", *names, (peak, plain_peak), cells))
            if small.dataset and small.score(SCORE) and plain.score(SCORE):
                pairs.setdefault(small.dataset, []).append((small, plain))
    if not memory and not pairs:
        return []
    return [_halved(memory), *_not_worse(evidence, pairs)]


def _halved(memory: Sequence[Comparison]) -> Part:
    if not memory:
        return missing("No GPU memory of both: what a process takes on a CPU says nothing of it.")
    halved = [comparison.first <= HALF * comparison.second for comparison in memory]
    ratios = "; ".join(comparison.text for comparison in memory)
    why = f"Memory: {sum(halved)} of {len(memory)} halved ({ratios})."
    return Part(tuple(certain(holds) for holds in halved), why, tuple(memory))


def _not_worse(evidence: Evidence, pairs: Mapping[str, Sequence[tuple[Group, Group]]]) -> list[Part]:
    """Compare EM@10 averaged over models on each data set, within a margin that its samples can resolve."""
    parts = []
    for dataset, of_dataset in pairs.items():
        number = len(of_dataset)
        label = f"{dataset_name(dataset)}, EM@10 of {number} model{'s' * (number != 1)}"
        sides = [small for small, _ in of_dataset], [plain for _, plain in of_dataset]
        compared = evidence.compare(label, *sides, SCORE)
        if compared is not None:
            parts.append(_within_margin(compared))
    return parts or [missing("No EM@10 of both.")]


def _within_margin(compared: Comparison) -> Part:
    # The margin depends on the standard error only: one that depends on the difference would invalidate the test.
    if compared.tested is None:
        return all_hold("EM@10 not more than 1 point below", [compared], -SMALLEST_MARGIN)
    needed = (WIDTH + _EIGHTY_PERCENT) * compared.tested.standard_error
    margin = max(SMALLEST_MARGIN, math.ceil(1000 * needed) / 1000)
    power = NormalDist().cdf(margin / compared.tested.standard_error - WIDTH)
    what = f"EM@10 not more than {100 * margin:.1f} points below (told with probability {power:.2f} if equal)"
    if margin > LARGEST_MARGIN:
        return Part((UNDECIDED,), f"{what}: too few samples for a margin of {100 * LARGEST_MARGIN:g}.", (compared,))
    return all_hold(what, [compared], -margin)


def largest_fits(evidence: Evidence) -> list[Part]:
    """Claim 7."""
    groups = [group for group in evidence.find("lora", "nf4") if LARGEST in group.model]
    parts = [part for group in groups for part in _fits(group)]
    unmeasured = [model_name(group.model) for group in groups if len(group.done)]
    return parts or [missing(f"No GPU memory is known of {name}.") for name in dict.fromkeys(unmeasured)]


def _fits(group: Group) -> list[Part]:
    """Return a part for each way in which cells ended: a cell that did not fit counts beside others that did."""
    name = " on ".join([model_name(group.model), *([dataset_name(group.dataset)] if group.dataset else [])])
    parts = []
    peak = max(group.values("train_peak_bytes"), default=None)
    if peak is not None and group.on_gpu:
        values = (peak, LIMIT_BYTES)
        compared = _number(f"{name}, peak of training", group.title, "the limit", values, group.cells)
        parts.append(Part((certain(peak < LIMIT_BYTES),), f"{compared.text}.", (compared,)))
    for status, count in group.frame.loc[group.frame["status"] != "ok", "status"].value_counts().items():
        # Out of memory on a smaller card does not say that 24 GB are too few.
        whole_card = group.frame.loc[group.frame["status"] == status, "device_bytes"] >= _ALL_BUT_ALL * LIMIT_BYTES
        if status == "oom" and whole_card.any():
            parts.append(Part((certain(False),), f"{name}: out of memory on a GPU of 24 GB or more."))
        else:
            parts.append(missing(f"{name}: {count} of {len(group.frame)} {status}."))
    return parts


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
        made = (_level(evidence, *pair, LEVELS[0], name) for pair in pairs for name in ("tests_passed_share", "pass@5"))
        of_method = [comparison for comparison in made if comparison is not None]
        gains += of_method
        if not of_method:
            name = method_name("lora", quantization)
            little.append(missing(f"{name}: no introductory scores of it and of zero-shot."))
        # "Little" is measured by the introductory gain, so without that gain no other level is judged.
        for level in LEVELS[1:] if of_method else ():
            small_gains = [part for pair in pairs if (part := _gains_little(evidence, *pair, level)) is not None]
            absent = missing(f"{method_name('lora', quantization)}: no {level} Pass@5 of it and of zero-shot.")
            little += small_gains or [absent]
    return [all_hold("Introductory scores above zero-shot's", gains), *little] if gains else []


def _gains_little(evidence: Evidence, tuned: Group, base: Group, level: str) -> Part | None:
    """Return whether a level's gain is at most `LITTLE` of the introductory gain; levels share no samples."""
    introductory = _level(evidence, tuned, base, LEVELS[0], "pass@5")
    other = _level(evidence, tuned, base, level, "pass@5")
    if introductory is None or other is None:
        return None
    gain = f"{other.label}: {signed_text(100 * other.difference)} points ({other.first_name})"
    odds = _little_odds(introductory, other)
    unsure = ", not told from half of the introductory gain" if odds.verdict is None else ""
    return Part((odds,), f"{gain}{unsure}.", (other,))


def _little_odds(introductory: Comparison, other: Comparison) -> Odds:
    # A loss at the introductory level counts as a gain of 0.
    excess = other.difference - LITTLE * max(introductory.difference, 0.0)
    pair = (introductory, other)
    if all(comparison.scope is Scope.printed for comparison in pair):
        return certain(excess <= 0)
    few = any(comparison.samples is not None and comparison.samples < FEWEST_SAMPLES for comparison in pair)
    if (
        few
        or introductory.tested is None
        or other.tested is None
        or any(comparison.scope is not Scope.methods for comparison in pair)
    ):
        return UNDECIDED
    # Levels share no samples, so the variances of both gains add up.
    error = math.hypot(other.tested.standard_error, LITTLE * introductory.tested.standard_error)
    above = NormalDist().cdf(-excess / error)
    return Odds(1 - above, above)


def _level(evidence: Evidence, tuned: Group, base: Group, level: str, name: str) -> Comparison | None:
    """Compare by the rules of the study's package, else by APPS' comparator, else strictly."""
    words = {"tests_passed_share": "tests passed", "pass@5": "Pass@5"}
    label = f"{model_name(base.model)}, {level} {words[name]}"
    compared = (
        evidence.compare(label, [tuned], [base], f"{level}/{prefix}{name}") for prefix in ("apps_package_", "apps_", "")
    )
    return next((comparison for comparison in compared if comparison is not None), None)


def _average(evidence: Evidence, dataset: str, method: str, others: Sequence[Group]) -> Comparison | None:
    """Compare a method with others on one data set, averaged over the models that have both."""
    pairs = [
        (group, other)
        for other in others
        for group in evidence.find(method, dataset=dataset, model=other.model)
        if group.score(SCORE) and other.score(SCORE)
    ]
    label = f"{dataset_name(dataset)}, EM@10 of {len(pairs)} model{'s' * (len(pairs) != 1)}"
    return evidence.compare(label, [group for group, _ in pairs], [other for _, other in pairs], SCORE)


def _best_of_both(
    evidence: Evidence,
) -> tuple[dict[str, Group], dict[str, Group], tuple[list[dict[str, Group]], list[dict[str, Group]]]]:
    """Return the best large and the best small model, each by data set, and the options of both choices.

    The data sets are the largest set that a large and a small model have in common.
    """
    large, small = (_of_class(evidence, size) for size in ("llm", "slm"))
    # A mean over other data sets would rank the data, not the models.
    shared = {frozenset(option.keys() & other.keys()) for option in large for other in small}
    common = max(shared, key=lambda names: (len(names), sorted(names)), default=frozenset())
    if not common:
        return {}, {}, ([], [])
    options = tuple([option for option in of_class if common <= option.keys()] for of_class in (large, small))
    return _best(options[0], common), _best(options[1], common), (options[0], options[1])


def _best(options: Sequence[dict[str, Group]], common: frozenset[str]) -> dict[str, Group]:
    def mean_score(option: dict[str, Group]) -> float:
        scores = [option[name].score(metric) for name in common for metric in ("em@1", SCORE)]
        return fmean(score.mean for score in scores if score is not None)

    best = max(options, key=mean_score)
    return {name: best[name] for name in sorted(common)}


def _of_class(evidence: Evidence, size: str) -> list[dict[str, Group]]:
    """Return the fine-tuned models and methods of a size class that have both scores, by data set."""
    # The paper's claim is on PEFT for large models, and its small models may be tuned in full.
    kinds = ["adapter", "full"] if size == "slm" else ["adapter"]
    by_name: dict[tuple[str, str], dict[str, Group]] = {}
    for group in evidence.groups:
        plain = group.dataset is not None and group.quantization == "none" and _size_class(group) == size
        if plain and group.frame["kind"].isin(kinds).all() and group.score("em@1") and group.score(SCORE):
            by_name.setdefault((group.model, group.method), {})[str(group.dataset)] = group
    return list(by_name.values())


def _number(
    label: str, first_name: str, second_name: str, values: tuple[float, float], cells: tuple[str, ...]
) -> Comparison:
    """Compare two sizes in bytes without a test, as memory hardly varies between runs."""
    first, second = values
    none = (None, None, None)
    return Comparison(
        label, first_name, second_name, first, second, first - second, *none, Test.measured, cells, "bytes"
    )


def _gpu_peak(group: Group) -> float | None:
    return group.middle("train_peak_bytes") if group.on_gpu else None


def _datasets(evidence: Evidence, method: str) -> list[str]:
    return [name for name in dict.fromkeys(group.dataset for group in evidence.find(method)) if name]


def _size_class(group: Group) -> str | None:
    classes = group.frame["size_class"].dropna().tolist()
    return classes[0] if classes else None
