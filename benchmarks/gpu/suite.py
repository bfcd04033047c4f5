"""Run the tests that need a GPU in this process, which has imported the libraries."""

from typing import Any

import pytest

from benchmarks.gpu import record
from benchmarks.gpu.rows import Row

TRACEBACK_CHARACTERS = 2000


def run(row: Row, results: record.RowRecord) -> None:
    """Run the row's tests, and record each outcome at once.

    Warnings are not errors, because the machine may have other versions than constraints.txt.
    """
    arguments = ["-m", "gpu", "tests/gpu", "-q", "-p", "no:cacheprovider", "-W", "default", "--tb=short"]
    arguments += ["-k", row.select] if row.select else []
    with results.phase("pytest") as entry:
        watcher = _Watcher(results, entry)
        entry["exit_code"] = int(pytest.main(arguments, plugins=[watcher]))
        if watcher.failed:
            raise AssertionError(f"{watcher.failed} of {watcher.ended} tests failed")


class _Watcher:
    """Counts outcomes, and records the tracebacks of failures."""

    def __init__(self, results: record.RowRecord, entry: dict[str, Any]) -> None:
        self._results = results
        self._outcomes: dict[str, int] = {}
        self._failures: dict[str, str] = {}
        entry["outcomes"], entry["failures"] = self._outcomes, self._failures

    @property
    def failed(self) -> int:
        """Failed tests and errors of fixtures."""
        return self._outcomes.get("failed", 0)

    @property
    def ended(self) -> int:
        """All tests that have an outcome."""
        return sum(self._outcomes.values())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a phase of a test; set-up and tear-down count only if they do not pass."""
        if report.when != "call" and report.outcome == "passed":
            return
        self._outcomes[report.outcome] = self._outcomes.get(report.outcome, 0) + 1
        if report.failed:
            self._failures[report.nodeid] = report.longreprtext[-TRACEBACK_CHARACTERS:]
        self._results.write()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that cannot be collected."""
        if report.failed:
            self._outcomes["failed"] = self._outcomes.get("failed", 0) + 1
            self._failures[report.nodeid or "collection"] = report.longreprtext[-TRACEBACK_CHARACTERS:]
            self._results.write()
