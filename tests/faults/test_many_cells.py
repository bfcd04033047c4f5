"""Stub cells through the real launcher, whose process is killed meanwhile (`benchmarks/many_cells.py` has 1,000)."""

import pytest

from benchmarks.many_cells import measure


@pytest.mark.slow
def test_every_result_is_true_and_no_cell_runs_again_after_success() -> None:
    figures = measure(cells=40, kills=2, at_once=2)

    assert figures["statuses"] == {"failed": 10, "ok": 30}
    assert [figures[name] for name in ("untrue", "started_after_success", "succeeded_twice")] == [[], [], []]
    assert figures["processes_of_the_sweep"] == 3
    # Five cells run out of memory with micro-batches of 8 and 4.
    assert figures["processes_of_cells"] >= 40 + 2 * 5
