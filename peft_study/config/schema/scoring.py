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
    """How candidates are scored. It decides nothing that cannot be decided again: `python -m peft_study score`.

    Attributes:
        execution: when candidates are run against tests; `auto` does where the data has tests, and goes without where
            this machine has no sandbox and references are there to score by.
        cpu_seconds: CPU time of one test.
        wall_seconds: wall-clock time of one test.
        memory_mb: memory of one test, in MiB (2^20 bytes), as for `python -m peft_study judge`.
        output_kb: output of one test, in KiB (2^10 bytes), likewise.
        workers: tests at once; null is one a core.
        accept_level_c: run candidates even where nothing but resource limits contains them.
        resamples: draws of the bootstrap for intervals; 0 leaves them out.
        packages: installed packages that candidates may import beside the standard library; numpy is allowed.
        apps_package_rules: score outputs a second time under the rules of the checker that the study's package used
            for APPS, as `apps_package_*`.
    """

    execution: ExecutionChoice = ExecutionChoice.auto
    cpu_seconds: float = 4.0
    wall_seconds: float = 8.0
    memory_mb: int = 512
    output_kb: int = 4096
    workers: int | None = None
    accept_level_c: bool = False
    resamples: int = 10_000
    packages: list[str] = field(default_factory=list)
    apps_package_rules: bool = False
