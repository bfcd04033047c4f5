"""What a reader must know of configurations that are shown side by side, as sentences."""

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from peft_study.report.groups import Group

_LEFT_OUT = (
    "Left out, as they differ from those shown in more than the seed (settings, data, precision, kind of memory):"
)

_REPEATED_SEEDS = "Several cells with the same seed, which count as if they had different ones:"


def caveats(configurations: Iterable[Group]) -> tuple[str, ...]:
    """Return what a reader must know of configurations that are shown side by side, one sentence each."""
    groups = list(configurations)
    left_out = [f"{group.name} ({_ends(group.left_out)})" for group in groups if group.left_out]
    repeated = [group.name for group in groups if group.done["seed"].dropna().duplicated().any()]
    return (
        *([f"{_LEFT_OUT} {', '.join(left_out)}."] if left_out else []),
        *([f"{_REPEATED_SEEDS} {', '.join(repeated)}."] if repeated else []),
        *_samples_caveats(groups),
    )


def caveats_between(pairs: Iterable[tuple[Group, Group]]) -> tuple[str, ...]:
    """Return which configurations of two studies differ in their number of test samples, in a sentence.

    Args:
        pairs: each configuration and the other study's.
    """
    names = [
        f"{group.name} on {group.test_samples:,.0f} against {other.test_samples:,.0f}"
        for group, other in pairs
        if group.test_samples is not None
        and other.test_samples is not None
        and group.test_samples != other.test_samples
    ]
    return (f"Not of the same number of test samples: {', '.join(dict.fromkeys(names))}.",) if names else ()


def _samples_caveats(groups: Sequence[Group]) -> Iterable[str]:
    for dataset in dict.fromkeys(group.dataset for group in groups if group.dataset):
        members = [group for group in groups if group.dataset == dataset and group.test_samples is not None]
        sizes = Counter(group.test_samples for group in members)
        if len(sizes) > 1:
            usual = max(sizes, key=lambda size: (sizes[size], size or 0.0))
            names = [f"{group.name} on {group.test_samples:,.0f}" for group in members if group.test_samples != usual]
            yield f"Scores on {dataset} are of {usual:,.0f} test samples, but: {', '.join(names)}."
        # The same number of samples may still be other data, which only the fingerprint shows.
        for size in sizes:
            of_size = [group for group in members if group.test_samples == size and group.fingerprint]
            prints = Counter(group.fingerprint for group in of_size)
            if len(prints) > 1:
                ((usual_print, _),) = prints.most_common(1)
                names = [group.name for group in of_size if group.fingerprint != usual_print]
                yield f"Of the same size, but other data of {dataset} than the rest: {', '.join(names)}."


def _ends(sets: Iterable[pd.DataFrame]) -> str:
    """Return how cells ended, such as "2 ok, 1 oom"."""
    ends = Counter(status for cells in sets for status in cells["status"])
    return ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
