"""What a run of the training loop leaves behind."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from peft_study.config.compose import compose_cell
from peft_study.data.prompts import Template
from peft_study.data.tokens import Encoded
from peft_study.generation.decode import Decoder
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.families import FAMILIES
from peft_study.models.loading import load_model, load_tokenizer
from peft_study.models.precision import choose
from peft_study.training.loop import train
from peft_study.training.packing import batch_builder


class WeightCasts(TorchDispatchMode):
    """Counts the copies of some weights in another number format."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._places = {values.data_ptr() for values in weights}
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # In inference mode, `to` arrives undivided.
        casts = (torch.ops.aten._to_copy, torch.ops.aten.to)
        if func.overloadpacket in casts and args[0].data_ptr() in self._places:
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_generation_behind_training_does_not_cast_weights_at_each_token(method: str, tmp_path: Path) -> None:
    settings = ["model=tiny-llama", f"method={method}", "dataset=conala", "hardware.device=cpu"]
    cell = compose_cell([*settings, "training.precision=bf16", "training.epochs=1"])
    tokenizer = load_tokenizer(cell.model)
    compute = choose(cell.hardware.device, cell.training.precision)
    base = load_model(cell.model, cell.quantization, cell.method.kind, compute, tokenizer)
    adapter = adapter_config(cell.method, FAMILIES[cell.model.family], tokenizer.name_or_path)
    model: Any = attach(base, cell.method.kind, adapter, cell.seed)
    generator = random.Random(0)
    samples = [Encoded(*(tuple(generator.randrange(300, 1500) for _ in range(9)) for _ in range(2)), 0, 0)] * 8
    assert cell.method.learning_rate is not None

    train(
        model,
        samples,
        samples,
        batch_builder(model, int(tokenizer.pad_token_id), cell.training, cell.dataset),
        cell.training,
        learning_rate=cell.method.learning_rate,
        seed=1,
        compute=compute,
        folder=tmp_path,
        on_step=lambda _step, _values, _speed: None,
        on_progress=lambda _: None,
    )

    model.eval()
    trained = [weights for weights in model.parameters() if weights.requires_grad and weights.ndim > 1]
    with WeightCasts(trained) as casts:
        decoder = Decoder(model, tokenizer, Template(), cell.generation, 20, compute)
        list(decoder.generate([sample.prompt for sample in samples]))
    # Reading the common part, writing, and the probe of the model each begin with new casts.
    assert 0 < casts.count <= 4 * len(trained)
