"""A sweep's command line outside of a Hydra application: `plan` and `fetch` take it as `peft_study` does."""

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
    """Let a parser take what stands behind `python -m peft_study`, so that a command is repeated word for word.

    Args:
        parser: gets `overrides`, `config_dir`, and `--multirun`, which changes nothing here.
    """
    parser.add_argument("overrides", nargs="*", help="as for python -m peft_study: +study=table3 model=codellama-7b")
    parser.add_argument("--config-dir", "-cd", type=Path, help="a folder with studies or other options of your own")
    parser.add_argument("--multirun", "-m", action="store_true", help="understood; several values are a sweep anyway")


def plan_command(arguments: Sequence[str], config_dir: Path | None = None) -> list[PlannedCell]:
    """Plan what `python -m peft_study --multirun ARGUMENTS` would run.

    Args:
        arguments: the command line's overrides.
        config_dir: a further folder of config groups.

    Raises:
        UserError: an override does not compose, or there is no such cell.
    """
    with _master(arguments, config_dir) as (master, loader):
        return plan_sweep(arguments, master, loader)


def expand_command(arguments: Sequence[str], config_dir: Path | None = None) -> list[tuple[str, ...]]:
    """Likewise, but only the overrides of the cells: see `expand_sweep`."""
    with _master(arguments, config_dir) as (master, loader):
        return expand_sweep(arguments, master, loader)


@contextmanager
def _master(arguments: Sequence[str], config_dir: Path | None) -> Iterator[tuple[DictConfig, ConfigLoader]]:
    """The config of the sweep as a whole, and Hydra's loader."""
    register()
    if config_dir is not None and not config_dir.is_dir():
        raise UserError("no such folder", where=f"--config-dir {config_dir}", hint="the folder that holds study/")
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            if config_dir is not None:
                add_config_folder(loader, config_dir)
            yield loader.load_configuration("config", list(arguments), RunMode.MULTIRUN), loader
    except (ValueError, *CONFIG_ERRORS) as error:
        raise explain(error) from error
