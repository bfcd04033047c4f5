"""The command line of `python -m peft_study judge`."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from peft_study.errors import UserError
from peft_study.judging.compare import Comparator
from peft_study.sandbox.jobs import Limits

_DESCRIPTION = "Run candidate programs against the tests of their problems in a sandbox, and write the verdicts."
_DEFAULTS = Limits()


@dataclass(frozen=True)
class Arguments:
    """The command line.

    Attributes:
        problems: file of problems.
        candidates: file of candidates.
        out: file of verdicts.
        comparator: the comparator whose verdicts come first.
        workers: number of tests at once; None means one for each core.
        limits: limits of every test.
        accept_level_c: see `Pool`.
        packages: packages that programs may import; see `Pool`.
        apps_package_rules: judge every candidate a second time under the rules of `package_rules`.
        give_up_after_timeouts: see `judge`.
    """

    problems: Path
    candidates: Path
    out: Path
    comparator: Comparator
    workers: int | None
    limits: Limits
    accept_level_c: bool
    packages: tuple[str, ...]
    apps_package_rules: bool
    give_up_after_timeouts: int | None


def parse(arguments: Sequence[str] | None) -> Arguments:
    """Parse the command line.

    Args:
        arguments: what follows the name of the command; those of the process if None.

    Raises:
        SystemExit: an argument is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m peft_study judge", description=_DESCRIPTION)
    parser.add_argument("--problems", type=Path, required=True, metavar="FILE", help="JSON lines: problems with tests")
    parser.add_argument(
        "--candidates", type=Path, required=True, metavar="FILE", help="JSON lines: programs by problem"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a line of verdicts for each candidate")
    parser.add_argument(
        "--comparator",
        type=Comparator,
        choices=list(Comparator),
        default=Comparator.strict,
        help="the comparator whose verdicts come first; each line has all verdicts; default: strict",
    )
    parser.add_argument(
        "--workers", type=_count, metavar="N", help="number of tests at once; default: the number of cores"
    )
    for name, default, unit in (
        ("cpu-seconds", _DEFAULTS.cpu_seconds, "CPU time of a test"),
        ("wall-seconds", _DEFAULTS.wall_seconds, "time of a test"),
        ("memory-mb", _DEFAULTS.memory_bytes / 2**20, "memory of a test, in MiB"),
        ("output-kb", _DEFAULTS.output_bytes / 2**10, "output of a test, in KiB"),
    ):
        parser.add_argument(
            f"--{name}", type=_amount, default=default, metavar="X", help=f"{unit}; default: {default:g}"
        )
    parser.add_argument(
        "--give-up-after-timeouts",
        type=_count,
        metavar="N",
        help="after N timeouts of a candidate, count its tests that have not started as timeouts; default: run all",
    )
    parser.add_argument(
        "--package",
        action="append",
        default=[],
        metavar="NAME",
        help="an installed package that programs may import, such as numpy; default: only the standard library",
    )
    parser.add_argument(
        "--apps-package-rules",
        action="store_true",
        help="judge a second time by the rules of the study's package, into OUT with .package before its suffix",
    )
    parser.add_argument(
        "--accept-level-c", action="store_true", help="also run if this machine can limit resources only"
    )
    values = parser.parse_args(arguments)
    try:
        limits = replace(
            _DEFAULTS,
            cpu_seconds=values.cpu_seconds,
            wall_seconds=values.wall_seconds,
            memory_bytes=max(1, round(values.memory_mb * 2**20)),
            output_bytes=max(1, round(values.output_kb * 2**10)),
        )
    except (UserError, OverflowError) as error:
        parser.error(f"{error.what if isinstance(error, UserError) else error} (--cpu-seconds to --output-kb)")
    # Sorted, because the packages are part of a verdict's key.
    packages = tuple(sorted(set(values.package)))
    names = {spec.name for spec in fields(Arguments)} - {"limits", "packages"}
    return Arguments(**{name: getattr(values, name) for name in names}, limits=limits, packages=packages)


def _count(text: str) -> int:
    return int(_checked(text, int, lambda value: value >= 1, "an integer of at least 1"))


def _amount(text: str) -> float:
    return _checked(text, float, lambda value: 0 < value < math.inf, "a number above 0")


def _checked(text: str, kind: Callable[[str], float], holds: Callable[[float], bool], what: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not holds(value):
        raise argparse.ArgumentTypeError(f"must be {what}, got {text!r}")
    return value
