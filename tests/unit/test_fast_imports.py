"""Imports of a cell's libraries: functions that torch compiles are compiled at their first call."""

import gc
import subprocess
import sys

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


def test_a_cell_does_not_load_the_compiler() -> None:
    code = f"""
import sys
from peft_study.cell.environment import fast_imports
with fast_imports():
    import peft_study.cell.run
assert "bitsandbytes.backends.default.ops" in sys.modules
sys.exit({COMPILER!r} in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
