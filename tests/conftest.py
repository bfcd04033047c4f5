"""Shared parts of the tests: running the command line in this process, and tiny data sets."""

import contextlib
import copy
import functools
import gc
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from peft_study.config import compose
from peft_study.config.schema import CellConfig

# The time of an example depends on the load of the machine, so a slow example must not fail a test.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
# Collections during the imports free nothing.
gc.disable()
# Two threads a test process on two cores would be several times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
# Started in the background, this process may have been told to ignore Ctrl-C, and would pass that on to what it starts.
with contextlib.suppress(ValueError):
    signal.signal(signal.SIGINT, signal.default_int_handler)
# What is cached by content must not outlive a test run, nor come from a person's own.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="peft-study-tests-")


@functools.cache
def compose_once(overrides: tuple[str, ...]) -> CellConfig:
    """Compose a cell: 60 ms, and tests compose a thousand cells, of which a third are equal to another."""
    return COMPOSE(overrides)


COMPOSE = compose.compose_cell
# Before the modules of tests import it. A cell that breaks a rule raises, and errors are not cached.
compose.compose_cell = lambda overrides: copy.deepcopy(compose_once(tuple(overrides)))

QUICK = (
    "training.epochs=1",
    "training.evaluations_per_epoch=1",
    "dataset.test_limit=2",
    "dataset.max_new_tokens=4",
    "generation.num_beams=2",
    "generation.num_candidates=2",
)
"""A cell that ends after little work, for tests of what happens around it."""


def pytest_collection_finish() -> None:
    """Leave what the imports made out of garbage collections: cells ask for several, and each would look at it all."""
    gc.collect()
    gc.freeze()
    gc.enable()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run `python -m peft_study ...` in this process, from an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        code = run_main(monkeypatch, *arguments)
        printed = capfd.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Call the command's main function with these arguments."""
    from peft_study.cli.run import main

    monkeypatch.setattr(sys, "argv", ["peft_study", *arguments])
    try:
        return main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1


def write_jsonl(path: Path, rows: list[object]) -> Path:
    """Write rows as JSON lines; a string is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


PAIRS = [
    ("sort list `xs`", "xs.sort()"),
    ("reverse list `xs`", "xs.reverse()"),
    ("get the length of list `items`", "len(items)"),
    ("sum the numbers in `xs`", "sum(xs)"),
    ("uppercase string `s`", "s.upper()"),
    ("strip white space from `line`", "line.strip()"),
    ("largest element of `xs`", "max(xs)"),
    ("smallest element of `xs`", "min(xs)"),
]


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 32 training, 8 validation and 8 test samples."""
    folder = tmp_path_factory.mktemp("data") / "small"
    for split, repeats in (("train", 4), ("validation", 1), ("test", 1)):
        rows: list[object] = [{"nl": nl, "cmd": cmd} for _ in range(repeats) for nl, cmd in PAIRS]
        write_jsonl(folder / f"{split}.jsonl", rows)
    return folder
