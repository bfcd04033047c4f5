"""How candidates are scored."""

from dataclasses import dataclass, field
from enum import StrEnum


class ExecutionChoice(StrEnum):
    """Whether generated code is run against tests."""

    auto = "auto"
    always = "always"
    never = "never"


@dataclass
class ScoringConfig:
    """How candidates are scored. `python -m peft_study score` scores a finished cell again with other settings.

    Attributes:
        execution: whether candidates are run against tests. `auto` runs them if the data has tests; without a sandbox
            it scores by the references only, if there are any.
        cpu_seconds: CPU time of one test.
        wall_seconds: wall-clock time of one test.
        memory_mb: memory of one test in MiB (2^20 bytes), as for `python -m peft_study judge`.
        output_kb: output of one test in KiB (2^10 bytes).
        workers: tests at once; null is one per core.
        accept_level_c: run candidates even if only resource limits contain them.
        resamples: bootstrap samples for intervals; 0 leaves the intervals out.
        packages: installed packages that candidates may import besides the standard library; numpy is allowed.
        apps_package_rules: also score outputs by the checker that the study's package used for APPS, as
            `apps_package_*`.
    """

    execution: ExecutionChoice = ExecutionChoice.auto
    cpu_seconds: float = 4.0  # the checker of the study's package gives a test 4 s as well
    wall_seconds: float = 8.0
    memory_mb: int = 512
    output_kb: int = 4096
    workers: int | None = None
    accept_level_c: bool = False  # level C keeps a program from neither files nor the network (docs/trust.md)
    resamples: int = 10_000
    packages: list[str] = field(default_factory=list)
    apps_package_rules: bool = False
