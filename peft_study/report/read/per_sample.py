"""The score of a run by sample, so that runs on the same samples can be compared in pairs."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeGuard

import numpy as np
import pandas as pd

from peft_study.metrics.codebleu import CONVENTIONS, STRICT, Convention, corpus_score
from peft_study.metrics.codebleu.pooling import COLUMNS
from peft_study.metrics.exact_match import package_matches
from peft_study.metrics.method_scores import MethodScore, run_variance
from peft_study.metrics.resampling import PooledScore, as_counts, by_cluster, mean_of_counts, resampled
from peft_study.metrics.scores import Floats
from peft_study.results.predictions import Prediction
from peft_study.results.store import PREDICTIONS, CellFolder

PredictionsOf = Callable[[str], list[Prediction]]
"""Reads a cell's predictions by its id."""
# The predictions of a cell take some megabytes.
_CACHED_CELLS = 16
_LARGEST_DEVIATION = 1e-6
"""Predictions belong to a score if it can be recomputed from them within this difference."""
# Sums over samples must stay below the largest float, 1.8e308.
_LARGEST = 1e300
_POOLED: Mapping[str, Convention] = {f"codebleu_{convention.name}": convention for convention in CONVENTIONS} | {
    "codebleu": STRICT
}


@dataclass(frozen=True, eq=False)
class Run:
    """The score of a run by sample.

    Attributes:
        names: of the samples, distinct and sorted.
        clusters: the cluster of each sample; None if each sample is its own cluster.
        counts: (samples, columns); the score is computed from their sums.
        score: computes the score from the sums.
    """

    names: tuple[str, ...]
    clusters: tuple[str, ...] | None
    counts: Floats
    score: PooledScore

    @property
    def scored(self) -> int:
        """The number of samples that the score counts, without those of another level or without a reference."""
        return int(self.counts.any(axis=1).sum())

    @property
    def key(self) -> str:
        """Equal for runs on the same samples."""
        return _digest("\0".join((*self.names, "clusters", *(self.clusters or ()))))

    @property
    def hits(self) -> Floats | None:
        """Whether each sample is a hit, 0 or 1; None if the score is not the share of hits among all samples."""
        # Tango's interval is of hits and misses. A share of tests passed has values between.
        if self.score is not mean_of_counts or not self.counts[:, 1].all():
            return None
        values = self.counts[:, 0]
        return values if np.isin(values, (0.0, 1.0)).all() else None


def predictions_of(frame: pd.DataFrame) -> PredictionsOf:
    """Return a function that reads a cell's predictions by its id.

    It returns an empty list if the predictions are not on this machine or cannot be read.

    Args:
        frame: rows of `rows.load`.
    """
    rows = frame[frame["folder"].notna()]
    folders = dict(zip(rows["cell_id"], rows["folder"], strict=True))

    @lru_cache(maxsize=_CACHED_CELLS)
    def read(cell_id: str) -> list[Prediction]:
        folder = folders.get(cell_id)
        if folder is None or not (Path(folder) / PREDICTIONS).is_file():
            return []
        try:
            return CellFolder(Path(folder)).read_predictions()
        # The intervals of the record remain, so damaged predictions weaken a test but do not stop the report.
        except (OSError, ValueError):
            return []

    return read


def of_cell(predictions: Sequence[Prediction], metric: str, score: float | None, samples: float | None) -> Run | None:
    """Return a cell's score by sample; None if predictions are missing, or the score cannot be recomputed from them.

    Args:
        predictions: of the cell.
        metric: the score's name.
        score: as recorded.
        samples: number of test samples; None if the record has none.
    """
    # docs/demo_results keeps the first 25 of 1,000 predictions. A test on them would be of another score.
    if samples is not None and not math.isnan(samples) and len(predictions) != samples:
        return None
    # Two data sets may use the same ids, so that a sample's name includes its reference.
    by_name = {f"{line.id} {_digest(line.reference)}": line for line in predictions}
    if score is None or not by_name or len(by_name) != len(predictions):
        return None
    names = tuple(sorted(by_name))
    # CoNaLa phrases some questions several times, and these samples are not independent.
    clusters = tuple(cluster if isinstance(cluster := by_name[name].cluster, str) else name for name in names)
    table = _table([by_name[name] for name in names], metric)
    if table is None:
        return None
    # Damaged or edited predictions do not give the recorded score, and would move the test unnoticed.
    run = Run(names, clusters if len(set(clusters)) < len(clusters) else None, *table)
    return run if abs(float(run.score(run.counts.sum(axis=0))) - score) <= _LARGEST_DEVIATION else None


def _table(predictions: Sequence[Prediction], metric: str) -> tuple[Floats, PooledScore] | None:
    """Return counts, (samples, columns), and what computes the score from their sums."""
    # CodeBLEU of a corpus is not the mean of its samples' scores, so its counts are resampled instead.
    convention = _POOLED.get(metric)
    if convention is None:
        return as_counts([sample_score(line, metric) for line in predictions]), mean_of_counts
    counts = [_counts(line, f"codebleu_{convention.name}") for line in predictions]
    if not any(counts) or any(len(row) not in {0, len(COLUMNS)} for row in counts):
        return None
    # A sample without a reference does not count.
    rows = np.array([row or [0.0] * len(COLUMNS) for row in counts])
    return rows, lambda sums: corpus_score(sums, convention)


def method_score(runs: Sequence[Run | None], *, drawn: bool, resamples: int) -> MethodScore | None:
    """Return the mean score of a configuration's runs; None if a run is missing, or runs are on different samples.

    Args:
        runs: one for each seed.
        drawn: whether a run depends on its seed.
        resamples: number of bootstrap resamples.
    """
    scored = [run for run in runs if run is not None]
    if not scored or len(scored) < len(runs) or len({run.key for run in scored}) > 1:
        return None
    first = scored[0]
    tables = [by_cluster(run.counts, first.clusters) for run in scored]
    scores = [float(run.score(run.counts.sum(axis=0))) for run in scored]
    # Each resample draws the same samples for all runs and configurations.
    by_run = np.column_stack([resampled(table, first.score, resamples) for table in tables])
    estimate = float(np.mean(scores))
    deviations = by_run.mean(axis=1) - estimate
    variance = run_variance(scores, by_run) if drawn else 0.0
    return MethodScore(
        estimate=estimate,
        sample_variance=float(np.nanvar(deviations)) if len(deviations) else None,
        samples=float(len(tables[0])),
        key=first.key,
        deviations=np.nan_to_num(deviations) if len(deviations) else None,
        hits=first.hits if len(scored) == 1 else None,
        clusters=first.clusters,
        run_variance=variance,
        run_spread=float(np.var(scores, ddof=1)) if variance else 0.0,
        run_freedom=len(scored) - 1 if drawn and len(scored) > 1 else math.inf,
        runs=len(scored),
    )


def sample_score(prediction: Prediction, metric: str) -> float | None:
    """Return a sample's term of a score that is a mean over samples; None if the sample does not count.

    Args:
        prediction: of the sample, as read from its file.
        metric: such as "em@10", "pass@1" or, for the samples of one level, "introductory/pass@1".
    """
    if metric.startswith("em@"):
        if not prediction.reference.strip() or not prediction.matched:
            return None
        return float(any(prediction.matched[: int(metric.removeprefix("em@"))]))
    # The package cut candidates before it compared them, so `matched` does not decide.
    if metric.startswith("em_package@"):
        if not prediction.reference.strip() or not prediction.candidates:
            return None
        first = prediction.candidates[: int(metric.removeprefix("em_package@"))]
        return float(any(package_matches(first, prediction.reference)))
    # A sample of another level takes no part in a level's score; it is not a miss.
    level, _, name = metric.rpartition("/")
    if (level and prediction.level != level) or not isinstance(prediction.scores, Mapping):
        return None
    value = prediction.scores.get(name)
    return value if _is_number(value) else None


def _counts(prediction: Prediction, name: str) -> list[float]:
    counts = prediction.counts.get(name) if isinstance(prediction.counts, Mapping) else None
    if not isinstance(counts, list) or not all(map(_is_number, counts)):
        return []
    return [float(count) for count in counts]


def _is_number(value: object) -> TypeGuard[int | float]:
    # An integer in JSON may exceed the range of floats.
    return isinstance(value, int | float) and abs(value) < _LARGEST


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
