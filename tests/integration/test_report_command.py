"""`python -m peft_study report`: from folders to a report, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_study.cli.report import main
from peft_study.results.schema import Status
from tests.report_cells import HOSTILE, prediction, write_cell

Report = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _from_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def study(folder: Path, seeds: int = 2, em: float = 0.5) -> Path:
    for method in ("lora", "ia3"):
        for seed in range(1, seeds + 1):
            samples = [prediction(f"t-{place}", ["xs.sort()" if place % 2 else "a", "b"]) for place in range(6)]
            write_cell(folder, method, seed, em=em, predictions=samples)
    return folder


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}


def run(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "peft_study", "report", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def test_a_report_of_two_folders_against_the_paper(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study(tmp_path / "multirun" / "one")
    write_cell(tmp_path / "multirun" / "two", "full", status=Status.oom, reason=HOSTILE, em=None)
    (tmp_path / "multirun" / "two" / "broken").mkdir()
    (tmp_path / "multirun" / "two" / "broken" / "result.json").write_text("{")

    code = main(["multirun/one", "multirun/two", "--out", "there/report", "--against", "paper"])

    printed = capfd.readouterr()
    out = tmp_path / "there" / "report"
    assert code == 0
    assert printed.out == f"report: {out / 'index.html'}\n"
    assert "5 cells read: 4 ok, 1 oom" in printed.err
    assert "multirun/two/broken/result.json: invalid JSON" in printed.err
    assert "samples of 4 of 5 cells" in printed.err
    written = json.loads((out / "report.json").read_text())
    assert written["sources"] == ["multirun/one", "multirun/two"]
    assert written["against"] == "paper"
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {*written["files"], "report.json"}
    for form in ("md", "tex", "csv"):
        assert f"tables/table3.{form}" in found
    assert {"index.html", "rows.csv", "claims.json", "figures/quality-memory.pdf", "explorer/0.js"} <= found
    assert len(json.loads((out / "claims.json").read_text())) == 10


@pytest.mark.parametrize("here", [".", "elsewhere"])
def test_a_report_tells_no_path_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], here: str
) -> None:
    one = study(tmp_path / "multirun" / "one", seeds=1)
    # Cells that could not be read, that occur twice, whose samples cannot be read, and that say where they failed.
    (one / "broken").mkdir()
    (one / "broken" / "result.json").write_text("{")
    (one / "folder" / "result.json").mkdir(parents=True)
    (one / "cell-1" / "predictions.jsonl").write_text("{\n")
    write_cell(tmp_path / "multirun" / "two", "lora")
    write_cell(tmp_path / "multirun" / "two", "full", status=Status.failed, reason=f"no file {tmp_path}/data/a.jsonl")
    (tmp_path / here).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / here)
    is_above = here == "."
    sources = [str(tmp_path / "multirun" / name) for name in ("one", "two")]

    assert main([*sources, "--against", sources[1], "--out", str(tmp_path / "report")]) == 0

    # The person at the terminal is told where things are.
    assert str(one / "broken" / "result.json") in capfd.readouterr().err
    files = [
        path for path in (tmp_path / "report").rglob("*") if path.is_file() and path.suffix not in {".png", ".pdf"}
    ]
    assert {"rows.csv", "report.json", "index.html"} <= {path.name for path in files}
    assert [path.name for path in files if str(tmp_path) in path.read_text()] == []
    page = (tmp_path / "report" / "index.html").read_text()
    # Three dots and the last two names, as JSON without letters beyond ASCII.
    assert ("multirun/one/cell-1" if is_above else "\\u2026/one/cell-1") in page
    assert ("multirun/one/folder/result.json" if is_above else "\\u2026/folder/result.json") in page
    assert (",multirun/two/cell-1," if is_above else ",…/two/cell-1,") in (tmp_path / "report" / "rows.csv").read_text()


def test_no_cell_is_a_report_that_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "multirun").mkdir()

    assert main(["multirun"]) == 0

    printed = capfd.readouterr().err
    assert "0 cells read" in printed
    assert "no result.json in this folder" in printed
    assert (tmp_path / "report" / "index.html").is_file()


def test_a_study_against_another(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study(tmp_path / "one", em=0.4)
    study(tmp_path / "two", em=0.6)
    (tmp_path / "two" / "broken").mkdir()
    (tmp_path / "two" / "broken" / "result.json").write_text("{")

    assert main(["one", "--against", "two", "--no-samples"]) == 0

    # A cell that is missing on the other side looks like a configuration that was not run.
    assert "two/broken/result.json: invalid JSON" in capfd.readouterr().err
    assert "two/broken/result.json" in (tmp_path / "report" / "index.html").read_text()
    assert not (tmp_path / "report" / "explorer").exists()
    assert any("compar" in name.name for name in (tmp_path / "report" / "tables").iterdir())


def test_a_problem_of_both_studies_is_listed_once(tmp_path: Path) -> None:
    study(tmp_path / "all" / "one", seeds=1)
    (tmp_path / "all" / "one" / "broken").mkdir()
    (tmp_path / "all" / "one" / "broken" / "result.json").write_text("{")

    assert main(["all", "--against", "all/one", "--no-samples"]) == 0

    assert (tmp_path / "report" / "index.html").read_text().count("one/broken/result.json") == 1


def test_a_study_of_damaged_cells_alone_is_no_baseline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study(tmp_path / "one", seeds=1)
    (tmp_path / "two" / "broken").mkdir(parents=True)
    (tmp_path / "two" / "broken" / "result.json").write_text("{")

    assert main(["one", "--against", "two"]) == 2

    printed = capfd.readouterr().err
    assert "two/broken/result.json: invalid JSON" in printed
    assert "--against must" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no such folder"),
        (["one", "--against", "nowhere"], "no such folder"),
        (["one", "--against", "empty"], "--against must"),
        (["one", "--out", "one"], "which no report wrote"),
        (["one", "--out", "file/report"], "cannot be written"),
    ],
)
def test_what_a_person_can_mend_ends_with_two(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    study(tmp_path / "one", seeds=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")

    assert main(arguments) == 2

    printed = capfd.readouterr().err
    assert words in printed
    assert "where:" in printed
    assert "try:" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "report").exists()


def test_damaged_predictions_are_listed_and_stop_nothing(tmp_path: Path) -> None:
    study(tmp_path / "one", seeds=1)
    (tmp_path / "one" / "cell-0" / "predictions.jsonl").write_text('{"id": "t-0", "candidates": 3}\n')

    assert main(["one"]) == 0

    assert "samples cannot be read" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_the_earlier_report(tmp_path: Path, number: signal.Signals, code: int) -> None:
    study(tmp_path / "one", seeds=1)
    assert main(["one", "--no-samples"]) == 0
    before = (tmp_path / "report" / "index.html").read_bytes()
    study(tmp_path / "two", seeds=10)
    process = run("two")
    begun = tmp_path / f".report.{process.pid}"
    deadline = time.monotonic() + 60
    while not (begun / "tables").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)

    process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert process.returncode == code
    assert "no report was written" in said
    assert "Traceback" not in said
    assert (tmp_path / "report" / "index.html").read_bytes() == before
    assert not begun.exists()


def test_it_needs_no_torch(tmp_path: Path) -> None:
    study(tmp_path / "one", seeds=1)
    script = (
        "import sys; from peft_study.cli.report import main; code = main(['one', '--against', 'paper']); "
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'wandb', 'bitsandbytes'} & sys.modules.keys(); "
        "sys.exit(str(heavy) if heavy else code)"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT
    )

    assert ended.returncode == 0, ended.stderr
