"""Every YAML of conf/ composes, fits the schema, and builds what it describes."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf

from peft_study.config.build import build
from peft_study.config.compose import compose_cell, conf_folder
from peft_study.config.schema import CellConfig, MethodKind
from peft_study.models.random_weights import architecture_config

CONF = conf_folder()
CELL_GROUPS = set(CellConfig.__annotations__) - {"study"}
OPTIONS = sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name in CELL_GROUPS)
# Overrides with which an option's own rules hold: full fine-tuning wants a small model, HumanEval nothing to train.
OVERLAYS = {"conventions"}
"""Groups that a cell does without, whose options change others."""
NEEDS = {
    ("method", "full"): ["model=codegen-350m-mono"],
    ("dataset", "humaneval"): ["method=zero-shot"],
}


def test_every_folder_is_a_group_of_the_schema() -> None:
    groups = {path.parent.name for path in CONF.glob("*/*.yaml")}

    assert groups <= set(CellConfig.__annotations__)
    assert OPTIONS


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_an_option_composes(group: str, option: str) -> None:
    plus = "+" if group in OVERLAYS else ""
    cell = compose_cell([f"{plus}{group}={option}", *NEEDS.get((group, option), [])])

    assert getattr(getattr(cell, group), "name", option) == option


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_the_head_comment_is_a_command_that_composes(group: str, option: str) -> None:
    lines = (CONF / group / f"{option}.yaml").read_text().splitlines()
    # Hydra wants the package of an overlay in the first line.
    head = lines[1] if lines[0].startswith("# @package") else lines[0]

    assert head.startswith("# python -m peft_study ")
    words = head.removeprefix("# python -m peft_study ").split()
    overrides = [word for word in words[: words.index("or") if "or" in words else None] if "=" in word]
    cell = compose_cell(overrides)
    assert any(override.removeprefix("+").startswith(f"{group}={option}") for override in overrides)
    assert cell.seed == 42


@pytest.mark.parametrize("launcher", sorted(path.stem for path in (CONF / "hydra" / "launcher").glob("*.yaml")))
def test_a_launcher_composes_and_builds(launcher: str) -> None:
    head = (CONF / "hydra" / "launcher" / f"{launcher}.yaml").read_text().splitlines()[0]
    assert head.startswith(f"# python -m peft_study --multirun hydra/launcher={launcher} ")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"hydra/launcher={launcher}", "model=tiny-llama"], return_hydra_config=True)
        settings = OmegaConf.to_container(config.hydra.launcher, resolve=False)
    assert isinstance(settings, dict)
    target = get_class(settings.pop("_target_"))
    assert target(**settings).__class__.__name__ == f"{launcher.capitalize()}Launcher"


@pytest.mark.parametrize("option", sorted(option for group, option in OPTIONS if group == "model"))
def test_a_models_architecture_is_known_to_transformers(option: str) -> None:
    cell = compose_cell([f"model={option}"])

    config = architecture_config(cell.model, {"vocab_size": 100})

    assert config.num_hidden_layers > 0


@pytest.mark.parametrize("option", sorted(option for group, option in OPTIONS if group == "method"))
def test_a_methods_adapter_builds(option: str) -> None:
    method = compose_cell(["model=tiny-llama", f"method={option}"]).method

    if method.kind is MethodKind.adapter:
        assert method.adapter is not None
        assert build(method.adapter, task_type="CAUSAL_LM", tokenizer_name_or_path="x").peft_type is not None
    else:
        assert method.adapter is None


def test_the_defaults_are_the_papers_main_cell() -> None:
    cell = compose_cell([])

    assert (cell.model.name, cell.method.name, cell.dataset.name) == ("codellama-7b-python", "lora", "conala")
    assert cell.method.learning_rate == 3e-4
    assert cell.method.adapter == {
        "_target_": "peft.LoraConfig",
        "r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "bias": "none",
    }
    assert (cell.training.epochs, cell.training.batch_size, cell.training.evaluations_per_epoch) == (5, 8, 5)
    assert (cell.generation.num_beams, cell.generation.num_candidates, cell.dataset.max_new_tokens) == (10, 10, 64)


@pytest.mark.parametrize(
    ("overrides", "dataset"),
    [
        (["model=tiny-llama"], "minipy"),
        (["model=tiny-t5"], "minipy"),
        (["model=tiny-llama", "dataset=conala"], "conala"),
        (["dataset=conala", "model=tiny-codegen"], "conala"),
        (["model=codet5p-220m"], "conala"),
    ],
)
def test_a_tiny_model_picks_minipy_unless_a_data_set_is_named(overrides: list[str], dataset: str) -> None:
    assert compose_cell(overrides).dataset.name == dataset


def test_config_yaml_holds_only_defaults_and_folders() -> None:
    config = OmegaConf.load(CONF / "config.yaml")

    assert set(config) == {"defaults", "hydra"}


@pytest.mark.parametrize(
    ("arguments", "sampled", "early"),
    [
        (["model=codellama-7b-instruct", "dataset=apps"], True, False),
        (["model=tiny-llama", "dataset=mbpp"], True, False),
        (["model=tiny-llama", "dataset=apps", "generation=paper"], False, False),
        (["model=tiny-llama"], False, True),
        (["model=tiny-llama", "dataset=conala"], False, False),
    ],
)
def test_a_data_set_chooses_how_its_candidates_are_made(arguments: list[str], sampled: bool, early: bool) -> None:
    generation = compose_cell([*arguments, "method=zero-shot"]).generation

    assert (generation.temperature is not None, generation.early_stopping) == (sampled, early)
    assert (generation.num_candidates, generation.sequences) == ((5, 5) if sampled else (10, 10))
