"""Cells whose prompts hold training samples: what they read, what they record, and what they are called."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from peft_study.cell.encoding import CellEncoder, Prepared, template_of
from peft_study.cli import plan, score
from peft_study.cli.results_table import rows as table_rows
from peft_study.config.compose import compose_cell
from peft_study.config.examples import labelled_method
from peft_study.config.identity import plain, settings_key
from peft_study.config.naming import name_of
from peft_study.config.schema import CellConfig
from peft_study.data import loading
from peft_study.models.declared import Positions
from peft_study.models.loading import load_tokenizer
from peft_study.report import groups
from peft_study.report.read import rows
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import CellFolder
from tests.conftest import Command, write_jsonl
from tests.integration.test_cell import only_cell

QUICK = ["training.epochs=1", "dataset.max_new_tokens=8", "generation.num_beams=2", "generation.num_candidates=1"]
QUICK += ["hardware=cpu", "hardware.threads=1"]
RANDOM = ["method.examples=random", "method.num_examples=2"]
NEAREST = ["method.examples=nearest", "method.num_examples=2"]
IN_TRAINING = "method.train_with_examples=true"
RESULTS = Path(__file__).parents[2] / "docs" / "demo_results" / "demo"
PAIRS = [(f"{verb} the list `{name}`", f"{name}.{verb}()") for verb in ("sort", "reverse", "clear") for name in "abcd"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training samples. The first test sample asks what the third training sample asks, in another case."""
    folder = tmp_path_factory.mktemp("examples")
    test = [("Reverse  the list `A`", "a.reverse()"), ("sort the list `x`", "x.sort()"), ("clear it", "x.clear()")]
    for split, pairs in (("train", PAIRS), ("validation", test[1:]), ("test", test)):
        write_jsonl(folder / f"{split}.jsonl", [{"nl": nl, "cmd": cmd} for nl, cmd in pairs])
    return folder


def prompt_text(instruction: str, examples: Sequence[tuple[str, str]]) -> str:
    """The plain prompt form, written out."""
    shown = [f"### Instruction:\n{nl}\n### Response:\n{cmd}\n\n" for nl, cmd in examples]
    return "".join(shown) + f"### Instruction:\n{instruction}\n### Response:\n"


def cell_of(model: str, data: Path, *overrides: str) -> CellConfig:
    return compose_cell([f"model={model}", f"dataset.path={data}", *QUICK, *overrides])


def prepared(cell: CellConfig, positions: int | None = None) -> tuple[Prepared, dict[str, object]]:
    limit = None if positions is None else Positions(positions)
    tokenizer = load_tokenizer(cell.model)
    return CellEncoder(cell, template_of(cell), tokenizer, limit, torch.device("cpu")).prepare()


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("tiny-llama", ["method=icl", "method.num_examples=3", "method.draw=sample"]),
        ("tiny-llama", ["method=rag", "method.num_examples=3", "method.order=nearest_last"]),
        ("tiny-llama", ["method=lora", *NEAREST, IN_TRAINING]),
        ("tiny-codegen", ["method=full", *RANDOM, IN_TRAINING]),
        ("tiny-t5", ["method=ia3", *NEAREST, IN_TRAINING]),
        ("tiny-llama", ["method=prefix", *RANDOM, IN_TRAINING, "training.memory=paper"]),
        ("tiny-llama", ["method=prompt", *RANDOM, "method.draw=sample"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_cell_records_the_examples_of_each_prompt(
    command: Command, data: Path, tmp_path: Path, model: str, method: list[str]
) -> None:
    ended = command(f"model={model}", f"dataset.path={data}", *QUICK, *method)

    assert ended.code == 0, ended.err
    folder = only_cell(tmp_path / "multirun")
    result, predictions = folder.read_result(), folder.read_predictions()
    assert result is not None
    assert result.data["examples"] == {"leakage": "exclude", "equal_instructions": 1, "equal_shown": 0}
    number = 3 if "method.num_examples=3" in method else 2
    tests = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    prefix = compose_cell([f"model={model}"]).model.prompt_prefix
    for prediction, asked in zip(predictions, tests, strict=True):
        assert len(set(prediction.example_rows)) == number
        text = prefix + prompt_text(asked["nl"], [PAIRS[row] for row in prediction.example_rows])
        assert prediction.prompt.removesuffix("<eos>") == text
        retrieved = "nearest" in str(method) or "method=rag" in method
        assert len(prediction.example_similarities) == (number if retrieved else 0)
        ascending = sorted(prediction.example_similarities)
        assert prediction.example_similarities in (ascending, ascending[::-1])
    assert all(4 not in prediction.example_rows for prediction in predictions[:1])


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("choice", [RANDOM, NEAREST])
def test_training_prompts_hold_examples_if_asked_for(data: Path, method: str, choice: list[str]) -> None:
    plain_cell, at_test, in_training = (
        prepared(cell_of("tiny-llama", data, f"method={method}", *overrides))
        for overrides in ([], choice, [*choice, IN_TRAINING])
    )
    tokenizer = load_tokenizer(compose_cell(["model=tiny-llama"]).model)

    # Without the setting, training is that of the plain method.
    assert at_test[0].train == plain_cell[0].train
    assert at_test[0].validation == plain_cell[0].validation
    assert at_test[0].prompts == in_training[0].prompts != plain_cell[0].prompts
    assert "examples" not in plain_cell[1]
    answers = {prompt_text(*pair): pair for pair in ((nl, [(nl, cmd)]) for nl, cmd in PAIRS)}
    assert len(answers) == len(PAIRS)
    for (nl, cmd), without, sample in zip(PAIRS, plain_cell[0].train, in_training[0].train, strict=True):
        text = str(tokenizer.decode(list(sample.prompt)))
        assert sample.target == without.target
        assert text.endswith(prompt_text(nl, []))
        shown = [pair for pair in PAIRS if prompt_text(pair[0], [])[:-1] + "\n" + pair[1] in text]
        assert len(shown) == 2
        assert (nl, cmd) not in shown
    # The histogram of lengths describes the data, and not the examples.
    assert in_training[1]["token_lengths"] == plain_cell[1]["token_lengths"]


def test_training_prompts_fit_the_positions_with_their_answers(data: Path) -> None:
    limits = ["dataset.max_prompt_tokens=24", "dataset.max_target_tokens=12"]
    cell = cell_of("tiny-codegen", data, "method=full", "method.examples=random", "method.num_examples=8", *limits)
    cell.method.train_with_examples = True

    result, record = prepared(cell, positions=64)

    longest = max(len(sample.prompt) + len(sample.target) for sample in [*result.train, *result.validation])
    assert 40 < longest <= 64
    truncation = record["truncation"]
    assert isinstance(truncation, dict)
    assert all(truncation[split]["examples_cut"] > 0 for split in ("train", "validation", "test"))
    # What was left out of a prompt is left out of the record.
    assert all(0 < len(shown.rows) < 8 for shown in result.shown)


def test_the_limit_of_a_sample_is_without_its_examples(data: Path) -> None:
    limit = "conventions.max_sample_tokens=40"
    kept = [
        prepared(cell_of("tiny-llama", data, "method=lora", limit, *overrides))[0]
        for overrides in ([], [*RANDOM, IN_TRAINING])
    ]
    assert len(kept[0].train) == len(kept[1].train) > 0
    assert max(len(sample.prompt) for sample in kept[1].train) > 40


TRAINED = ["method=lora", *RANDOM]
VARIANTS = {
    "lora": ["method=lora"],
    "lora [random examples]": TRAINED,
    "lora [random examples, in training as well]": [*TRAINED, IN_TRAINING],
    "lora [random examples, draw=sample]": [*TRAINED, "method.draw=sample"],
    "lora [nearest examples]": ["method=lora", *NEAREST],
    "lora [nearest examples, order=nearest_last]": ["method=lora", *NEAREST, "method.order=nearest_last"],
    "icl": ["method=icl"],
    "icl [draw=sample]": ["method=icl", "method.draw=sample"],
    "rag": ["method=rag"],
    "rag [order=nearest_last]": ["method=rag", "method.order=nearest_last"],
    "rag [retriever=bm25]": ["method=rag", "method.retriever=bm25"],
    "rag [order=nearest_last, retriever=gte-small]": [
        "method=rag",
        "method.order=nearest_last",
        "method.retriever=thenlper/gte-small",
    ],
    "rag [leakage=allow]": ["method=rag", "method.leakage=allow", "dataset=conala"],
    "lora [nearest examples, retriever=minilm]": ["method=lora", *NEAREST, "method.retriever=minilm"],
}


def test_every_way_of_examples_is_a_method_of_its_own_in_tables_and_reports(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cells = {name: compose_cell(["model=tiny-llama", *overrides]) for name, overrides in VARIANTS.items()}
    assert len({name_of(cell) for cell in cells.values()}) == len(cells)
    assert len({settings_key(plain(cell)) for cell in cells.values()}) == len(cells)
    results = []
    for name, cell in cells.items():
        assert labelled_method(plain(cell)) == name
        result = RunResult(name_of(cell), "s", Status.ok, config=plain(cell), metrics={"em@1": 0.5})
        CellFolder(tmp_path / "multirun" / "s" / name_of(cell)).write_result(result)
        results.append(result)

    methods = [row.method for row in table_rows(results)]
    assert [re.sub(r" \d+", "", method) for method in methods] == list(cells)
    assert all(re.search(r" \d+", method) for method in methods if method != "lora"), "the number of examples is shown"
    loaded = groups.groups(rows.load([tmp_path / "multirun"]).frame)
    assert {group.method for group in loaded} == set(cells)
    assert all(len(group.frame) == 1 and not group.left_out for group in loaded)
    drawn = {group.method: group.drawn for group in loaded}
    assert not drawn["rag [order=nearest_last]"]
    assert drawn["icl [draw=sample]"]
    capfd.readouterr()
    assert plan.main(["model=tiny-llama", "hardware=cpu", *VARIANTS["lora [nearest examples]"]]) == 0
    assert "lora [nearest examples] 2" in capfd.readouterr().out


def test_names_of_cells_stay_where_nothing_changed() -> None:
    for overrides, name in (
        # The results are in docs/demo_results.
        (["model=tiny-llama", "method=rag"], "tiny-llama_rag_minipy_s42-f797761f"),
        (["model=tiny-llama", "method=icl", "seed=1"], "tiny-llama_icl_minipy_s1-098f03da"),
        (["model=tiny-llama", "method=zero-shot"], "tiny-llama_zero-shot_minipy_s42-b83d22dc"),
        (["model=tiny-llama", "method=full", "seed=1"], "tiny-llama_full_minipy_s1-c5e9053d"),
    ):
        assert name_of(compose_cell(overrides)) == name
    # As before the setting existed, and as the study's package does.
    rag = ["method=rag", "model=codellama-7b"]
    assert name_of(compose_cell([*rag, "method.leakage=allow"])) == "codellama-7b_rag_conala_s42-5f2a8370"
    assert name_of(compose_cell(rag)) != "codellama-7b_rag_conala_s42-5f2a8370"
    package = compose_cell([*rag, "+conventions=package-revision"])
    assert name_of(package) == "codellama-7b_rag_conala_package-revision_s42-8780e26d"
    lora = compose_cell(["method=lora", "model=codellama-7b", "+conventions=package-v1"])
    assert name_of(lora) == "codellama-7b_lora_conala_package-v1_s42-06bb5f86"


@pytest.mark.parametrize(("overrides", "differ"), [(["model=tiny-llama"], False), (["model=codellama-7b"], True)])
def test_records_from_before_leakage_was_a_setting_allowed_it(overrides: list[str], differ: bool) -> None:
    config = plain(compose_cell([*overrides, "method=rag"]))
    added = {"draw", "order", "leakage", "train_with_examples"}
    older = {**config, "method": {name: value for name, value in config["method"].items() if name not in added}}

    assert (settings_key(older) != settings_key(config)) == differ
    assert settings_key(older) == settings_key(plain(compose_cell([*overrides, "method=rag", "method.leakage=allow"])))


def test_scores_computed_again_keep_the_examples(command: Command, data: Path, tmp_path: Path) -> None:
    cell = ["model=tiny-llama", "method=rag", "method.num_examples=2", "method.leakage=allow", "dataset=conala"]
    assert command(*cell, f"dataset.path={data}", *QUICK).code == 0
    folder = only_cell(tmp_path / "multirun")
    before, result = folder.read_predictions(), folder.read_result()
    assert result is not None
    assert result.data["examples"] == {"leakage": "allow", "equal_instructions": 1, "equal_shown": 1}
    assert before[0].example_rows[0] == 4
    assert before[0].example_similarities[0] == pytest.approx(1.0)

    assert score.main(["multirun"]) == 0
    assert folder.read_predictions() == before

    # A file of an earlier version.
    file = folder.path / "predictions.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    without = [{name: row[name] for name in row if not name.startswith("example_")} for row in lines]
    write_jsonl(file, list(without))
    assert [prediction.example_rows for prediction in folder.read_predictions()] == [[], [], []]
    assert score.main(["multirun"]) == 0


def test_the_loaded_training_split_is_what_rows_count(data: Path) -> None:
    cell = cell_of("tiny-llama", data, "method=icl", "method.num_examples=4", "dataset.limit=5")
    splits = loading.load(cell.dataset)
    result, _ = prepared(cell)
    assert len(splits.train) == 5
    assert all(max(shown.rows) < 5 for shown in result.shown)


@pytest.mark.parametrize(("method", "seed"), [("rag", 42), ("icl", 1), ("icl", 2)])
def test_prompts_are_those_of_the_results_in_the_docs(method: str, seed: int) -> None:
    # Results of a version before draws, orders and leakage were settings.
    (file,) = RESULTS.glob(f"tiny-llama_{method}_minipy_s{seed}-*/predictions.jsonl")
    recorded = [json.loads(line)["prompt"] for line in file.read_text(encoding="utf-8").splitlines()]
    cell = ["model=tiny-llama", f"method={method}", f"seed={seed}", f"dataset.test_limit={len(recorded)}"]

    assert prepared(compose_cell(cell))[0].prompt_texts == recorded
