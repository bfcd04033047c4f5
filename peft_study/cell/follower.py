"""A process of a cell with a rank above 0: it trains and generates its share, and the first rank writes the files."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from peft_study.cell.attempt import new_result
from peft_study.cell.environment import fast_imports, one_process
from peft_study.cell.logs import quiet_transformers
from peft_study.config.compose import to_cell
from peft_study.console.interrupts import end_with_parent
from peft_study.results.attempts import Attempt, Restriction
from peft_study.results.store import PARTIAL_PREDICTIONS, CellFolder
from peft_study.tracking.base import Trackers


class FollowerFolder(CellFolder):
    """A cell's folder to which only candidates are appended. The first rank writes everything else."""

    def append_candidates(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """See `CellFolder.append_candidates`."""
        super()._append(PARTIAL_PREDICTIONS, rows)

    def _append(self, name: str, rows: Iterable[Mapping[str, Any]], *, durable: bool = True) -> None:
        """Do nothing."""

    def _write(self, name: str, text: str, *, durable: bool = True) -> None:
        """Do nothing."""


def main() -> int:
    """Follow the first rank. Standard input describes the cell, with `rank`, `size`, `port`, `folder` and `parent`."""
    description: Mapping[str, Any] = json.load(sys.stdin)
    end_with_parent(description["parent"])
    cell = to_cell(OmegaConf.create(description["config"]))
    path = Path(description["folder"])
    with one_process():
        with fast_imports():
            from peft_study.cell.run import CellRun
            from peft_study.training.ranks import join, leave, rendezvous

        quiet_transformers()
        # The same limit as in the first rank, so that all of them divide the prompts into the same batches.
        attempt = Attempt(restriction=Restriction(prompts_at_once=description["prompts_at_once"]))
        run = CellRun(cell, FollowerFolder(path), Trackers([]), new_result(cell, path), attempt=attempt, follows=True)
        run.load()
        size = description["size"]
        store = rendezvous(size, description["port"])
        ranks = join(description["rank"], size, store, run.device, shards=cell.hardware.shard_weights)
        try:
            run.follow(ranks)
        finally:
            leave(ranks)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
