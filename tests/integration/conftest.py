"""Fixtures of several modules."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wandb_server import WandbServer
from tests.wandb_server.isolated import isolated


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A stand-in for W&B's server, which alone W&B knows during the test."""
    with WandbServer() as listening, isolated(listening, tmp_path, monkeypatch):
        yield listening
