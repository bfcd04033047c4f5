"""Looks up and downloads one repository of the hub. What a network may have failed is tried again."""

import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from peft_study.cli.fetch.needs import WEIGHTS, matches
from peft_study.cli.fetch.table import MODEL, Need, Repository, as_size, summary
from peft_study.config.schema import DatasetConfig
from peft_study.console.messages import print_line
from peft_study.data.loading import load
from peft_study.errors import UserError
from peft_study.models.hub import OFFLINE

TIMEOUT_SECONDS = 30.0
# The account with which the hub itself offers converted weights; a pull request can come from anybody.
CONVERSION_BOT = "SFconvertbot"
_PAUSES_SECONDS = (1.0, 5.0, 20.0)
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
_TRANSIENT_STATUSES = {408, 429}  # a timeout, and too many requests

T = TypeVar("T")


def look_up(repository: Repository) -> None:
    """Fill in the wanted files and their sizes from the hub, and which of them the cache lacks."""
    # `snapshot_download(dry_run=True)` asks for each file, writes into the cache, and lets `*` match folders.
    need, api = repository.need, HfApi()
    ask = api.model_info if need.kind == MODEL else api.dataset_info
    info = ask(need.repository, revision=need.revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
    # The list of files is public even then, and the first download would fail.
    if info.gated:
        api.auth_check(need.repository, repo_type=need.kind)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    if need.essential and not any(matches(name, pattern) for name in sizes for pattern in need.essential):
        raise _without_essential(need)
    repository.commit = info.sha
    repository.sizes = {
        name: size for name, size in sizes.items() if any(matches(name, pattern) for pattern in need.patterns)
    }
    repository.missing = _lacking(repository, info.sha)


def download(repository: Repository) -> None:
    """Download the wanted files into the cache, together with the commit of the revision."""
    need = repository.need
    # One by one in this thread. After an interrupt, the threads of `snapshot_download` would first finish files of
    # many GB.
    for name in repository.sizes:
        with_retries(partial(hf_hub_download, need.repository, name, repo_type=need.kind, revision=need.revision))
    # A branch may move between the look-up and the download.
    repository.missing = _lacking(repository, need.revision)
    if repository.missing:
        raise UserError(f"{need} changed during the download, or the network failed", hint="the same command again")
    files = "1 file" if len(repository.sizes) == 1 else f"{len(repository.sizes)} files"
    print_line(f"{need}: {files}, {as_size(repository.total_bytes)}, complete")


def prepare(dataset: DatasetConfig) -> None:
    """Fill the separate cache of `datasets`, and check that the data loads without the hub."""
    # `datasets` converts the files and stores the result in a second cache.
    with_retries(partial(load, dataset))
    with _offline():
        load(dataset)


def _lacking(repository: Repository, revision: str | None) -> list[str]:
    """The files of the wanted commit that are missing or incomplete in the cache, under a revision."""
    need = repository.need

    def is_whole(name: str, size: int) -> bool:
        path = try_to_load_from_cache(need.repository, name, revision=revision, repo_type=need.kind)
        # Without a network, huggingface_hub returns the file of an earlier commit.
        return isinstance(path, str) and repository.commit in Path(path).parts and Path(path).stat().st_size == size

    return [name for name, size in repository.sizes.items() if not is_whole(name, size)]


def _without_essential(need: Need) -> UserError:
    if WEIGHTS not in need.essential:
        files = ", ".join(need.essential)
        return UserError(
            f"{need} must have one of the files {files}", hint="dataset.hub_files=..., dataset.revision=..."
        )
    hint = "a model with *.safetensors, or model.source=FOLDER with converted weights"
    reference = _conversion(need)
    if reference:
        hint = f"model.revision={reference} (`revision: {reference}` in the model's YAML): the hub's own conversion"
    return UserError(f"{need} has no weights as safetensors, and pickles are not read", hint=hint)


def _conversion(need: Need) -> str | None:
    """The pull request in which the hub's bot offers the weights as safetensors, if there is one."""
    api = HfApi()
    # This is only for a hint: an error here would hide the one that the hint is for.
    with suppress(Exception):
        for request in api.get_repo_discussions(need.repository, author=CONVERSION_BOT, discussion_type="pull_request"):
            reference = f"refs/pr/{request.num}"
            files = api.model_info(need.repository, revision=reference, timeout=TIMEOUT_SECONDS).siblings or []
            if request.author == CONVERSION_BOT and any(matches(file.rfilename, WEIGHTS) for file in files):
                return reference
    return None


@contextmanager
def _offline() -> Iterator[None]:
    """Limit the hub's libraries in this process to their caches, without their warnings about it."""
    import datasets.config

    # Both libraries read the variable only when they are imported.
    modules = (constants, datasets.config)
    before = [vars(module)[OFFLINE] for module in modules]
    logging.disable(logging.WARNING)
    try:
        for module in modules:
            setattr(module, OFFLINE, True)
        yield
    finally:
        logging.disable(logging.NOTSET)
        for module, value in zip(modules, before, strict=True):
            setattr(module, OFFLINE, value)


def with_retries(action: Callable[[], T]) -> T:
    """Run an action; after an error that may be temporary, retry it after a pause."""
    for pause in _PAUSES_SECONDS:
        try:
            return action()
        except Exception as error:  # the hub's libraries raise those of several HTTP clients
            if _is_final(error):
                raise
            print_line(f"{summary(error)}; retrying in {pause:.0f} s")
            time.sleep(pause)
    return action()


def _is_final(error: BaseException) -> bool:
    """Whether a retry cannot help."""
    if isinstance(error, UserError | LocalEntryNotFoundError):
        # Both also wrap a failed connection.
        return error.__cause__ is None or _is_final(error.__cause__)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return 400 <= status < 500 and status not in _TRANSIENT_STATUSES
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return True
    # Errors of a program, or of a name that does not exist.
    return isinstance(error, ValueError | TypeError | LookupError | AttributeError | FileNotFoundError)
