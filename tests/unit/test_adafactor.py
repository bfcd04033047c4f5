"""Adafactor over groups of equal parameters, against transformers' own."""

from typing import Any

import pytest
import torch
from transformers.optimization import Adafactor

from peft_study.training.adafactor import GroupedAdafactor

SHAPES = [(8, 64), (64, 8), (8, 64), (64,), (8, 64), (64,), (3, 4, 5), (64, 8), (1, 1)]
STUDY = {"lr": 3e-4, "scale_parameter": False, "relative_step": False}


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def take_steps(optimizer: torch.optim.Optimizer, trained: list[torch.nn.Parameter], steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for number, weights in enumerate(trained):
            gradient = torch.randn(weights.shape, generator=generator) * 10.0 ** (number - 4)
            # A parameter without a gradient in some steps has another number of steps than those of its shape.
            weights.grad = None if number == 2 and step % 2 else gradient
        optimizer.step()


@pytest.mark.parametrize(
    "settings",
    [
        STUDY,
        STUDY | {"weight_decay": 0.1},
        STUDY | {"clip_threshold": 0.3, "eps": (1e-10, 1e-3)},
        {"lr": None},  # relative steps and scaled parameters
        STUDY | {"beta1": 0.9},
    ],
)
def test_steps_are_those_of_transformers(settings: dict[str, Any]) -> None:
    expected, grouped = parameters(), parameters()

    take_steps(Adafactor(expected, **settings), expected, range(6))
    take_steps(GroupedAdafactor(grouped, **settings), grouped, range(6))

    for theirs, ours in zip(expected, grouped, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("first", [Adafactor, GroupedAdafactor])
def test_either_class_resumes_from_the_state_of_the_other(first: type[Adafactor]) -> None:
    second = {Adafactor: GroupedAdafactor, GroupedAdafactor: Adafactor}[first]
    expected, resumed = parameters(), parameters()
    take_steps(Adafactor(expected, **STUDY), expected, range(6))

    before = first(resumed, **STUDY)
    take_steps(before, resumed, range(3))
    after = second(resumed, **STUDY)
    after.load_state_dict(before.state_dict())
    take_steps(after, resumed, range(3, 6))

    for theirs, ours in zip(expected, resumed, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_a_group_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peft_study.training.adafactor.MOST_NUMBERS", 1024)
    expected, grouped = parameters(), parameters()

    take_steps(Adafactor(expected, **STUDY), expected, range(2))
    take_steps(GroupedAdafactor(grouped, **STUDY), grouped, range(2))

    for theirs, ours in zip(expected, grouped, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
