"""Reads the command line of a sweep outside of a Hydra application, for `plan` and `fetch`."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from peft_study.config.compat import add_config_folder
from peft_study.config.compose import CONFIG_ERRORS, conf_folder, explain, register
from peft_study.errors import UserError
from peft_study.sweep.plan import PlannedCell, expand_sweep, plan_sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a parser accept the arguments of `python -m peft_study`, so that the user can repeat a command unchanged.

    Args:
        parser: gets `overrides`, `config_dir`, and `--multirun`, which has no effect here.
    """
    parser.add_argument("overrides", nargs="*", help="as for python -m peft_study: +study=table3 model=codellama-7b")
    parser.add_argument("--config-dir", "-cd", type=Path, help="a folder with more studies or other options")
    parser.add_argument(
        "--multirun", "-m", action="store_true", help="accepted and ignored; several values always sweep"
    )


def plan_command(arguments: Sequence[str], config_dir: Path | None = None) -> list[PlannedCell]:
    """Plan the cells that `python -m peft_study --multirun ARGUMENTS` would run.

    Args:
        arguments: the command line's overrides.
        config_dir: another folder of config groups.

    Raises:
        UserError: an override does not compose, or the study has no such cell.
    """
    with _master(arguments, config_dir) as (master, loader):
        return plan_sweep(arguments, master, loader)


def expand_command(arguments: Sequence[str], config_dir: Path | None = None) -> list[tuple[str, ...]]:
    """Expand the same command line into the overrides of its cells, without composing them; see `expand_sweep`."""
    with _master(arguments, config_dir) as (master, loader):
        return expand_sweep(arguments, master, loader)


@contextmanager
def _master(arguments: Sequence[str], config_dir: Path | None) -> Iterator[tuple[DictConfig, ConfigLoader]]:
    """Yield the config of the sweep as a whole, and Hydra's config loader."""
    register()
    if config_dir is not None and not config_dir.is_dir():
        what = f"--config-dir must be a folder, got {config_dir}"
        raise UserError(what, where=f"--config-dir {config_dir}", hint="the folder that holds study/")
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            if config_dir is not None:
                add_config_folder(loader, config_dir)
            yield loader.load_configuration("config", list(arguments), RunMode.MULTIRUN), loader
    except (ValueError, *CONFIG_ERRORS) as error:
        raise explain(error) from error
