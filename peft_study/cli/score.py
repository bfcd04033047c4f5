"""Score finished cells again from what their models wrote: `python -m peft_study score multirun/demo`."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import OmegaConf

from peft_study.cli.results_table import print_results
from peft_study.config.checks import check, scoring_problems
from peft_study.config.compose import CONFIG_ERRORS, explain, to_cell
from peft_study.config.schema import CellConfig, DatasetSource, ScoringConfig
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, run_command
from peft_study.console.messages import print_error, print_line, spinner
from peft_study.data.samples import Sample
from peft_study.errors import UserError, near_names
from peft_study.metrics.registry import HEADLINES
from peft_study.results import provenance
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import PREDICTIONS, RESULT, CellFolder, Prediction, read_result

_KEPT = "its scores stand as they were"


def main(arguments: Sequence[str] | None = None) -> int:
    """Score cells again; their other figures stay.

    Returns:
        the exit code: 0; 1 where a cell could not be scored; 2 where the command is at fault; 128 and the signal's
        number after an interrupt. Each cell keeps its old scores until all of its new ones are there.
    """
    parser = argparse.ArgumentParser(prog="python -m peft_study score", description=__doc__)
    parser.add_argument("folders", nargs="+", help="a cell, a study or a whole multirun/; and scoring.SETTING=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    given = parser.parse_intermixed_args(arguments)
    settings = [word for word in given.folders if word.startswith("scoring.")]
    folders = [Path(word) for word in given.folders if word not in settings]
    return run_command(
        lambda: rescore(folders, settings, given.dry_run), interrupted="the same command scores all of them again"
    )


def rescore(folders: Sequence[Path], settings: Sequence[str], dry_run: bool = False) -> int:
    """Score every finished cell below some folders.

    Args:
        folders: cells, studies, or folders of studies.
        settings: such as "scoring.wall_seconds=20", in place of what the cells were scored with.
        dry_run: write nothing.

    Returns:
        the exit code.

    Raises:
        UserError: there is no such folder, no finished cell, or no such setting.
    """
    changed = _settings(settings)
    cells = list(dict.fromkeys(path for folder in folders for path in _cells_below(folder)))
    lacking = {path: _lack(path) for path in cells}
    finished = [path for path in cells if lacking[path] is None]
    for lack, number in Counter(lack for lack in lacking.values() if lack is not None).items():
        print_line(f"{number} of {len(cells)} cells passed over: {lack}")
    if not finished:
        where = ", ".join(map(str, folders))
        raise UserError("no finished cell", where=where, hint="a folder such as multirun/demo, or one cell of it")
    results, failed = [], 0
    for number, path in enumerate(finished, start=1):
        try:
            with spinner(f"[{number}/{len(finished)}] {path.name} ..."):
                before, after = _rescore_cell(path, changed, dry_run)
        except (UserError, ValueError, OSError) as error:
            failed += 1
            place, hint = (error.where, error.hint) if isinstance(error, UserError) else (None, None)
            print_error(
                UserError(f"{path.name}: {error}".splitlines()[0], where=place or str(path), hint=hint or _KEPT)
            )
            continue
        print_line(f"[{number}/{len(finished)}] {path.name}: {_difference(before, after)}")
        results.append(after)
    if results:
        print_results(results)
    if dry_run:
        print_line("nothing was written")
    return EXIT_FAILED if failed else EXIT_OK


def _settings(words: Sequence[str]) -> dict[str, object]:
    """The scoring settings of the command line."""
    known = [spec.name for spec in fields(ScoringConfig)]
    for word in words:
        name = word.removeprefix("scoring.").partition("=")[0]
        if name not in known:
            raise UserError(f"there is no setting 'scoring.{name}'", where=word, hint=near_names(name, known))
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
        raise UserError("no such folder", where=str(folder), hint="a folder such as multirun/demo, or one cell of it")
    for pattern in (RESULT, f"*/{RESULT}", f"*/*/{RESULT}"):
        yield from sorted(file.parent for file in folder.glob(pattern))


def _lack(path: Path) -> str | None:
    """Why a cell cannot be scored; None where it can."""
    try:
        result = read_result(path / RESULT)
    except (ValueError, OSError) as error:
        return f"result.json cannot be read ({error})"
    if result is None or result.status is not Status.ok:
        return "not finished" if result is None else f"{result.status}"
    return None if (path / PREDICTIONS).is_file() else f"no {PREDICTIONS}"


def _rescore_cell(path: Path, changed: dict[str, object], dry_run: bool) -> tuple[RunResult, RunResult]:
    """The result before and after; written unless it is a dry run."""
    from peft_study.scoring.score import Answers, score

    folder = CellFolder(path)
    with folder.locked():
        before = folder.read_result()
        assert before is not None
        cell = to_cell(OmegaConf.create(before.config))
        cell.scoring = replace(cell.scoring, **changed)  # type: ignore[arg-type]
        check(cell)
        predictions = folder.read_predictions()
        answers = Answers(
            samples=_samples(cell, before, predictions),
            prompts=[prediction.prompt for prediction in predictions],
            programs=[prediction.candidates for prediction in predictions],
            sampled=cell.generation.temperature is not None,
        )
        scored = score(answers, cell.scoring)
        errors = scored.execution.get("sandbox_errors")
        if errors:
            raise UserError(
                f"{errors} of {scored.execution['programs']} programs could not be run: {scored.execution['trouble']}",
                hint=_KEPT,
            )
        after = replace(
            before,
            metrics=scored.metrics,
            intervals=scored.intervals,
            execution=scored.execution,
            config=before.config | {"scoring": _plain(cell.scoring)},
            provenance=before.provenance | {"rescored": _stamp()},
        )
        if not dry_run:
            folder.write_predictions(scored.predictions)
            folder.write_result(after)
            folder.write_config(after.config)
    return before, after


def _samples(cell: CellConfig, result: RunResult, predictions: Sequence[Prediction]) -> list[Sample]:
    """The cell's test samples, with their tests; without, where the data never had any and is not at hand.

    Raises:
        UserError: the tests are needed, and the data cannot be had or is another.
    """
    from peft_study.data import loading

    try:
        splits = loading.load(cell.dataset)
        if splits.fingerprint != result.data.get("fingerprint"):
            raise UserError(
                "the data is another than the cell was run on", where=splits.origin, hint="the same revision or files"
            )
    except UserError:
        generated = cell.dataset.source is DatasetSource.generated and cell.dataset.path is None
        scored_by_tests = bool(result.execution) or generated
        if scored_by_tests or any(prediction.verdicts for prediction in predictions):
            raise
        sizes = result.data.get("sizes") or {}
        if len({prediction.id for prediction in predictions}) != sizes.get("test", len(predictions)):
            raise ValueError(f"{PREDICTIONS} does not hold the {sizes['test']} test samples, once each") from None
        return [Sample(one.id, "", one.reference, level=one.level, cluster=one.cluster) for one in predictions]
    by_id = {sample.id: sample for sample in splits.test}
    if [prediction.id for prediction in predictions] != list(by_id):
        raise ValueError(f"{PREDICTIONS} does not hold the {len(by_id)} samples of the test split, once each, in order")
    return list(by_id.values())


def _stamp() -> dict[str, object]:
    found = provenance.collect()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"at": at, "commit": found["commit"], "dirty": found["dirty"], "python": found["python"]}


def _plain(settings: ScoringConfig) -> dict[str, object]:
    return {name: str(value) if name == "execution" else value for name, value in asdict(settings).items()}


def _difference(before: RunResult, after: RunResult) -> str:
    """What changed among the scores that are shown first."""
    changes = [
        f"{title} {_percent(before.metrics.get(name))} -> {_percent(after.metrics.get(name))}"
        for name, title in HEADLINES.items()
        if before.metrics.get(name) != after.metrics.get(name)
    ]
    return ", ".join(changes) or "as before"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"
