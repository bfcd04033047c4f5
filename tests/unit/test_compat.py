"""The private names of libraries: each still exists and still does what we use it for."""

import importlib
import os
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from hydra._internal.utils import get_args_parser
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.utils import logging as transformers_logging

from peft_study.config.compat import intermixed_overrides
from peft_study.cost.replay import compat as replay_compat
from peft_study.cost.replay.model import fake_tensors
from peft_study.models import compat


def llama(*, tied: bool) -> LlamaForCausalLM:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=8, tie_word_embeddings=tied, **sizes))


@pytest.mark.parametrize(
    ("arguments", "overrides", "info"),
    [
        ("a=1 --multirun b=2,3", ["a=1", "b=2,3"], None),
        ("a=1 --info", ["a=1"], "all"),
        ("a=1 --info plugins b=2", ["a=1", "b=2"], "plugins"),
        ("-cn a=1 a=1 ~c", ["a=1", "~c"], None),
    ],
)
def test_overrides_are_read_around_options(arguments: str, overrides: list[str], info: str | None) -> None:
    hydra_main = importlib.import_module("hydra.main")
    with intermixed_overrides():
        read = hydra_main.get_args_parser().parse_args(arguments.split())

    assert (read.overrides, read.info) == (overrides, info)
    assert hydra_main.get_args_parser is get_args_parser


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_the_attention_kernel_is_the_one_that_was_asked_for(kernel: str) -> None:
    model = llama(tied=False)
    model.set_attn_implementation(kernel)

    assert compat.attention_kernel(model.config) == kernel


@pytest.mark.parametrize("tied", [True, False])
def test_tied_names_follow_the_config_and_names_that_may_be_tied_the_architecture(tied: bool) -> None:
    model = llama(tied=tied)

    assert compat.tied_names(model) == ({"lm_head.weight"} if tied else set())
    assert compat.names_that_may_be_tied(model) == {"lm_head.weight"}
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied


def test_the_trainer_uses_one_gpu_of_several(tmp_path: Path) -> None:
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    arguments._n_gpu = 4
    assert arguments.train_batch_size == 4 * arguments.per_device_train_batch_size

    compat.use_one_gpu(arguments)

    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == arguments.per_device_train_batch_size


def test_the_trainer_still_has_the_methods_that_the_loop_overrides() -> None:
    assert callable(Trainer._get_num_items_in_batch)
    assert callable(Trainer._load_from_checkpoint)
    assert callable(Trainer._save_checkpoint)


def test_a_4bit_layer_on_a_cpu_takes_no_kernel_without_a_backward_pass() -> None:
    layer = Linear4bit(8, 8)
    assert hasattr(layer, "support_avx512bf16_for_cpu")
    layer.support_avx512bf16_for_cpu = True

    compat.keep_4bit_layers_trainable_on_cpu(nn.Sequential(layer))  # type: ignore[arg-type]

    assert not layer.support_avx512bf16_for_cpu


def test_views_share_a_storage_key_and_other_tensors_do_not() -> None:
    with replay_compat.FakeTensorMode():
        first, second = torch.zeros(4), torch.zeros(4)
        keys = [replay_compat.storage_key(tensor.untyped_storage()) for tensor in (first, first[1:], second)]

    assert keys[0] == keys[1] != keys[2]


def test_backward_gives_the_gradients_of_torchs_own() -> None:
    weights = torch.ones(3, requires_grad=True)

    replay_compat.run_backward((2 * weights).sum())

    assert weights.grad is not None
    assert weights.grad.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("before", [None, "0"])
def test_a_replay_restores_how_transformers_loads(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv("HF_DEACTIVATE_ASYNC_LOAD", raising=False)
    if before is not None:
        monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", before)
    bar = transformers_logging.is_progress_bar_enabled()

    with fake_tensors():
        assert os.environ["HF_DEACTIVATE_ASYNC_LOAD"] == "1"
        assert not transformers_logging.is_progress_bar_enabled()

    assert os.environ.get("HF_DEACTIVATE_ASYNC_LOAD") == before
    assert transformers_logging.is_progress_bar_enabled() == bar
