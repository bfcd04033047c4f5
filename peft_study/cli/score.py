"""Score finished cells again from their candidates: `python -m peft_study score multirun/demo`."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import OmegaConf

from peft_study.cli.results_table import print_results
from peft_study.config import identity
from peft_study.config.checks import check
from peft_study.config.compose import CONFIG_ERRORS, explain, to_cell
from peft_study.config.ranges import scoring_problems
from peft_study.config.schema import CellConfig, DatasetSource, ScoringConfig
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, run_command
from peft_study.console.formats import percent
from peft_study.console.messages import print_error, print_line, spinner
from peft_study.data.samples import Sample
from peft_study.errors import UserError, near_names
from peft_study.metrics.registry import HEADLINES
from peft_study.results import provenance
from peft_study.results.predictions import Prediction
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import PREDICTIONS, RESULT, CellFolder, read_result

_KEPT = "the scores of this cell are unchanged"
_ABOUT_SCORING = ("commit", "dirty", "python")


def main(arguments: Sequence[str] | None = None) -> int:
    """Score cells again. Each cell keeps its old scores until all new ones are computed.

    Args:
        arguments: what follows the name of the command; those of the process if None.

    Returns:
        the exit code: 0 on success, 1 if a cell could not be scored, 2 if the command line is wrong, and 128 plus the
        signal's number after an interrupt.
    """
    parser = argparse.ArgumentParser(prog="python -m peft_study score", description=__doc__)
    parser.add_argument("folders", nargs="+", help="a cell, a study or multirun/; and scoring.SETTING=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="print what would change, and change nothing")
    options = parser.parse_intermixed_args(arguments)
    settings = [word for word in options.folders if word.startswith("scoring.")]
    folders = [Path(word) for word in options.folders if word not in settings]
    return run_command(
        lambda: rescore(folders, settings, options.dry_run), interrupted="the same command scores all of them again"
    )


def rescore(folders: Sequence[Path], settings: Sequence[str], dry_run: bool = False) -> int:
    """Score every finished cell below some folders.

    Args:
        folders: cells, studies, or folders of studies.
        settings: such as "scoring.wall_seconds=20"; they replace the settings that the cells were scored with.
        dry_run: write nothing.

    Returns:
        the exit code.

    Raises:
        UserError: a folder or a setting does not exist, or no cell is finished.
    """
    changed = _settings(settings)
    finished = _finished_cells(folders)
    results, failed = [], 0
    for number, path in enumerate(finished, start=1):
        try:
            with spinner(f"[{number}/{len(finished)}] {path.name} ..."):
                before, after = _rescore_cell(path, changed, dry_run)
        except (UserError, ValueError, OSError) as error:
            failed += 1
            where, hint = (error.where, error.hint) if isinstance(error, UserError) else (None, None)
            message = f"{path.name}: {error}".splitlines()[0]
            print_error(UserError(message, where=where or str(path), hint=hint or _KEPT))
            continue
        print_line(f"[{number}/{len(finished)}] {path.name}: {_difference(before, after)}")
        results.append(after)
    if results:
        print_results(results)
    if dry_run:
        print_line("nothing was written")
    return EXIT_FAILED if failed else EXIT_OK


def _finished_cells(folders: Sequence[Path]) -> list[Path]:
    """Return the cells that can be scored. Print why the others are skipped."""
    cells = list(dict.fromkeys(path for folder in folders for path in _cells_below(folder)))
    obstacles = {path: _obstacle(path) for path in cells}
    for obstacle, number in Counter(obstacle for obstacle in obstacles.values() if obstacle is not None).items():
        print_line(f"{number} of {len(cells)} cells skipped: {obstacle}")
    finished = [path for path in cells if obstacles[path] is None]
    if not finished:
        raise UserError(
            "FOLDER must hold a finished cell, got none",
            where=", ".join(map(str, folders)),
            hint="a folder such as multirun/demo, or one cell of it",
        )
    return finished


def _settings(words: Sequence[str]) -> dict[str, object]:
    """Parse the scoring settings of the command line."""
    names = [spec.name for spec in fields(ScoringConfig)]
    for word in words:
        name = word.removeprefix("scoring.").partition("=")[0]
        if name not in names:
            raise UserError(f"unknown setting 'scoring.{name}'", where=word, hint=near_names(name, names))
    changed: set[str] = set()
    merged = OmegaConf.structured(ScoringConfig)
    for word in words:
        try:
            setting = OmegaConf.from_dotlist([word.removeprefix("scoring.")])
            merged = OmegaConf.merge(merged, setting)
            changed |= set(map(str, setting))
        except CONFIG_ERRORS as error:
            raise UserError(explain(error).what, where=word, hint="such as scoring.wall_seconds=20") from error
    scoring = OmegaConf.to_object(merged)
    assert isinstance(scoring, ScoringConfig)
    for problem in scoring_problems(scoring):
        raise problem
    return {name: getattr(scoring, name) for name in changed}


def _cells_below(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        what = f"FOLDER must exist, got {folder}"
        raise UserError(what, where=str(folder), hint="a folder such as multirun/demo, or one cell of it")
    # The folder is a cell, a study, or a folder of studies.
    # Not `**`: a folder of studies may hold checkpoints and data of many GB.
    for pattern in (RESULT, f"*/{RESULT}", f"*/*/{RESULT}"):
        yield from sorted(file.parent for file in folder.glob(pattern))


def _obstacle(path: Path) -> str | None:
    """Return why a cell cannot be scored; None if it can."""
    try:
        result = read_result(path / RESULT)
    except (ValueError, OSError) as error:
        return f"result.json cannot be read ({error})"
    if result is None or result.status is not Status.ok:
        return "not finished" if result is None else str(result.status)
    return None if (path / PREDICTIONS).is_file() else f"no {PREDICTIONS}"


def _rescore_cell(path: Path, changed: dict[str, object], dry_run: bool) -> tuple[RunResult, RunResult]:
    """Score one cell. Return its result before and after, which is written unless this is a dry run."""
    from peft_study.data.examples import Shown
    from peft_study.scoring.score import Answers, score

    folder = CellFolder(path)
    # A rerun of the cell would write the same files.
    with folder.locked():
        before = folder.read_result()
        assert before is not None
        # The schema checks it again: an earlier version may have written the config.
        cell = to_cell(OmegaConf.create(before.config))
        cell.scoring = replace(cell.scoring, **changed)  # type: ignore[arg-type]
        check(cell)
        predictions = folder.read_predictions()
        answers = Answers(
            samples=_samples(cell, before, predictions),
            prompts=[prediction.prompt for prediction in predictions],
            programs=[prediction.candidates for prediction in predictions],
            sampled=cell.generation.temperature is not None,
            shown=[Shown(tuple(row.example_rows), tuple(row.example_similarities)) for row in predictions],
        )
        scored = score(answers, cell.scoring)
        # Programs that could not be run would count as wrong, so the old scores are kept.
        errors = scored.execution.get("sandbox_errors")
        if errors:
            raise UserError(
                f"{errors} of {scored.execution['programs']} programs could not be run: {scored.execution['trouble']}",
                hint=_KEPT,
            )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        # The rest of the provenance is about the machine that generated the candidates.
        origin = provenance.collect()
        rescored = {"at": now} | {name: origin[name] for name in _ABOUT_SCORING}
        after = replace(
            before,
            metrics=scored.metrics,
            intervals=scored.intervals,
            execution=scored.execution,
            config=before.config | {"scoring": identity.plain(cell)["scoring"]},
            provenance=before.provenance | {"rescored": rescored},
        )
        if not dry_run:
            folder.write_predictions(scored.predictions)
            folder.write_result(after)
            folder.write_config(after.config)
    return before, after


def _samples(cell: CellConfig, result: RunResult, predictions: Sequence[Prediction]) -> list[Sample]:
    """Return the cell's test samples. If the data is not available, build samples without tests from the predictions.

    Raises:
        UserError: tests are needed, but the data is not available or differs from the data of the cell.
    """
    from peft_study.data import loading

    try:
        splits = loading.load(cell.dataset)
        # Other rows under the same ids would be scored by references that the model never had.
        if splits.fingerprint != result.data.get("fingerprint"):
            what = "the data differs from the data that the cell was run on"
            raise UserError(what, where=splits.origin, hint="the same revision or files")
    except UserError:
        # Without a network, the references beside the candidates still suffice.
        generated = cell.dataset.source is DatasetSource.generated and cell.dataset.path is None
        scored_by_tests = bool(result.execution) or generated
        if scored_by_tests or any(prediction.verdicts for prediction in predictions):
            raise
        sizes = result.data.get("sizes") or {}
        if len({prediction.id for prediction in predictions}) != sizes.get("test", len(predictions)):
            raise ValueError(f"{PREDICTIONS} does not hold the {sizes['test']} test samples, once each") from None
        return [Sample(row.id, "", row.reference, level=row.level, cluster=row.cluster) for row in predictions]
    by_id = {sample.id: sample for sample in splits.test}
    # A damaged file would score candidates by the tests of other samples.
    if [prediction.id for prediction in predictions] != list(by_id):
        raise ValueError(f"{PREDICTIONS} does not hold the {len(by_id)} samples of the test split, once each, in order")
    return list(by_id.values())


def _difference(before: RunResult, after: RunResult) -> str:
    """Describe what changed among the headline scores."""
    changes = [
        f"{title} {percent(before.metrics.get(name), unit='')} -> {percent(after.metrics.get(name), unit='')}"
        for name, title in HEADLINES.items()
        if before.metrics.get(name) != after.metrics.get(name)
    ]
    if changes:
        return ", ".join(changes)
    if (before.metrics, before.intervals) == (after.metrics, after.intervals):
        return "unchanged"
    return "main scores unchanged; other scores or intervals replaced"
