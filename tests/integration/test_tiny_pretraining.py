"""The script that makes the embedded models, run for its first steps."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from peft_study.data.minipy import generate
from peft_study.models.tiny import FOLDER, MODELS

SCRIPTS = Path(__file__).parents[2] / "scripts"
STEPS = 12
NEAR = 0.03
"""The losses of the first steps may differ by so much between machines."""


@pytest.fixture(autouse=True)
def _scripts_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name != "tiny-codegen2"])
def test_the_loss_curve_starts_as_recorded(name: str) -> None:
    from pretrain_tiny import train

    recorded = json.loads((FOLDER / name / "loss_curve.json").read_text(encoding="utf-8"))
    _, log = train(name, recorded["seed"], most_steps=STEPS)
    assert log.first_losses == pytest.approx(recorded["first_losses"][:STEPS], abs=NEAR)
    assert log.first_losses[-1] < log.first_losses[0]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "tiny-codegen2"])
def test_the_recorded_curve_falls(name: str) -> None:
    recorded = json.loads((FOLDER / name / "loss_curve.json").read_text(encoding="utf-8"))
    losses = [point["loss"] for point in recorded["curve"]]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_the_tokenizer_is_rebuilt_the_same(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "build_tiny_tokenizer.py"), "--folder", str(tmp_path)]
    subprocess.run(command, check=True)
    built, shipped = (json.loads((folder / "tokenizer.json").read_text()) for folder in (tmp_path, FOLDER))
    assert built == shipped


def test_the_corpus_refuses_minipy() -> None:
    from tiny_corpus.heldout import HeldOut

    held_out = HeldOut()
    assert not any(held_out.allows(sample.instruction, sample.answer) for sample in generate("test"))
    assert not held_out.allows("give me the smallest of the odd days in 'june'", "min(d for d in june if d % 2 == 1)")
    assert held_out.allows("take the square root of 'x'", "math.sqrt(x)")


def test_the_corpus_holds_nothing_of_minipy() -> None:
    from tiny_corpus.documents import document
    from tiny_corpus.heldout import HeldOut, skeleton

    rng, held_out = Random(7), HeldOut()
    pairs = [pair for _ in range(200) for pair in document(rng, 6, held_out)]
    assert len(pairs) > 1_000
    wordings = {skeleton(sample.instruction) for split in ("train", "validation", "test") for sample in generate(split)}
    assert not any(skeleton(instruction) in wordings for instruction, _ in pairs)
    assert all(held_out.allows(*pair) for pair in pairs)


def test_the_eight_way_layout_is_undone_by_the_published_permutation() -> None:
    import torch
    from tiny_codegen2 import eight_way

    weight = torch.arange(3 * 32 * 32).view(3 * 32, 32)
    split = eight_way(weight)
    back = split.view(4, 2, 3, 4, 32).permute(0, 2, 1, 3, 4).reshape(3 * 32, 32)
    assert not torch.equal(split, weight)
    assert torch.equal(back, weight)
