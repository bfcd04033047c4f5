"""The parts of the paper's claims about the memory of fine-tuning."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

from peft_study.metrics.shares import WIDTH
from peft_study.report.claims.comparison import SCORE, Comparison, Test
from peft_study.report.claims.evidence import Evidence
from peft_study.report.claims.parts import UNDECIDED, Part, all_hold, certain, missing
from peft_study.report.groups import Group
from peft_study.report.names import dataset_name, model_name

HALF = 0.55
"""At most this share of LoRA's memory counts as half of it."""
SMALLEST_MARGIN = 0.01
LARGEST_MARGIN = 0.05
"""Bounds of the margin of EM@10 within which two methods count as equal; the samples decide between them."""
LIMIT_BYTES = 24e9
LARGEST = "34b"
# The memory of a card sold with 24 GB differs by a few hundred megabytes.
_SMALLEST_CARD_BYTES = 0.97 * LIMIT_BYTES
# The number of standard errors beyond the limit of a test for a power of 80 %.
_EIGHTY_PERCENT = NormalDist().inv_cdf(0.8)


def four_bit_halves_memory(evidence: Evidence) -> list[Part]:
    """Claim 6."""
    memory: list[Comparison] = []
    pairs: dict[str, list[tuple[Group, Group]]] = {}
    for four_bit in evidence.find("lora", "nf4"):
        for lora in evidence.find("lora", "none", model=four_bit.model):
            if lora.dataset != four_bit.dataset:
                continue
            # The peak of a process on a CPU says almost nothing about the method.
            if (peak := _gpu_peak(four_bit)) and (lora_peak := _gpu_peak(lora)):
                memory.append(
                    _compare_bytes(
                        f"{_name(four_bit)}, peak of training",
                        (four_bit.title, peak),
                        (lora.title, lora_peak),
                        (*four_bit.cells, *lora.cells),
                    )
                )
            if four_bit.dataset and four_bit.score(SCORE) and lora.score(SCORE):
                pairs.setdefault(four_bit.dataset, []).append((four_bit, lora))
    if not memory and not pairs:
        return []
    return [_halved(memory), *_not_worse(evidence, pairs)]


def _halved(memory: Sequence[Comparison]) -> Part:
    if not memory:
        return missing("No GPU memory of both: what a process takes on a CPU says nothing of it.")
    halved = [comparison.first <= HALF * comparison.second for comparison in memory]
    ratios = "; ".join(comparison.text for comparison in memory)
    reason = f"Memory: {sum(halved)} of {len(memory)} halved ({ratios})."
    return Part(tuple(certain(holds) for holds in halved), reason, tuple(memory))


def _not_worse(evidence: Evidence, pairs: Mapping[str, Sequence[tuple[Group, Group]]]) -> list[Part]:
    """Compare EM@10 averaged over models on each data set, within a margin that its samples can resolve."""
    comparisons = [evidence.compare_over_models(dataset, of_dataset, SCORE) for dataset, of_dataset in pairs.items()]
    parts = [_within_margin(comparison) for comparison in comparisons if comparison is not None]
    return parts or [missing("No EM@10 of both.")]


def _within_margin(comparison: Comparison) -> Part:
    # The margin depends on the standard error only: one that depends on the difference would invalidate the test.
    if comparison.tested is None:
        return all_hold("EM@10 not more than 1 point below", [comparison], -SMALLEST_MARGIN)
    error = comparison.tested.standard_error
    margin = max(SMALLEST_MARGIN, math.ceil(1000 * (WIDTH + _EIGHTY_PERCENT) * error) / 1000)
    power = NormalDist().cdf(margin / error - WIDTH)
    statement = f"EM@10 not more than {100 * margin:.1f} points below (told with probability {power:.2f} if equal)"
    if margin > LARGEST_MARGIN:
        reason = f"{statement}: too few samples for a margin of {100 * LARGEST_MARGIN:g}."
        return Part((UNDECIDED,), reason, (comparison,))
    return all_hold(statement, [comparison], -margin)


def largest_fits(evidence: Evidence) -> list[Part]:
    """Claim 7."""
    groups = [group for group in evidence.find("lora", "nf4") if LARGEST in group.model]
    parts = [part for group in groups for part in _fits(group)]
    unmeasured = [model_name(group.model) for group in groups if len(group.done)]
    return parts or [missing(f"No GPU memory is known of {name}.") for name in dict.fromkeys(unmeasured)]


def _fits(group: Group) -> list[Part]:
    """Return a part for each way in which cells ended: a cell that did not fit counts beside others that did."""
    name = _name(group)
    parts = []
    peak = max(group.values("train_peak_bytes"), default=None)
    if peak is not None and group.on_gpu:
        comparison = _compare_bytes(
            f"{name}, peak of training", (group.title, peak), ("the limit", LIMIT_BYTES), group.cells
        )
        parts.append(Part((certain(peak < LIMIT_BYTES),), f"{comparison.text}.", (comparison,)))
    for status, count in group.frame.loc[group.frame["status"] != "ok", "status"].value_counts().items():
        # Out of memory on a smaller card does not say that 24 GB are too few.
        large_card = group.frame.loc[group.frame["status"] == status, "device_bytes"] >= _SMALLEST_CARD_BYTES
        if status == "oom" and large_card.any():
            parts.append(Part((certain(False),), f"{name}: out of memory on a GPU of 24 GB or more."))
        else:
            parts.append(missing(f"{name}: {count} of {len(group.frame)} {status}."))
    return parts


def _compare_bytes(
    label: str, first: tuple[str, float], second: tuple[str, float], cells: tuple[str, ...]
) -> Comparison:
    """Compare two named sizes in bytes without a test, as memory hardly varies between runs."""
    return Comparison(
        label=label,
        first_name=first[0],
        second_name=second[0],
        first=first[1],
        second=second[1],
        difference=first[1] - second[1],
        test=Test.measured,
        cells=cells,
        unit="bytes",
    )


def _name(group: Group) -> str:
    model = model_name(group.model)
    return f"{model} on {dataset_name(group.dataset)}" if group.dataset else model


def _gpu_peak(group: Group) -> float | None:
    return group.middle("train_peak_bytes") if group.on_gpu else None
