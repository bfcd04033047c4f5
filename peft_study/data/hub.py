"""Reading the tables of a data set on the hub."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from peft_study.config.schema import DatasetConfig
from peft_study.data.layouts.base import Row, Tables
from peft_study.errors import UserError


def read_tables(dataset: DatasetConfig, names: Mapping[str, str]) -> Tables:
    """The rows of a data set's tables, each read as it is asked for.

    Args:
        dataset: the settings.
        names: for each table the name that the hub has for it.

    Raises:
        UserError: the hub cannot be reached, or it does not have the data.
    """
    import datasets

    assert dataset.hub_id is not None, "config.checks asks for a hub id"
    # datasets 5 runs no loading script of a repository; conf/dataset names the hub's Parquet where main has one.
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(
            _source(dataset, dataset.hub_id), data_files=dict(dataset.hub_files) or None, revision=dataset.revision
        )
        tables = {table: loaded[name] for table, name in names.items()}
    except Exception as error:  # datasets raises many kinds for one cause: the hub's answer, or none
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        raise UserError(
            f"{dataset.hub_id} cannot be loaded from the hub: {type(error).__name__}: {reason}",
            where=f"dataset={dataset.name}",
            hint="check the network or the cache (HF_HUB_OFFLINE=1 uses only that), or dataset.path=FOLDER",
        ) from error
    return {table: _located(f"{dataset.hub_id}, {table}", rows) for table, rows in tables.items()}


# A generator, because APPS' test table is hundreds of megabytes and only its first problems are read.
def _located(source: str, rows: Iterable[dict[str, Any]]) -> Iterator[Row]:
    for number, row in enumerate(rows):
        yield f"{source} row {number}", row


def _source(dataset: DatasetConfig, hub_id: str) -> str:
    """The source for `datasets`: the hub id, or a folder of the hub's cache if only that can be read."""
    import datasets
    from huggingface_hub import snapshot_download

    if not (datasets.config.HF_HUB_OFFLINE and dataset.hub_files) or Path(hub_id).exists():
        return hub_id
    # Offline, `datasets` finds a data set whose files are named only in its own cache, and not in the hub's.
    return snapshot_download(
        hub_id,
        repo_type="dataset",
        revision=dataset.revision,
        allow_patterns=list(dataset.hub_files.values()),
        local_files_only=True,
    )
