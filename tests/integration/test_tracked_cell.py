"""Cells followed by W&B: a real offline run, read back, says what result.json says."""

import shutil
from pathlib import Path

import pytest
import wandb

from peft_study.tracking.summary import summary_of
from tests.conftest import Command
from tests.integration.test_cell import QUICK, only_cell
from tests.wandb_reader import final_summary, read_records, run_folders


@pytest.fixture(autouse=True)
def own_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A W&B without a key."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    wandb.teardown()


def test_the_summary_of_an_offline_run_equals_the_result(command: Command, small_data: Path, tmp_path: Path) -> None:
    ended = command("model=tiny-llama", f"dataset.path={small_data}", "tracking=wandb", *QUICK)

    assert ended.code == 0, ended.err
    assert ended.err.count("offline") == 1
    folder = only_cell(tmp_path / "multirun")
    result = folder.read_result()
    assert result is not None
    (run,) = run_folders(folder.path)
    records = read_records(run)
    given = summary_of(result)
    read = final_summary(records)
    assert {name: value for name, value in given.items() if value is not None} == {
        name: value for name, value in read.items() if value is not None
    }
    assert {"em@1", "em@10", "train_peak_bytes", "generate_seconds", "status"} <= read.keys()
    (begun,) = records["run"]
    assert (begun["run_group"], begun["job_type"], begun["display_name"]) == ("single", "lora", folder.path.name)


def test_a_dashboard_that_breaks_never_fails_the_cell(command: Command, small_data: Path, tmp_path: Path) -> None:
    cell = ["model=tiny-llama", "method=zero-shot", f"dataset.path={small_data}", "tracking=wandb", *QUICK]
    assert command(*cell).code == 0
    folder = only_cell(tmp_path / "multirun").path
    shutil.rmtree(folder / "wandb")
    (folder / "wandb").write_text("a file where W&B wants a folder")
    (folder / "result.json").unlink()

    ended = command(*cell)

    assert ended.code == 0
    assert "WandbTracker stopped tracking" in ended.err
