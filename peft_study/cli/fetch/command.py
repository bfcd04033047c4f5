"""Download everything that a command would load from the hub: `python -m peft_study fetch +study=paper`."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from huggingface_hub import constants, is_offline_mode
from huggingface_hub.utils.tqdm import disable_progress_bars

from peft_study.cli.fetch.needs import is_remote, merged, needs_of
from peft_study.cli.fetch.repositories import download, look_up, prepare, with_retries
from peft_study.cli.fetch.table import DATASET, Repository, as_size, print_repositories, problem_with
from peft_study.config.schema import CellConfig, DatasetConfig
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, run_command
from peft_study.console.messages import print_error, print_line, spinner
from peft_study.console.redaction import redact
from peft_study.errors import UserError
from peft_study.models.hub import OFFLINE, use_cache_if_unreachable
from peft_study.sweep.command import add_arguments, plan_command

SPARE_SHARE = 0.05
"""Of the download: blobs in parts and the cache of `datasets` come on top of the files."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Download what the cells of a command line need, so that they run with HF_HUB_OFFLINE=1.

    Returns:
        the exit code: 0 if everything is there, or available in a dry run; 1 if something is not available; 2 if the
        command or the machine is wrong; 128 plus the signal's number after an interrupt.
    """
    parser = argparse.ArgumentParser(prog="python -m peft_study fetch", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="list what would be downloaded, and stop")
    parser.add_argument(
        "--json", action="store_true", help="print a record for programs: each repository with its size and problem"
    )
    options = parser.parse_intermixed_args(arguments)
    if not sys.stderr.isatty():  # a log would hold thousands of lines of a bar
        disable_progress_bars()
    return run_command(
        lambda: _fetch(options.overrides, options.config_dir, dry_run=options.dry_run, as_json=options.json),
        interrupted="complete files stay, and the same command resumes",
    )


def _fetch(overrides: Sequence[str], config_dir: Path | None, *, dry_run: bool, as_json: bool) -> int:
    """Look up what the cells of a command line need, show it, and download it. Return the exit code."""
    cells = _runnable(overrides, config_dir)
    repositories = [Repository(need) for need in merged(need for cell in cells for need in needs_of(cell))]
    if repositories:
        _require_hub()
    for repository in repositories:
        with _problems_of(repository):
            with_retries(partial(look_up, repository))
    folder, free_bytes = _cache()
    if not as_json and repositories:
        print_repositories(repositories, folder, free_bytes)
    needed_bytes = sum(repository.missing_bytes for repository in repositories) * (1 + SPARE_SHARE)
    if needed_bytes > free_bytes:
        raise UserError(
            f"{as_size(needed_bytes)} are needed, {as_size(free_bytes)} are free",
            where=str(folder),
            hint="HF_HOME=FOLDER on a larger disk, here and for the runs, or fewer models at a time",
        )
    if not dry_run:
        _download_all(repositories, cells)
    if as_json:
        record = {"cache": str(folder), "repositories": [repository.record() for repository in repositories]}
        sys.stdout.write(json.dumps(record, indent=1) + "\n")
    return _close(repositories, dry_run=dry_run)


def _runnable(overrides: Sequence[str], config_dir: Path | None) -> list[CellConfig]:
    with spinner("composing the cells ..."):
        planned = plan_command(overrides, config_dir)
    refusals = [cell.refusal for cell in planned if cell.refusal is not None]
    if len(refusals) == len(planned):
        raise refusals[0]
    if refusals:
        print_line(f"{len(refusals)} of {len(planned)} cells cannot run and are skipped. The first: {refusals[0].what}")
    return [cell.cell for cell in planned if cell.refusal is None]


def _require_hub() -> None:
    if is_offline_mode():
        raise UserError(f"{OFFLINE} must be 0 to download from the hub", where="the environment", hint=f"{OFFLINE}=0")
    use_cache_if_unreachable()  # else every file would wait for its own timeout
    if is_offline_mode():
        raise UserError(
            "the hub cannot be reached",
            where=str(redact(constants.ENDPOINT)),
            hint="a machine with a network and the same HF_HOME, or HTTPS_PROXY=...",
        )


def _cache() -> tuple[Path, int]:
    """The folder of the hub's cache, which may not exist yet, and the free bytes on its disk."""
    folder = Path(constants.HF_HUB_CACHE).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return folder, shutil.disk_usage(existing).free


def _download_all(repositories: Sequence[Repository], cells: Sequence[CellConfig]) -> None:
    for repository in repositories:
        if repository.problem is None:
            with _problems_of(repository):
                download(repository)
    by_source = {
        (repository.need.repository, repository.need.revision): repository
        for repository in repositories
        if repository.need.kind == DATASET
    }
    seen: list[DatasetConfig] = []
    for cell in cells:
        # Limits change what a cell keeps and not what is downloaded.
        dataset = replace(cell.dataset, limit=None, test_limit=None)
        if is_remote(dataset) and dataset not in seen:
            seen.append(dataset)
            repository = by_source[str(dataset.hub_id), dataset.revision]
            if repository.problem is None:
                with _problems_of(repository):
                    prepare(dataset)


@contextmanager
def _problems_of(repository: Repository) -> Iterator[None]:
    """Record an error of a repository, so that it does not block the others."""
    try:
        yield
    except Exception as error:
        repository.problem = problem_with(repository.need, error)


def _close(repositories: Sequence[Repository], *, dry_run: bool) -> int:
    problems = [repository.problem for repository in repositories if repository.problem is not None]
    for problem in problems:
        print_error(problem)
    if problems:
        print_line(f"{len(problems)} of {len(repositories)} repositories are not available")
        return EXIT_FAILED
    if not repositories:
        print_line("nothing is needed from the hub")
    elif not dry_run:
        print_line(f"everything is there: with {OFFLINE}=1 it runs without a network")
    return EXIT_OK
