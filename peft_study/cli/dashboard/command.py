"""Make or update a study's workspace and report in Weights & Biases: `python -m peft_study dashboard --project P
+study=table3`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

import yaml

from peft_study.cli.dashboard.content import Content, content_of
from peft_study.console.exit import EXIT_OK, run_command
from peft_study.console.messages import print_line, spinner
from peft_study.errors import UserError
from peft_study.sweep.command import add_arguments, plan_command
from peft_study.sweep.plan import PlannedCell
from peft_study.tracking.wandb_run.service import check_project, error_reason, has_key, load_wandb, stop_service, within

TIMEOUT_SECONDS = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or update a dashboard, or print its specification or the sweep of its cells.

    Args:
        arguments: what follows the name of the command; those of the process if None.

    Returns:
        the exit code: 0 on success, 2 if the command line is wrong or the server refuses, and 128 plus the signal's
        number after an interrupt.
    """
    parser = argparse.ArgumentParser(prog="python -m peft_study dashboard", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--project", required=True, help="W&B project")
    parser.add_argument("--entity", help="W&B user or team; default: that of the account")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--dry-run", action="store_true", help="print the specification as JSON, without a network")
    shown.add_argument("--sweep", action="store_true", help="print a W&B sweep of the same cells as YAML")
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for the server; default: %(default).0f",
    )
    options = parser.parse_intermixed_args(arguments)
    return run_command(lambda: show(options), interrupted="the same command makes the rest")


def show(options: argparse.Namespace) -> int:
    """Do what the options ask for.

    Args:
        options: of the command line.

    Returns:
        the exit code.

    Raises:
        UserError: the command line is wrong or cannot be planned, a package or a key is missing, or the server refuses.
    """
    check_project(options.project)
    with spinner("composing the cells ..."):
        cells = plan_command(options.overrides, options.config_dir)
    if options.sweep:
        return _print_sweep(cells, options)
    # Imported late: `--sweep` does not need the package.
    from peft_study.cli.dashboard.specification import build, check_installed

    check_installed()
    content = content_of([planned.cell for planned in cells])
    if options.dry_run:
        specification = build(content, options.entity or "", options.project).to_json()
        sys.stdout.write(json.dumps(specification, indent=1) + "\n")
    else:
        _publish(content, options)
    return EXIT_OK


def _print_sweep(cells: Sequence[PlannedCell], options: argparse.Namespace) -> int:
    """Print a sweep as YAML, a cell a line."""
    from peft_study.cli.dashboard.sweep import sweep_of

    sweep = sweep_of(cells, options.entity, options.project, options.config_dir)
    sys.stdout.write(yaml.safe_dump(sweep, sort_keys=False, width=10_000, allow_unicode=True))
    return EXIT_OK


def _publish(content: Content, options: argparse.Namespace) -> None:
    if not options.timeout > 0:
        what = f"--timeout must be above 0, got {options.timeout}"
        raise UserError(what, where="--timeout", hint=f"--timeout {TIMEOUT_SECONDS:.0f}")
    # A shell that runs cells offline would also keep this command from the network.
    os.environ.pop("WANDB_MODE", None)
    settings = load_wandb().setup().settings
    if not has_key(settings):
        what = f"a key must be configured for {settings.base_url}"
        raise UserError(what, where="WANDB_API_KEY", hint="`wandb login` stores a key, and --dry-run needs none")
    from peft_study.cli.dashboard.publish import publish

    addresses: dict[str, str] = {}
    hint = "the same command tries again, and --dry-run prints the specification"
    try:
        with spinner(f"sending to {settings.base_url} ..."):
            within(options.timeout, lambda: addresses.update(publish(content, options.entity, options.project)))
    except TimeoutError:
        stop_service()
        what = f"W&B did not answer within {options.timeout:g} s"
        raise UserError(what, where=settings.base_url, hint=hint) from None
    # SystemExit, too: W&B's login may exit the process.
    except (Exception, SystemExit) as error:
        what = f"W&B does not take the dashboard: {error_reason(error)}"
        raise UserError(what, where=settings.base_url, hint=hint) from error
    for kind, address in addresses.items():
        print_line(f"{kind}: {address}")
