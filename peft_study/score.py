"""Score finished cells again from what their models wrote: `python -m peft_study.score multirun/demo`."""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from peft_study.config.checks import check
from peft_study.config.compose import explain, to_cell
from peft_study.config.schema import CellConfig, DatasetSource, ScoringConfig
from peft_study.data.samples import Sample
from peft_study.errors import UserError
from peft_study.interrupts import TerminatedError, termination_raises, while_it_is_read
from peft_study.results import provenance
from peft_study.results.schema import HEADLINES, RunResult, Status
from peft_study.results.store import PREDICTIONS, RESULT, CellBusyError, CellFolder, Prediction
from peft_study.run import EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR
from peft_study.tracking.notices import busy, complain, say
from peft_study.tracking.results_table import print_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Score cells again; their other figures stay.

    Returns:
        the exit code: 0; 1 where a cell could not be scored; 2 where the command is at fault; 128 and the signal's
        number after an interrupt, which leaves every cell with its old scores or its new ones.
    """
    parser = argparse.ArgumentParser(prog="python -m peft_study.score", description=__doc__)
    parser.add_argument("folders", nargs="+", help="a cell, a study or a whole multirun/; and scoring.SETTING=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    given = parser.parse_intermixed_args(arguments)
    settings = [word for word in given.folders if word.startswith("scoring.")]
    try:
        with termination_raises():
            return rescore([Path(word) for word in given.folders if word not in settings], settings, given.dry_run)
    except KeyboardInterrupt as interrupt:
        say("interrupted; the same command scores all of them again")
        return 128 + (signal.SIGTERM if isinstance(interrupt, TerminatedError) else signal.SIGINT)
    except UserError as error:
        complain(error)
        return EXIT_USER_ERROR


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
    finished = [path for path in cells if _is_finished(path)]
    if len(finished) < len(cells):
        say(f"{len(cells) - len(finished)} of {len(cells)} cells are not finished and are passed over")
    if not finished:
        where = ", ".join(map(str, folders))
        raise UserError("no finished cell", where=where, hint="a folder such as multirun/demo, or one cell of it")
    results, failed = [], 0
    for number, path in enumerate(finished, start=1):
        try:
            with busy(f"[{number}/{len(finished)}] {path.name} ..."):
                before, after = _rescore_cell(path, changed, dry_run)
        except (UserError, CellBusyError) as error:
            failed += 1
            complain(UserError(f"{path.name}: {error.what}", where=error.where or str(path), hint=error.hint))
            continue
        say(f"[{number}/{len(finished)}] {path.name}: {_difference(before, after)}")
        results.append(after)
    print_results(results)
    if dry_run:
        say("nothing was written")
    return EXIT_FAILED if failed else EXIT_OK


def _settings(words: Sequence[str]) -> dict[str, object]:
    """The scoring settings of the command line."""
    try:
        given = OmegaConf.from_dotlist([word.removeprefix("scoring.") for word in words])
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ScoringConfig), given))
    except OmegaConfBaseException as error:
        raise explain(error) from error
    assert isinstance(merged, ScoringConfig)
    return {str(name): getattr(merged, str(name)) for name in given}


def _cells_below(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise UserError("no such folder", where=str(folder), hint="a folder such as multirun/demo, or one cell of it")
    for pattern in (RESULT, f"*/{RESULT}", f"*/*/{RESULT}"):
        yield from sorted(file.parent for file in folder.glob(pattern))


def _is_finished(path: Path) -> bool:
    with suppress(ValueError, OSError):
        result = CellFolder(path).read_result()
        return result is not None and result.status is Status.ok and (path / PREDICTIONS).is_file()
    return False


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
        return [Sample(prediction.id, "", prediction.reference) for prediction in predictions]
    by_id = {sample.id: sample for sample in splits.test}
    return [by_id[prediction.id] for prediction in predictions]


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


if __name__ == "__main__":
    sys.exit(while_it_is_read(main))
