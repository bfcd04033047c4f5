"""All outputs show the same interval for the same cells."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from peft_study.cli.results_table import print_results
from peft_study.report.groups import groups
from peft_study.report.page.contents import Contents
from peft_study.report.read.cells import row_of
from peft_study.report.read.rows import load
from peft_study.report.study import Study
from peft_study.report.tables.formats import FORMATS
from peft_study.results.schema import RunResult
from peft_study.tracking.console import print_closing_table
from peft_study.tracking.names import result_of, summary_values
from tests.report_cells import drawing_of, result, study, table_of

SHARES = {1: 0.28, 2: 0.32, 3: 0.31}


@pytest.fixture(params=["recorded", "not recorded", "no hit"])
def records(request: pytest.FixtureRequest) -> list[RunResult]:
    """Three seeds of one method, one of another, on 543 samples."""
    wide = {"em@10": [0.26, 0.35]} if request.param == "recorded" else {}
    single = {"em@10": [0.05, 0.12]} if request.param == "recorded" else {}
    if request.param == "no hit":
        single = {"em@10": [0.0, 0.0]}
    share = 0.0 if request.param == "no hit" else 0.08
    return [
        *(
            result("codellama-7b", "lora", "conala", seed, metrics={"em@10": em}, intervals=wide, test_samples=543)
            for seed, em in SHARES.items()
        ),
        result("codellama-7b", "zero-shot", "conala", metrics={"em@10": share}, intervals=single, test_samples=543),
    ]


def test_tables_figures_page_console_and_wandb_show_one_interval(records: list[RunResult], tmp_path: Path) -> None:
    frame = load([study(tmp_path, *records)]).frame
    expected = {
        group.method: (100 * score.low, 100 * score.high)
        for group in groups(frame)
        if (score := group.score("em@10")) is not None and score.low is not None and score.high is not None
    }
    assert expected.keys() == {"lora", "zero-shot"}
    assert all(high - low > 0.5 for low, high in expected.values())

    overview = table_of("overview", frame)
    place = overview.columns.index("EM@10")
    titles = {"LoRA": "lora", "Zero-shot": "zero-shot"}
    cells = {titles[row[2].text]: row[place] for row in overview.cells}
    for name, cell in cells.items():
        assert (cell.low, cell.high) == pytest.approx(expected[name])
    shown = ["{:.2f}, {:.2f}".format(*expected["lora"])]
    for _, write in FORMATS.values():
        text = write(overview)
        plain = [f"{end:.10g}" for end in expected["lora"]]
        assert shown[0] in text or all(end in text for end in plain)

    drawn = [
        (series.low[place], series.high[place])
        for name in ("figure3", "figure4", "figure5", "quality-memory")
        for panel in drawing_of(name, frame).panels
        for series in panel.series
        for place in range(len(series.low))
    ]
    assert any(ends == pytest.approx(expected["lora"], abs=1e-5) for ends in drawn)
    for ends in drawn:
        assert any(ends == pytest.approx(pair, abs=1e-5) for pair in expected.values()), ends

    page = json.loads(json.dumps(Contents("t", "s", "now", "us", [], Study(frame)).to_json()))
    lines = page["replicates"]["lines"]
    methods = frame["method"].tolist()
    seeds = page["replicates"]["intervals"][str(lines[methods.index("lora")])]["em@10"]
    assert [100 * end for end in seeds] == pytest.approx(expected["lora"])
    row = methods.index("zero-shot")
    alone = [100 * page["rows"]["columns"][f"em@10_{end}"]["values"][row] for end in ("low", "high")]
    assert alone == pytest.approx(expected["zero-shot"], abs=1e-3)

    stream = io.StringIO()
    print_results(records, Console(file=stream, width=120))
    for low, high in expected.values():
        assert f" {low:.0f}-{high:.0f} " in stream.getvalue()
    stream = io.StringIO()
    print_closing_table(records[-1], tmp_path, Console(file=stream, width=120))
    assert "({:.2f} to {:.2f})".format(*expected["zero-shot"]) in stream.getvalue()

    told = row_of(result_of(records[-1].config, summary_values(records[-1])), None, "wandb://lab/project")
    assert [100 * told[f"em@10_{end}"] for end in ("low", "high")] == pytest.approx(expected["zero-shot"])


def test_comparison_and_claims_rest_on_the_same_interval(records: list[RunResult], tmp_path: Path) -> None:
    """What a claim and the comparison table say of two configurations is one calculation."""
    frame = load([study(tmp_path, *records)]).frame
    evidence = Study(frame).evidence
    (lora,), (zero,) = evidence.find("lora"), evidence.find("zero-shot")

    there = evidence.compare("", [lora], [zero], "em@10")
    back = evidence.compare("", [zero], [lora], "em@10")

    assert there is not None
    assert back is not None
    assert there.low is not None
    assert there.high is not None
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert back.p_value == pytest.approx(there.p_value)
