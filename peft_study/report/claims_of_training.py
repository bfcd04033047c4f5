"""What the paper claims of fine-tuning, taken apart into what must hold."""

from collections.abc import Sequence
from statistics import fmean

from peft_study.report.evidence import Comparison, Evidence, Test, configuration
from peft_study.report.groups import Group
from peft_study.report.names import LEVELS, dataset_name, model_name
from peft_study.report.verdicts import Part, every
from peft_study.results.schema import MemoryKind

SCORE = "em@10"
LARGE_TO_SMALL = 1.398
HALF = 0.55
"""At most this share of LoRA's memory counts as half of it."""
NOT_WORSE = -0.01
LIMIT_BYTES = 24e9
LARGEST = "34b"
LITTLE = 0.5


def lora_beats_full(evidence: Evidence) -> list[Part]:
    """Claim 3."""
    found = []
    for dataset in _datasets(evidence, "full"):
        small = [one for one in evidence.find("full", dataset=dataset) if _size_class(one) == "slm"]
        found.append(_average(evidence, dataset, "lora", small))
    known = [one for one in found if one is not None]
    return [every("LoRA above full fine-tuning", known)] if known else []


def lora_is_the_best_adapter(evidence: Evidence) -> list[Part]:
    """Claim 4."""
    found = [
        _average(evidence, dataset, "lora", evidence.find(method, dataset=dataset))
        for method in _other_adapters(evidence)
        for dataset in _datasets(evidence, method)
    ]
    known = [one for one in found if one is not None]
    return [every("LoRA above another adapter", known)] if known else []


def large_beats_small(evidence: Evidence) -> list[Part]:
    """Claim 5."""
    best = [_best_of_class(evidence, size) for size in ("llm", "slm")]
    if not best[0] or not best[1]:
        return []
    large, small = best[0], best[1]
    found = []
    for dataset in large.keys() & small.keys():
        for metric in ("em@1", "em@10"):
            one, other = large[dataset], small[dataset]
            label = (
                f"{model_name(one.model)} and {model_name(other.model)} on {dataset_name(dataset)}, {metric.upper()}"
            )
            found.append(evidence.compare(label, [one], [other], metric, LARGE_TO_SMALL))
    known = sorted((one for one in found if one is not None), key=lambda one: one.label)
    if not known:
        return []
    gains = [one.first / one.second - 1 for one in known if one.second]
    part = every("At least 39.8 % more", known)
    amount = f" The gains are {100 * min(gains):.1f} to {100 * max(gains):.1f} %." if gains else ""
    return [Part(part.holds, part.why + amount, part.numbers)]


def four_bit_halves_memory(evidence: Evidence) -> list[Part]:
    """Claim 6."""
    memory, scores = [], []
    for small in evidence.find("lora", "nf4"):
        for plain in evidence.find("lora", "none", model=small.model):
            if plain.dataset != small.dataset:
                continue
            label = " on ".join([model_name(small.model), *([dataset_name(small.dataset)] if small.dataset else [])])
            if _gpu_peak(small) and _gpu_peak(plain):
                memory.append(_memory(label, small, plain))
            scores.append(evidence.compare(f"{label}, EM@10", [small], [plain], SCORE))
    known = [one for one in scores if one is not None]
    if not memory and not known:
        return []
    held = [one for one in memory if one.first <= HALF * one.second]
    halved = Part(None, "No GPU memory of both: what a process takes on a CPU says nothing of it.")
    if memory:
        ratios = "; ".join(one.text for one in memory)
        halved = Part(
            len(held) == len(memory), f"Memory: {len(held)} of {len(memory)} halved ({ratios}).", tuple(memory)
        )
    return [halved, every("EM@10 equal or better", known, NOT_WORSE)]


def largest_fits(evidence: Evidence) -> list[Part]:
    """Claim 7."""
    parts = []
    for one in evidence.find("lora", "nf4"):
        if LARGEST not in one.model:
            continue
        name = " on ".join([model_name(one.model), *([dataset_name(one.dataset)] if one.dataset else [])])
        peak = max((value for value in one.values("train_peak_bytes")), default=None) if _on_gpu(one) else None
        if peak is not None:
            compared = _number(
                f"{name}, peak of training", configuration(one), "the limit", (peak, LIMIT_BYTES), one.cells
            )
            parts.append(Part(peak < LIMIT_BYTES, f"{compared.text}.", (compared,)))
        elif "oom" in (one.state() or ""):
            parts.append(Part(False, f"{name}: out of memory."))
    return parts


def apps_gains(evidence: Evidence) -> list[Part]:
    """Claim 10."""
    gains, little = [], []
    for base in evidence.find("zero-shot"):
        for quantization in ("none", "nf4"):
            for tuned in evidence.find("lora", quantization, base.dataset, base.model):
                prefix = (
                    "apps_"
                    if base.score("introductory/apps_pass@5") and tuned.score("introductory/apps_pass@5")
                    else ""
                )
                gains += [
                    _level(evidence, tuned, base, "introductory", f"{prefix}{name}")
                    for name in ("tests_passed_share", "pass@5")
                ]
                by_level = [_level(evidence, tuned, base, level, f"{prefix}pass@5") for level in LEVELS]
                if by_level[0] is not None:
                    little += [_gains_little(by_level[0], other) for other in by_level[1:] if other is not None]
    known = [one for one in gains if one is not None]
    if not known:
        return []
    missing = [] if little else [Part(None, "Nothing of the other levels.")]
    return [every("Introductory scores above zero-shot's", known), *little, *missing]


def _gains_little(introductory: Comparison, other: Comparison) -> Part:
    held = other.difference <= LITTLE * max(introductory.difference, 0.0)
    return Part(held, f"{other.label}: {100 * other.difference:+.2f} points ({other.first_name}).", (other,))


def _level(evidence: Evidence, tuned: Group, base: Group, level: str, name: str) -> Comparison | None:
    words = {"tests_passed_share": "tests passed", "pass@5": "Pass@5"}
    label = f"{model_name(base.model)}, {level} {words[name.removeprefix('apps_')]}"
    return evidence.compare(label, [tuned], [base], f"{level}/{name}")


def _average(evidence: Evidence, dataset: str, method: str, others: Sequence[Group]) -> Comparison | None:
    """A method against others on one data set, averaged over the models that have both."""
    pairs = [
        (one, other)
        for other in others
        for one in evidence.find(method, dataset=dataset, model=other.model)
        if one.score(SCORE) and other.score(SCORE)
    ]
    label = f"{dataset_name(dataset)}, EM@10 of {len(pairs)} model{'s' * (len(pairs) != 1)}"
    return evidence.compare(label, [one for one, _ in pairs], [other for _, other in pairs], SCORE)


def _best_of_class(evidence: Evidence, size: str) -> dict[str, Group]:
    """By data set, the fine-tuned model and method of a class with the best mean over scores and data sets."""
    found: dict[tuple[str, str], dict[str, Group]] = {}
    for one in evidence.groups:
        trained = one.frame["kind"].isin(["adapter", "full"] if size == "slm" else ["adapter"]).all()
        if (
            trained
            and one.quantization == "none"
            and one.dataset
            and _size_class(one) == size
            and one.score("em@1")
            and one.score(SCORE)
        ):
            found.setdefault((one.model, one.method), {})[one.dataset] = one
    widest = max((len(by_dataset) for by_dataset in found.values()), default=0)
    whole = [by_dataset for by_dataset in found.values() if len(by_dataset) == widest]
    return max(whole, key=_mean_score, default={})


def _mean_score(by_dataset: dict[str, Group]) -> float:
    scores = [one.score(metric) for one in by_dataset.values() for metric in ("em@1", SCORE)]
    return fmean(score.mean for score in scores if score is not None)


def _memory(label: str, small: Group, plain: Group) -> Comparison:
    peaks = (_gpu_peak(small) or 0.0, _gpu_peak(plain) or 0.0)
    names = configuration(small), configuration(plain)
    return _number(f"{label}, peak of training", *names, peaks, (*small.cells, *plain.cells))


def _number(
    label: str, first_name: str, second_name: str, values: tuple[float, float], cells: tuple[str, ...]
) -> Comparison:
    """Memory against memory, which no test is needed for: it hardly varies."""
    first, second = values
    none = (None, None, None)
    return Comparison(
        label, first_name, second_name, first, second, first - second, *none, Test.summary, cells, "bytes"
    )


def _gpu_peak(one: Group) -> float | None:
    return one.middle("train_peak_bytes") if _on_gpu(one) else None


def _on_gpu(one: Group) -> bool:
    kinds = set(one.done["memory_kind"].dropna())
    return bool(kinds) and str(MemoryKind.cpu_peak_rss) not in kinds


def _datasets(evidence: Evidence, method: str) -> list[str]:
    return [name for name in dict.fromkeys(one.dataset for one in evidence.find(method)) if name]


def _other_adapters(evidence: Evidence) -> list[str]:
    adapters = [one for one in evidence.groups if one.frame["kind"].eq("adapter").any()]
    return [name for name in dict.fromkeys(one.method for one in adapters) if name != "lora"]


def _size_class(one: Group) -> str | None:
    known = one.frame["size_class"].dropna().tolist()
    return known[0] if known else None
