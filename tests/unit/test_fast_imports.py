"""Imports of a cell's libraries: functions that torch compiles are compiled at their first call."""

import gc
import json
import subprocess
import sys

import pytest
import torch

from peft_study.cell.environment import fast_imports

COMPILER = "torch._inductor.compile_fx"


def test_a_function_is_compiled_when_it_is_called() -> None:
    compiled: list[torch.fx.GraphModule] = []

    def backend(module: torch.fx.GraphModule, _inputs: object) -> torch.fx.GraphModule:
        compiled.append(module)
        return module

    real = torch.compile
    with fast_imports():

        @torch.compile(backend=backend)
        def double(values: torch.Tensor) -> torch.Tensor:
            """Twice the values."""
            return values * 2

        triple = torch.compile(lambda values: values * 3, backend=backend)

    assert torch.compile is real
    assert not compiled
    assert double.__name__ == "double"
    ones = torch.ones(3)
    assert torch.equal(double(ones), 2 * ones)
    assert len(compiled) == 1
    assert torch.equal(double(3 * ones), 6 * ones)
    assert len(compiled) == 1
    assert torch.equal(triple(ones), 3 * ones)
    assert len(compiled) == 2


def test_collections_go_on_afterwards_and_after_an_error() -> None:
    real, enabled = torch.compile, gc.isenabled()
    try:
        with fast_imports():
            raise ModuleNotFoundError("a library")
    except ModuleNotFoundError:
        pass
    assert torch.compile is real
    assert gc.isenabled() == enabled


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a fresh process that scored an answer as a cell without tests does."""
    code = """
import json, sys
from peft_study.cell.environment import fast_imports
with fast_imports():
    import peft_study.cell.run
from peft_study.config.schema import ScoringConfig
from peft_study.data.samples import Sample
from peft_study.scoring.needs import check_sandbox
from peft_study.scoring.score import Answers, score
samples = [Sample("a", "do it", "print(1)")]
check_sandbox(samples, ScoringConfig())
score(Answers(samples, ["do it"], [["print(1)"]], False), ScoringConfig())
print(json.dumps(list(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(ended.stdout.splitlines()[-1]))


def test_a_cell_does_not_load_the_compiler(loaded: set[str]) -> None:
    assert "bitsandbytes.backends.default.ops" in loaded
    assert COMPILER not in loaded


def test_a_cell_without_tests_loads_no_sandbox(loaded: set[str]) -> None:
    number_of_threads = {"peft_study.sandbox.cores", "peft_study.sandbox.cgroups"}
    rooms = {name for name in loaded if name.startswith(("peft_study.sandbox.", "peft_study.judging."))}
    assert rooms <= number_of_threads
