"""Private interfaces of Hydra 1.3.2 and OmegaConf 2.3.0: pyproject.toml keeps both below their next minor version."""

import argparse
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig


def cache_yaml_files(loader: ConfigLoader) -> None:
    """Let a loader read each YAML once. Hydra reads a group's YAML again for every cell, which takes most of a plan."""
    loader.repository = CachingConfigRepository(loader.repository)  # type: ignore[attr-defined]


def add_config_folder(loader: ConfigLoader, folder: Path) -> None:
    """Let a loader search a further folder first, as `--config-dir` of Hydra's own command line does."""
    search_path = loader.get_search_path()
    search_path.prepend("command-line", f"file://{folder.absolute()}", anchor="schema")
    loader.repository.initialize_sources(search_path)  # type: ignore[attr-defined]


def raw_node(config: DictConfig, name: str) -> Any:
    """A node of a config with its type. Public access resolves interpolations and raises for a missing value."""
    return config._get_node(name)


@contextmanager
def intermixed_overrides() -> Iterator[None]:
    """Let Hydra's command line take overrides on both sides of an option, as in `a=1 --multirun b=2`.

    Hydra takes overrides up to the first option behind them, and refuses those that follow.
    """
    module = importlib.import_module("hydra.main")

    def intermixed_parser() -> argparse.ArgumentParser:
        parser = get_args_parser()
        parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]
        return parser

    module.get_args_parser = intermixed_parser  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.get_args_parser = get_args_parser  # type: ignore[attr-defined]
