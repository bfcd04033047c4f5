"""The prediction of memory: what must make it larger or smaller does."""

import pytest

from peft_study.config.compose import compose_cell
from peft_study.config.schema import Precision
from peft_study.cost import predict
from peft_study.cost.forecast import Estimate
from peft_study.cost.predict import estimate
from peft_study.cost.replay import peaks
from peft_study.models.adapter import adapter_config
from peft_study.models.families import FAMILIES
from peft_study.models.random_weights import architecture_config

MAIN = ["model=codellama-7b-python", "method=lora", "model.architecture.num_hidden_layers=2"]

EXAMPLES = ["method.examples=random", "method.num_examples=2", "training.micro_batch_size=1"]


def of(*overrides: str) -> Estimate:
    prediction = estimate(compose_cell([*MAIN, *overrides]))
    assert prediction is not None
    return prediction


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (["quantization=nf4"], ["quantization=int8"]),
        (["quantization=int8"], []),
        (["training.micro_batch_size=1"], []),
        (["training.gradient_checkpointing=true"], []),
        (["dataset.max_target_tokens=32"], []),
        ([], ["training.precision=fp32"]),
        ([], ["model.architecture.num_hidden_layers=4"]),
        (EXAMPLES, [*EXAMPLES, "method.train_with_examples=true"]),
        (
            ["model.architecture.num_hidden_layers=4", "hardware.gpus_per_cell=2", "hardware.shard_weights=true"],
            ["model.architecture.num_hidden_layers=4", "hardware.gpus_per_cell=2"],
        ),
    ],
)
def test_training_takes_more(smaller: list[str], larger: list[str]) -> None:
    assert of(*smaller).train_peak_bytes < of(*larger).train_peak_bytes


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (["generation.batch_size=1"], ["generation.batch_size=2"]),
        (["generation.num_beams=10"], ["generation.num_beams=20", "generation.batch_size=32"]),
        (["generation.cache_gb=0.1"], ["generation.cache_gb=8"]),
        (["quantization=nf4"], []),
        (["generation.batch_size=1"], ["generation.batch_size=1", *EXAMPLES]),
    ],
)
def test_generation_takes_more(smaller: list[str], larger: list[str]) -> None:
    assert of(*smaller).generate_peak_bytes < of(*larger).generate_peak_bytes


def test_nothing_is_trained_without_a_method_that_trains() -> None:
    prediction = of("method=zero-shot")

    assert (prediction.trainable_parameters, prediction.train_peak_bytes) == (0, 0)
    assert prediction.peak_bytes == prediction.generate_peak_bytes > 1.3e9


def test_examples_at_test_leave_training_as_it_is() -> None:
    assert of(*EXAMPLES).train_peak_bytes == of("training.micro_batch_size=1").train_peak_bytes


def test_every_weight_is_trained_with_its_gradient() -> None:
    prediction = estimate(compose_cell(["model=codegen-350m-mono", "method=full", "model.architecture.n_layer=2"]))

    assert prediction is not None
    assert prediction.train_peak_bytes > prediction.total_parameters * (4 + 4)


def test_a_model_known_to_a_folder_alone_has_no_estimate(tmp_path: object) -> None:
    assert estimate(compose_cell(["model=tiny-llama", f"model.source={tmp_path}"])) is None


def test_a_deep_model_is_predicted_from_shallow_ones_as_if_replayed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = compose_cell(
        [
            "model=tiny-codegen",
            "method=lora",
            "model.source=null",
            "model.weights=random",
            "+model.architecture.vocab_size=600",
            "model.architecture.n_layer=7",
            "training.micro_batch_size=2",
        ]
    )
    config = architecture_config(cell.model)
    adapter = adapter_config(cell.method, FAMILIES[cell.model.family], "")
    extrapolated = peaks.replay(cell, config, adapter, Precision.bf16)
    monkeypatch.setattr(peaks, "DEPTHS", (7, 8))
    whole = peaks.replay(cell, config, adapter, Precision.bf16)

    assert (extrapolated.trainable_parameters, extrapolated.total_parameters) == (
        whole.trainable_parameters,
        whole.total_parameters,
    )
    for phase in ("load_peak_bytes", "train_peak_bytes", "generate_peak_bytes"):
        assert getattr(extrapolated, phase) == pytest.approx(getattr(whole, phase), rel=0.005)


def test_a_prediction_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = ["model=tiny-llama", "dataset.max_target_tokens=17"]
    first = of(*cell)
    monkeypatch.setattr(predict, "_predicted", {})
    monkeypatch.setattr(peaks, "replay", None)

    assert of(*cell) == first
