"""Whether a cell's scores need programs to run. A cell without tests never loads the sandbox."""

from collections.abc import Sequence
from dataclasses import replace

from peft_study.config.schema import ExecutionChoice, ScoringConfig
from peft_study.data.samples import Sample


def runs_tests(samples: Sequence[Sample], settings: ScoringConfig) -> bool:
    """Return whether any sample has tests and the settings allow programs to run."""
    return settings.execution is not ExecutionChoice.never and any(
        sample.tests is not None or sample.assertions or sample.checks for sample in samples
    )


def needs_sandbox(samples: Sequence[Sample], settings: ScoringConfig) -> bool:
    """Return whether scoring fails without a sandbox: only tests can score the samples, or the user requires a run."""
    if settings.execution is ExecutionChoice.never:
        return False
    only_tests = any(sample.tests is not None or sample.assertions for sample in samples)
    return only_tests or settings.execution is ExecutionChoice.always


def check_sandbox(samples: Sequence[Sample], settings: ScoringConfig) -> None:
    """Refuse samples that this machine cannot score, before training starts.

    Args:
        samples: the test split.
        settings: the choice of execution and the limits.

    Raises:
        UserError: a sandbox is needed, and this machine has none.
    """
    if needs_sandbox(samples, settings):
        # Imported late: judging and sandbox are more than twenty modules, and most cells need none of them.
        from peft_study.judging.package_rules import PACKAGES
        from peft_study.scoring.running import open_pool

        # The package's rules run in a second pool, which can fail alone: at level B its user must reach the packages.
        rules = PACKAGES if settings.apps_package_rules else ()
        with open_pool(replace(settings, packages=[*dict.fromkeys((*settings.packages, *rules))]), workers=1):
            pass
