"""Show what a command would run and what it would cost: `python -m peft_study plan +study=table3`."""

import argparse
import json
import logging
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_study.cell.environment import check_interpreter
from peft_study.cell.retries import keeps_result
from peft_study.cli.plan_table import print_plan
from peft_study.config import identity
from peft_study.config.examples import labelled_method
from peft_study.config.schema import DatasetConfig
from peft_study.console.exit import EXIT_OK, run_command
from peft_study.console.messages import progress, spinner
from peft_study.cost.forecast import Forecast
from peft_study.errors import UserError
from peft_study.metrics.study_size import samples_needed, seeds_needed
from peft_study.results.schema import RunResult, Status
from peft_study.sweep.command import add_arguments, plan_command
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.records import median_work_seconds, result_of

if TYPE_CHECKING:
    from peft_study.cost.policy import MemoryChoice

NEW, DONE, INTERRUPTED = "new", "done", "interrupted"
DISAGREEING = 0.2
"""Assumed share of test samples that exactly one of two methods solves."""
RUN_SPREAD = 0.01
"""Assumed standard deviation of a score between seeds: 1 point. The demo study has 0.9 to 1.4 points."""
USUAL_SEEDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan of a command line.

    Args:
        arguments: what follows the name of the command; those of the process if None.

    Returns:
        the exit code: 0 on success, 2 if the command line is wrong, and 128 plus the signal's number after an
        interrupt.
    """
    parser = argparse.ArgumentParser(prog="python -m peft_study plan", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print every cell and the totals as JSON")
    parser.add_argument(
        "--points",
        type=float,
        default=3.0,
        metavar="X",
        help="the difference between two methods to detect, in points; default: 3",
    )
    options = parser.parse_intermixed_args(arguments)
    # Libraries warn about the models whose memory is predicted, but the plan never runs those models.
    logging.captureWarnings(True)
    logging.getLogger().addHandler(logging.NullHandler())
    return run_command(
        lambda: _show(options.overrides, options.config_dir, as_json=options.json, points=options.points),
        interrupted="a plan changes nothing",
    )


def _show(overrides: Sequence[str], config_dir: Path | None, *, as_json: bool, points: float) -> int:
    """Print the plan of a command line as a table, or as JSON. Return the exit code."""
    if not 0 < points < 100:
        raise UserError(f"--points must be between 0 and 100, got {points:g}", where="--points", hint="--points 3")
    check_interpreter()  # before any work: the prediction imports transformers
    with spinner("composing the cells ..."):
        cells = plan_command(overrides, config_dir)
    with progress("predicting memory") as advance:
        forecasts = _forecasts(cells, advance)
    totals, needed = _totals(forecasts), _needed(cells, points)
    if as_json:
        record = {"cells": [asdict(cell) for cell in forecasts], "totals": totals, "needed": needed}
        sys.stdout.write(json.dumps(record, indent=1) + "\n")
    else:
        print_plan(forecasts, totals, needed)
    return EXIT_OK


def _forecasts(cells: Sequence[PlannedCell], advance: Callable[[int, int], None]) -> list[Forecast]:
    """Estimate the size, memory and time of each cell, and read the states of those that ran before."""
    # Imported late, because torch takes seconds and `--help` does not need it.
    from peft_study.cost.choices import choose_all

    seconds = median_work_seconds(cells)
    settings = [identity.settings_key(identity.plain(planned.cell)) for planned in cells]
    # A prediction takes seconds, and replicates with the same budget share it.
    keys = [(key, planned.cell.hardware.budget_bytes) for key, planned in zip(settings, cells, strict=True)]
    open_cells = {key: planned.cell for key, planned in zip(keys, cells, strict=True) if planned.refusal is None}
    choices = choose_all(open_cells, advance)
    forecasts = []
    for planned, key in zip(cells, keys, strict=True):
        choice = None if planned.refusal else choices[key]
        forecasts.append(_forecast(planned, key[0], choice, seconds.get((key[0], planned.cell.hardware.name))))
    return forecasts


def _needed(cells: Sequence[PlannedCell], points: float) -> str | None:
    """Describe how many seeds and samples a difference needs, for each data set of known size; None without one."""
    sizes = {cell.cell.dataset.name: size for cell in cells if (size := _test_samples(cell.cell.dataset)) is not None}
    if not sizes:
        return None
    parts = [f"{name} {_need(points / 100, size)}" for name, size in sizes.items()]
    return (
        f"Needed to detect {points:g} points between two methods (--points) at 5 % with a power of 0.8: "
        f"{'; '.join(parts)}. Assumed: the methods disagree on {100 * DISAGREEING:g} % of the samples, and the scores "
        f"of seeds have a standard deviation of {100 * RUN_SPREAD:g} point"
    )


def _test_samples(dataset: DatasetConfig) -> int | None:
    sizes = (dataset.sizes.get("test"), dataset.limit, dataset.test_limit)
    return min((size for size in sizes if size is not None), default=None)


def _need(difference: float, samples: int) -> str:
    deviation = math.sqrt(DISAGREEING)
    seeds = seeds_needed(difference, deviation, RUN_SPREAD, samples)
    if seeds is not None:
        return f"({samples:,} test samples) {seeds} seeds a method"
    more = samples_needed(difference, deviation, RUN_SPREAD, USUAL_SEEDS)
    number = "no number suffices" if more is None else f"{more:,}"
    return f"({samples:,} test samples) more samples than it has: {number} with {USUAL_SEEDS} seeds"


def _totals(forecasts: Sequence[Forecast]) -> dict[str, Any]:
    """Count the cells by state, and sum the predicted seconds of the cells that the command would run."""
    open_cells = [cell for cell in forecasts if cell.runs]
    seconds = [cell.predicted_seconds for cell in open_cells if cell.predicted_seconds is not None]
    return {
        "cells": len(forecasts),
        "states": dict(Counter(cell.state for cell in forecasts)),
        "over_budget": sum(cell.over_budget for cell in forecasts),
        "seconds_left": sum(seconds) if seconds else None,
        "cells_of_unknown_time": len(open_cells) - len(seconds),
    }


def _forecast(
    planned: PlannedCell, settings: str | None, choice: "MemoryChoice | None", seconds: float | None
) -> Forecast:
    cell, predicted = planned.cell, choice.predicted if choice else None
    result = result_of(planned)
    state, reason = _state(planned, result)
    return Forecast(
        cell_id=planned.folder.name,
        folder=str(planned.folder),
        overrides=list(planned.overrides),
        model=cell.model.name,
        method=labelled_method(asdict(cell)) or cell.method.name,
        dataset=cell.dataset.name,
        quantization=cell.quantization.name,
        seed=cell.seed,
        num_examples=cell.method.num_examples,
        state=state,
        runs=planned.refusal is None and (result is None or not keeps_result(cell, result)),
        reason=reason,
        trainable_parameters=predicted.trainable_parameters if predicted else None,
        predicted_peak_bytes=predicted.peak_bytes if predicted else None,
        budget_bytes=cell.hardware.budget_bytes,
        predicted_seconds=seconds,
        division=choice.division if choice else "",
        settings=settings,
        advice=choice.advice if choice else None,
    )


def _state(planned: PlannedCell, result: RunResult | None) -> tuple[str, str | None]:
    if planned.refusal is not None:
        return str(Status.infeasible), planned.refusal.what
    if result is None or planned.cell.rerun:
        return NEW, None
    if result.status is Status.ok:
        return DONE, None
    # A process that was killed leaves "running".
    if result.status in (Status.running, Status.preempted):
        return INTERRUPTED, None
    return str(result.status), result.reason
