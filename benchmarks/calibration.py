"""Error rates of the report's tests, in simulated studies whose true differences are set.

    OMP_NUM_THREADS=1 python -m benchmarks.calibration            (some minutes on one core)
    OMP_NUM_THREADS=1 python -m benchmarks.calibration --quick    (some seconds, prints alone)

Writes benchmarks/results/calibration.json. A sample is a hit if a latent number exceeds a threshold. The number is the
sum of the sample's ease (variance 0.64), the fit of method and sample (0.16), the quality of the run and chance (0.20).
The quality of the run varies the true share of hits between seeds; its variance is a setting.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from benchmarks import record
from peft_study.metrics.choices import Choice
from peft_study.metrics.differences import compare_methods, holm
from peft_study.metrics.resampling import mean_of_counts
from peft_study.metrics.shares import share_interval
from peft_study.report.claims.evidence import Evidence
from peft_study.report.claims.paper import CLAIMS
from peft_study.report.claims.scores import Scores
from peft_study.report.claims.verdicts import Verdict, judge
from peft_study.report.groups import Group, groups
from peft_study.report.read.per_sample import Run, method_score
from peft_study.report.read.rows import frame_of

Floats = NDArray[np.float64]
SHARE = 0.4
EASE, SUITS, CHANCE = 0.64, 0.16, 0.20
_NORMAL = NormalDist()
THRESHOLD = -_NORMAL.inv_cdf(SHARE)
DENSITY = _NORMAL.pdf(THRESHOLD)
AT_ONCE = 250
TESTS_IN_A_TABLE = 156


@dataclass(frozen=True)
class Setting:
    """A simulated comparison of two methods.

    Attributes:
        spread: standard deviation of a run's true share of hits, in points.
        seeds: number of seeds of each method.
        samples: number of samples in the test split.
        gain: true gain of the first method over the second, in points.
    """

    spread: float
    seeds: int
    samples: int
    gain: float = 0.0


def hits(generator: np.random.Generator, studies: int, setting: Setting, ease: Floats, gain: float) -> Floats:
    """Which samples the runs of one method hit: (studies, samples, seeds), 0 or 1."""
    shape = (studies, setting.samples, setting.seeds)
    suits = generator.normal(0, math.sqrt(SUITS), (studies, setting.samples, 1))
    runs = generator.normal(0, setting.spread / 100 / DENSITY, (studies, 1, setting.seeds))
    chance = generator.normal(0, math.sqrt(CHANCE), shape)
    # The variance of the runs adds to a total of 1, which would shift the share of hits.
    total = math.sqrt(1 + (setting.spread / 100 / DENSITY) ** 2)
    threshold = -_NORMAL.inv_cdf(SHARE + gain / 100) * total
    return np.asarray((ease[:, :, None] + suits + runs + chance > threshold).astype(float))


def pairs(generator: np.random.Generator, studies: int, setting: Setting) -> tuple[Floats, Floats]:
    """Two methods on the same samples."""
    ease = generator.normal(0, math.sqrt(EASE), (studies, setting.samples))
    return hits(generator, studies, setting, ease, setting.gain), hits(generator, studies, setting, ease, 0.0)


@dataclass(frozen=True)
class Tests:
    """Many comparisons by the formulas of `compare_methods`; all arrays have the shape (studies,)."""

    difference: Floats
    error: Floats
    freedom: Floats

    @property
    def p_values(self) -> Floats:
        """Two-sided p-values of the hypothesis of no difference."""
        return np.asarray(2 * stdtr(self.freedom, -np.abs(self.difference / self.error)))

    def covers(self, truth: float) -> Floats:
        """Whether the 95 % interval contains the true difference."""
        half = stdtrit(self.freedom, 0.975) * self.error
        return np.asarray(np.abs(self.difference - truth) <= half)


def compare_all(first: Floats, second: Floats) -> Tests:
    """The formulas of `differences.py` for means of hits, over the first axis. `check` compares the two."""
    samples, seeds = first.shape[1:]
    apart = first.mean(axis=2) - second.mean(axis=2)
    of_samples = apart.var(axis=1) / samples + 1 / (samples + 2) ** 2
    of_runs, doubt = np.zeros(len(apart)), of_samples**2 / (samples - 1)
    for side in (first, second):
        spread = side.mean(axis=1).var(axis=1, ddof=1)
        deviations = side - side.mean(axis=2, keepdims=True)
        by_chance = deviations.var(axis=1).sum(axis=1) / samples / (seeds - 1)
        of_runs += (spread - by_chance) / seeds
        doubt += (spread / seeds) ** 2 / (seeds - 1)
    variance = of_samples + np.maximum(0.0, of_runs)
    return Tests(apart.mean(axis=1), np.sqrt(variance), variance**2 / doubt)


def as_score(side: Floats, resamples: int) -> Any:
    """The report's score of one configuration from its runs' hits, (samples, seeds)."""
    names = tuple(f"{place:05}" for place in range(len(side)))
    runs = [Run(names, None, np.column_stack([run, np.ones(len(run))]), mean_of_counts) for run in side.T]
    return method_score(runs, drawn=True, resamples=resamples)


def check(generator: np.random.Generator, setting: Setting, number: int = 5, resamples: int = 4_000) -> float:
    """The largest relative deviation of these standard errors from those of the report."""
    first, second = pairs(generator, number, setting)
    tests = compare_all(first, second)
    worst = 0.0
    for place in range(number):
        sides = [[Choice((as_score(side[place], resamples),))] for side in (first, second)]
        comparison = compare_methods(sides[0], sides[1])
        assert comparison is not None
        assert math.isclose(comparison.estimate, tests.difference[place], abs_tol=1e-9)
        worst = max(worst, abs(comparison.standard_error / tests.error[place] - 1))
    return worst


def simulate(generator: np.random.Generator, studies: int, setting: Setting) -> Tests:
    """Compare two methods in many studies."""
    sizes = [min(AT_ONCE, studies - start) for start in range(0, studies, AT_ONCE)]
    parts = [compare_all(*pairs(generator, size, setting)) for size in sizes]
    return Tests(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("difference", "error", "freedom"))
    )


def single_seed(generator: np.random.Generator, setting: Setting, studies: int) -> dict[str, Any]:
    """A single seed for each method: does the report decide about methods, and how often do the runs differ?"""
    of_methods, marked = 0, 0
    for first, second in zip(*pairs(generator, studies, setting), strict=True):
        comparison = compare_methods([Choice((as_score(first, 200),))], [Choice((as_score(second, 200),))])
        assert comparison is not None
        of_methods += comparison.of_methods
        marked += comparison.p_value < 0.05
    return {"studies": studies, "decided_of_methods": of_methods, "marked_of_these_runs": round(marked / studies, 4)}


def differences(generator: np.random.Generator, studies: int) -> list[dict[str, Any]]:
    """False positives, coverage, and the power at 3 points beside the power with the true standard error."""
    rows = []
    for spread, seeds, samples in product((0.0, 1.0, 2.0), (1, 3, 5), (200, 543)):
        row: dict[str, Any] = {"spread_points": spread, "seeds": seeds, "samples": samples}
        if seeds == 1:
            rows.append(row | single_seed(generator, Setting(spread, seeds, samples), max(20, studies // 20)))
            continue
        null = simulate(generator, studies, Setting(spread, seeds, samples))
        gain = simulate(generator, studies, Setting(spread, seeds, samples, gain=3.0))
        rejected = np.abs(gain.difference) > 1.959964 * null.difference.std()
        rows.append(
            row
            | {
                "studies": studies,
                "false_positives": round(float((null.p_values < 0.05).mean()), 4),
                "coverage_of_0": round(float(null.covers(0.0).mean()), 4),
                "coverage_of_3_points": round(float(gain.covers(0.03).mean()), 4),
                "power_at_3_points": round(float((gain.p_values < 0.05).mean()), 4),
                "oracle_power": round(float(rejected.mean()), 4),
            }
        )
    return rows


def tables(generator: np.random.Generator, studies: int, seeds: int = 3, samples: int = 200) -> list[dict[str, Any]]:
    """Tables of methods without a difference, on the same samples: how many hold a significant comparison."""
    rows = []
    for spread in (0.0, 1.0, 2.0):
        setting = Setting(spread, seeds, samples)
        stars = 0
        for _ in range(studies):
            ease = np.repeat(generator.normal(0, math.sqrt(EASE), (1, samples)), TESTS_IN_A_TABLE, axis=0)
            sides = [hits(generator, TESTS_IN_A_TABLE, setting, ease, 0.0) for _ in range(2)]
            stars += min(holm(compare_all(sides[0], sides[1]).p_values.tolist())) < 0.05
        rows.append(
            {"spread_points": spread, "seeds": seeds, "samples": samples, "tests": TESTS_IN_A_TABLE, "tables": studies}
            | {"with_a_star": round(stars / studies, 4)}
        )
    return rows


MODELS = {"codet5p-220m": "slm", "codegen-350m-mono": "slm", "codegen2-7b": "llm", "codellama-7b": "llm"}
PROMPTING = (("zero-shot", 0), ("icl", 1), ("icl", 4), ("icl", 8), ("icl", 16), ("rag", 4), ("rag", 8))
TRAINED = ("lora", "ia3", "prompt", "prefix")


class SimulatedScores(Scores):
    """Scores from hits in memory.

    Args:
        configurations: the configurations.
        of_cell: hits of each cell, (samples,).
    """

    def __init__(self, configurations: Sequence[Group], of_cell: Mapping[str, Floats]) -> None:
        super().__init__(configurations)
        self._of_cell = of_cell

    def _runs(self, scored: pd.DataFrame, metric: str) -> list[Run | None]:
        runs: list[Run | None] = []
        for cell in scored["cell_id"]:
            values = self._of_cell[str(cell)]
            names = tuple(f"{place:05}" for place in range(len(values)))
            runs.append(Run(names, None, np.column_stack([values, np.ones(len(values))]), mean_of_counts))
        return runs


def null_study(
    generator: np.random.Generator, spread: float, seeds: int, samples: int, single: Sequence[str] = ()
) -> Evidence:
    """A study in which all configurations have the same true score; `single` methods have one seed."""
    rows: list[dict[str, Any]] = []
    of_cell: dict[str, Floats] = {}
    for dataset in ("conala", "codealpacapy"):
        ease = generator.normal(0, math.sqrt(EASE), (1, samples))
        for (model, size), (method, number, bits) in product(MODELS.items(), _methods()):
            if method == "full" and size == "llm":
                continue
            drawn = method not in {"zero-shot", "rag"}
            setting = Setting(spread if drawn else 0.0, seeds if drawn and method not in single else 1, samples)
            values = hits(generator, 1, setting, ease, 0.0)[0]
            for seed, run in enumerate(values.T):
                name = f"{model}/{method}/{bits}/{number}/{dataset}/{seed}"
                of_cell[name] = run
                kind = "full" if method == "full" else "adapter" if method in TRAINED else "prompting"
                score = float(run.mean())
                low, high = share_interval(score, samples)
                rows.append(
                    {"cell_id": name, "status": "ok", "model": model, "method": method, "quantization": bits}
                    | {"dataset": dataset, "num_examples": float(number), "seed": float(seed), "size_class": size}
                    | {"kind": kind, "sampled": False, "test_samples": float(samples), "source": "simulated"}
                    | {
                        f"{metric}{end}": value
                        for metric in ("em@1", "em@10")
                        for end, value in (("", score), ("_low", low), ("_high", high))
                    }
                )
    configurations = groups(frame_of(rows))
    return Evidence(configurations, SimulatedScores(configurations, of_cell))


def _methods() -> list[tuple[str, int, str]]:
    prompting = [(method, number, "none") for method, number in PROMPTING]
    return [*prompting, *((method, 0, "none") for method in (*TRAINED, "full")), ("lora", 0, "nf4")]


def claims(generator: np.random.Generator, studies: int, seeds: int = 3, samples: int = 200) -> list[dict[str, Any]]:
    """Null studies: how often a claim is decided. In them the score part of claim 6 is true, and its memory unknown."""
    rows = []
    for spread in (0.0, 1.0, 2.0):
        decided = {Verdict.confirmed: 0, Verdict.refuted: 0}
        any_decided = 0
        for _ in range(studies):
            verdicts = [claim.verdict for claim in judge(CLAIMS, null_study(generator, spread, seeds, samples))]
            for verdict in decided:
                decided[verdict] += verdict in verdicts
            any_decided += any(verdict is not Verdict.not_decided for verdict in verdicts)
        rows.append(
            {"spread_points": spread, "seeds": seeds, "samples": samples, "studies": studies}
            | {"any_claim_confirmed": round(decided[Verdict.confirmed] / studies, 4)}
            | {"any_claim_refuted": round(decided[Verdict.refuted] / studies, 4)}
            | {"any_claim_decided": round(any_decided / studies, 4)}
        )
    return rows


def pooled(generator: np.random.Generator, studies: int, seeds: int = 3, samples: int = 200) -> list[dict[str, Any]]:
    """Two methods of one seed each, judged by the spread of the study's other methods."""
    rows = []
    for spread in (0.0, 1.0, 2.0):
        marked, made = 0, 0
        for _ in range(studies):
            evidence = null_study(generator, spread, seeds, samples, single=("lora", "ia3"))
            for lora in evidence.find("lora"):
                (ia3,) = evidence.find("ia3", dataset=lora.dataset, model=lora.model)
                comparison = evidence.compare("", [lora], [ia3], "em@10")
                assert comparison is not None
                assert comparison.pooled
                assert comparison.p_value is not None
                marked += comparison.p_value < 0.05
                made += 1
        rows.append(
            {"spread_points": spread, "samples": samples, "comparisons": made}
            | {"false_positives": round(marked / made, 4)}
        )
    return rows


def rare(share: float = 0.01) -> list[dict[str, Any]]:
    """How often the interval of a share holds a rare true share, exactly, by the binomial distribution."""
    from scipy.stats import binom

    rows = []
    for samples in (50, 100, 200, 543, 628):
        number = np.arange(samples + 1)
        ends = np.array([share_interval(count / samples, samples) for count in number])
        inside = (ends[:, 0] <= share) & (share <= ends[:, 1])
        rows.append(
            {
                "share": share,
                "samples": samples,
                "coverage": round(float(binom.pmf(number, samples, share)[inside].sum()), 4),
            }
        )
    return rows


def figures(generator: np.random.Generator, *, studies: int, tables_: int, claims_: int) -> dict[str, Any]:
    """Everything that is measured."""
    return {
        "check_largest_relative_deviation": round(check(generator, Setting(1.0, 3, 200)), 4),
        "differences": differences(generator, studies),
        "tables": tables(generator, tables_),
        "claims": claims(generator, claims_),
        "pooled_spread": pooled(generator, claims_),
        "rare_shares": rare(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few studies, nothing is written")
    quick = parser.parse_args(arguments).quick
    generator = np.random.default_rng(20_231)
    if quick:
        sys.stdout.write(f"{figures(generator, studies=100, tables_=2, claims_=1)}\n")
        return
    record.write("calibration", figures(generator, studies=4_000, tables_=400, claims_=60), ("numpy", "scipy"))


if __name__ == "__main__":
    main()
