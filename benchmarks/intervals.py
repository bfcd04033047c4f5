"""Time the bootstrap of 10,000 resamples on the larger one-line test split, 543 samples, on a single core.

    OMP_NUM_THREADS=1 python -m benchmarks.intervals

Writes benchmarks/results/intervals.json.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks import record
from peft_study.metrics.choices import Choice
from peft_study.metrics.codebleu import STRICT, corpus_score, score_codebleu
from peft_study.metrics.differences import compare_methods
from peft_study.metrics.intervals import RESAMPLES, mean_intervals, pooled_interval
from peft_study.metrics.resampling import PooledScore, as_counts, mean_of_counts
from peft_study.metrics.scores import Floats
from peft_study.report.read.per_sample import Run, method_score

SAMPLES = 543
ROUNDS = 5


def median_seconds(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return round(statistics.median(seconds), 3)


def difference(first: Floats, second: Floats, score: PooledScore) -> None:
    """Compare two runs on the same samples, as the report does."""
    names = tuple(f"{place:04}" for place in range(SAMPLES))
    sides = [
        method_score([Run(names, None, counts, score)], drawn=True, resamples=RESAMPLES) for counts in (first, second)
    ]
    scores = [side for side in sides if side is not None]
    compare_methods([Choice((scores[0],))], [Choice((scores[1],))])


def main() -> None:
    generator = np.random.default_rng(0)
    first, second = ((generator.random(SAMPLES) < share).astype(float).tolist() for share in (0.35, 0.30))
    references = [f"x{index} = f(y, {index}).g(z[{index % 7}])" for index in range(SAMPLES)]
    runs = [
        score_codebleu([text if right else text[: index % 30] for index, (text, right) in pairs], references).counts
        for pairs in (list(enumerate(zip(references, flags, strict=True))) for flags in (first, second))
    ]
    strict = [run["strict"] for run in runs]
    figures = {
        "mean_interval": median_seconds(lambda: mean_intervals([{"em@1": hit} for hit in first])),
        "mean_difference": median_seconds(lambda: difference(as_counts(first), as_counts(second), mean_of_counts)),
        "codebleu_interval": median_seconds(
            lambda: pooled_interval(strict[0], lambda sums: corpus_score(sums, STRICT))
        ),
        "codebleu_difference": median_seconds(
            lambda: difference(strict[0], strict[1], lambda sums: corpus_score(sums, STRICT))
        ),
    }
    record.write("intervals", {"samples": SAMPLES, "resamples": RESAMPLES, "median_seconds": figures}, ("numpy",))


if __name__ == "__main__":
    main()
