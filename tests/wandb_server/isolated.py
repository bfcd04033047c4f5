"""Keeps W&B to the stand-in during a test."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import wandb

from peft_study.tracking import wandb as tracking
from peft_study.tracking.wandb_run.service import stop_service
from tests.wandb_server.server import WandbServer

KEY = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def isolated(server: WandbServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A W&B that knows the stand-in alone, and ends with the test.

    Args:
        server: the stand-in.
        folder: gets the home folder of the test.
        monkeypatch: of the test.
    """
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_SERVICE", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    (folder / "home").mkdir()
    monkeypatch.setattr(tracking, "_warned", set())
    monkeypatch.setattr(tracking, "_unreachable", set())
    monkeypatch.setattr(sys, "exit", sys.exit)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    wandb.teardown()
    try:
        yield
    finally:
        stop_service()
