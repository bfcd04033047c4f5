"""Commands that are refused, interrupted or run twice take nothing away from what is there."""

import itertools
import os
import shutil
import time
from pathlib import Path

import pytest

from peft_study.cell.recorder import Recorder
from peft_study.cell.run import CellRun
from peft_study.config.compose import compose_cell
from peft_study.config.naming import name_of
from peft_study.errors import UserError
from peft_study.models.tiny import FOLDER
from peft_study.results.schema import Status, Work
from peft_study.results.store import CellFolder
from peft_study.tracking.console import ConsoleTracker
from peft_study.training import resume
from tests.conftest import Command
from tests.integration.test_cell import BRIEF_ANSWERS, QUICK, only_cell

ZERO_SHOT = ["model=tiny-llama", "method=zero-shot", *QUICK]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_refused_command_leaves_a_cell_that_another_process_runs(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    cell = [*ZERO_SHOT, f"dataset.path={small_data}"]
    folder = CellFolder(tmp_path / "multirun" / "single" / name_of(compose_cell(cell)))

    with folder.locked():
        refused, busy = command(*cell, "hardware.threads=0"), command(*cell)

    assert (refused.code, busy.code) == (2, 2)
    assert "another process runs this cell" in busy.err
    assert [entry.name for entry in folder.path.iterdir()] == [".lock"]  # the lease ended with the holder


@pytest.mark.parametrize("wrong", ["training.batch_size=0", "dataset.path=nowhere"])
def test_a_refused_command_leaves_a_persons_own_folder(command: Command, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "mine" / "single").mkdir(parents=True)

    assert command("model=tiny-llama", "output_dir=mine", wrong).code == 2

    assert list((tmp_path / "mine").iterdir()) == [tmp_path / "mine" / "single"]
    assert list((tmp_path / "mine" / "single").iterdir()) == []


def test_a_refused_cell_leaves_a_cell_that_was_made_meanwhile(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "multirun" / "single" / "other"

    def load(_: CellRun) -> None:
        other.mkdir()
        raise UserError("the data cannot be read")

    monkeypatch.setattr(CellRun, "load", load)

    ended = command(*ZERO_SHOT)

    assert ended.code == 2
    assert "the data cannot be read" in ended.err
    assert "cannot be written" not in ended.err
    assert list(other.parent.iterdir()) == [other]


def test_attempts_within_a_second_have_different_starts(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A sweep would take the result of the second one for an earlier result that stays.
    def run(_: CellRun) -> None:
        raise MemoryError

    monkeypatch.setattr(CellRun, "load", lambda _: None)
    monkeypatch.setattr(CellRun, "run", run)
    starts: list[str] = []
    for _ in range(3):
        assert command(*ZERO_SHOT, "retry=all").code == 1
        result = CellFolder(next(tmp_path.glob("multirun/single/*"))).read_result()
        assert result is not None
        assert result.started_at is not None
        assert result.finished_at is not None
        assert result.started_at <= result.finished_at
        starts.append(result.started_at)
        assert str(result.started_at) <= str(result.finished_at)

    assert len(set(starts)) == len(starts)


def test_an_interrupt_while_a_rerun_loads_leaves_the_result(
    command: Command, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = [*ZERO_SHOT, f"dataset.path={small_data}"]
    assert command(*cell).code == 0
    folder = only_cell(tmp_path / "multirun")
    before = (folder.path / "result.json").read_bytes()
    monkeypatch.setattr(CellRun, "load", interrupt)

    assert command(*cell, "rerun=true").code == 130

    assert (folder.path / "result.json").read_bytes() == before
    assert folder.read_predictions()


def test_a_resumed_generation_records_how_all_candidates_were_decoded(
    command: Command, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = [*ZERO_SHOT, f"dataset.path={small_data}", "generation.batch_size=1"]
    assert command(*cell).code == 0
    folder = only_cell(tmp_path / "multirun")
    whole = folder.read_result()
    assert whole is not None
    assert whole.decoding["path"] == "shared"
    record = Recorder.batch

    for batches in (2, whole.data["sizes"]["test"]):

        def interrupted(recorder: Recorder, prompts: int, work: Work, last: int = batches) -> None:
            record(recorder, prompts, work)
            if prompts == last:
                interrupt()

        with monkeypatch.context() as patched:
            patched.setattr(Recorder, "batch", interrupted)
            assert command(*cell, "rerun=true").code == 130
        assert command(*cell).code == 0

        resumed = folder.read_result()
        assert resumed is not None
        # The longest prompts come first, so the bytes are those of the first part.
        assert resumed.decoding == whole.decoding


def test_an_interrupt_while_the_trackers_finish_leaves_a_finished_cell(
    command: Command, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = [*ZERO_SHOT, f"dataset.path={small_data}"]
    with monkeypatch.context() as patched:
        patched.setattr(ConsoleTracker, "finish", interrupt)
        assert command(*cell).code == 130

    result = only_cell(tmp_path / "multirun").read_result()
    assert result is not None
    assert result.status is Status.ok
    assert "done before" in command(*cell).err


def test_a_result_that_cannot_be_read_is_left_alone(command: Command, small_data: Path, tmp_path: Path) -> None:
    contents = dict(enumerate(["[]", "null", '"x"', '{"schema_version": 99}', "{", '{"schema_version": 1}']))
    cell = [*ZERO_SHOT, f"dataset.path={small_data}"]
    files = {
        seed: CellFolder(tmp_path / "multirun" / "single" / name_of(compose_cell([*cell, f"seed={seed}"]))).path
        / "result.json"
        for seed in contents
    }
    for seed, content in contents.items():
        files[seed].write_text(content)

    alone = [command(*cell, f"seed={seed}") for seed in contents]
    sweep = command("--multirun", *cell, f"seed={','.join(map(str, contents))}")

    for ended in (*alone, sweep):
        assert ended.code == 2
        assert "Traceback" not in ended.err
        assert "rerun=true" in ended.err
    refused = [line for line in sweep.err.splitlines() if "its result cannot be read" in line]
    assert all(any(f"_s{seed}-" in line for line in refused) for seed in contents)
    assert {seed: file.read_text() for seed, file in files.items()} == contents


def test_a_damaged_checkpoint_is_passed_over(command: Command, small_data: Path, tmp_path: Path) -> None:
    cell = ["model=tiny-llama", f"dataset.path={small_data}", *QUICK]
    folder = CellFolder(tmp_path / "multirun" / "single" / name_of(compose_cell(cell)))
    damaged = folder.path / "checkpoints" / "checkpoint-2"
    damaged.mkdir(parents=True)
    (damaged / "trainer_state.json").write_text("garbage")
    (damaged / "complete").write_text('{"trainer_state.json": 100}')
    (folder.path / "checkpoints" / "checkpoint-9").write_text("a file")
    (folder.path / "metrics.jsonl").write_text('{"loss": 1}\n{"step": 1')

    assert command(*cell).code == 0

    steps = [row["step"] for row in folder.read_steps()]
    assert steps[0] == 0
    assert max(steps) == 4


def test_a_clock_that_was_set_back_costs_no_checkpoint(
    command: Command, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = itertools.count(10, -1)
    mark = resume.mark_complete

    def mark_with_clock_set_back(checkpoint: Path) -> None:
        mark(checkpoint)
        written = time.time() + 86_400 * next(days)
        os.utime(checkpoint, (written, written))

    monkeypatch.setattr(resume, "mark_complete", mark_with_clock_set_back)
    # The loss rises after the first step, so that the newest checkpoint is not the best one as well.
    rising = ["training.epochs=2", "training.evaluations_per_epoch=4", "method.learning_rate=1", *BRIEF_ANSWERS]

    ended = command("model=tiny-llama", f"dataset.path={small_data}", *QUICK, *rising)

    assert ended.code == 0, ended.err
    result = only_cell(tmp_path / "multirun").read_result()
    assert result is not None
    assert result.training["best_step"] == 1


def test_an_output_folder_that_is_a_file_is_refused(command: Command, small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    ended = command(*ZERO_SHOT, f"dataset.path={small_data}", "output_dir=file")

    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_models_own_taste_in_decoding_has_no_say(command: Command, small_data: Path, tmp_path: Path) -> None:
    predictions = []
    for name, taste in (("plain", "{}"), ("odd", '{"repetition_penalty": 5.0, "no_repeat_ngram_size": 2}')):
        source = shutil.copytree(FOLDER / "tiny-llama", tmp_path / name)
        (source / "generation_config.json").write_text(taste)
        ended = command(*ZERO_SHOT, f"model.source={source}", f"dataset.path={small_data}", f"output_dir=of-{name}")
        assert ended.code == 0, ended.err
        predictions.append((only_cell(tmp_path / f"of-{name}").path / "predictions.jsonl").read_bytes())

    assert predictions[0] == predictions[1]


def test_local_weights_are_identified_by_content_not_by_place(tmp_path: Path) -> None:
    here = shutil.copytree(FOLDER / "tiny-llama", tmp_path / "here")
    there = shutil.copytree(here, tmp_path / "there")
    names = [name_of(compose_cell(["model=tiny-llama", f"model.source={folder}"])) for folder in (here, there)]
    weights = here / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    changed[len(changed) // 2] ^= 1
    weights.write_bytes(changed)

    assert names[0] == names[1]
    assert name_of(compose_cell(["model=tiny-llama", f"model.source={here}"])) != names[0]
    assert name_of(compose_cell(["model=tiny-llama"])) == names[0]


def test_a_secret_in_a_setting_reaches_no_file(command: Command, small_data: Path, tmp_path: Path) -> None:
    secret = "hf_plantedplantedplanted"

    assert command(*ZERO_SHOT, f"dataset.path={small_data}", f"tracking.entity={secret}").code == 0

    assert files_with(secret, tmp_path) == []


def test_a_secret_in_a_setting_that_a_reason_quotes_reaches_no_file(command: Command, tmp_path: Path) -> None:
    settings = ("dataset.path='https://a-user:planted@host/data'", "model.revision='https://host/?token=planted'")
    for setting in settings:
        sweep = ("--multirun", *ZERO_SHOT, "seed=1,2", "tracking=[wandb,jsonl]", f"study.name=s{len(setting)}")
        ended = command(*sweep, setting)
        assert ended.code != 0
        assert "planted" not in ended.out + ended.err

    assert len(list(tmp_path.rglob("result.json"))) == 4
    assert files_with("planted", tmp_path) == []


def files_with(text: str, folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]
