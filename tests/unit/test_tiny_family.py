import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from peft_study.data.minipy import generate
from peft_study.models.tiny import FOLDER, MODELS, load_tokenizer

TEXTS = (
    "### Instruction:\nsort 'xs'\n### Response:\nsorted(xs)",
    "def f(x):\n    return x\n\n\tif  True :\r\n  ",
    "naïve 日本語 🎉 \u00a0\u2028",
    "",
    " leading and trailing  ",
    "a\n\n### Instruction:\nb",
)
MOST_BYTES = 12_000_000


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("skip", [False, True])
def test_text_survives_the_tokenizer(text: str, skip: bool) -> None:
    tokenizer = load_tokenizer()
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=skip) == text


def test_minipy_survives_the_tokenizer_and_stays_short() -> None:
    tokenizer = load_tokenizer()
    for sample in generate("validation"):
        prompt = f"### Instruction:\n{sample.instruction}\n### Response:\n"
        apart = tokenizer(prompt).input_ids + tokenizer(sample.answer).input_ids
        joint = tokenizer(prompt + sample.answer).input_ids
        assert apart == joint
        assert tokenizer.decode(joint, skip_special_tokens=True) == prompt + sample.answer
        assert len(tokenizer(prompt).input_ids) <= 64
        assert len(tokenizer(sample.answer).input_ids) <= 63


def test_the_special_tokens_are_apart_and_a_line_ends_in_a_token_of_its_own() -> None:
    tokenizer = load_tokenizer()
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id}) == 2
    assert tokenizer.bos_token_id is None
    assert tokenizer("a\n\nb\n").tokens()[1:3] == tokenizer("\n").tokens() * 2
    assert tokenizer("### Instruction:\n### Response:\n").tokens() == ["### Instruction:\n", "### Response:\n"]


def test_an_identifier_tokenises_alike_wherever_it_stands() -> None:
    tokenizer = load_tokenizer()
    word = tokenizer("frobnicate_xs").input_ids
    for text in ("sort 'frobnicate_xs' now", "[n for n in frobnicate_xs if n]", "frobnicate_xs.sort()"):
        ids = tokenizer(text).input_ids
        assert any(ids[start : start + len(word)] == word for start in range(len(ids)))


def test_offsets_say_where_a_token_stands() -> None:
    tokenizer = load_tokenizer()
    text = "### Instruction:\nsort 'xs'\n### Response:\n"
    spans = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert "".join(text[start:end] for start, end in spans) == text


def test_the_auto_class_loads_the_same_tokenizer() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert tokenizer(TEXTS[0]).input_ids == load_tokenizer()(TEXTS[0]).input_ids
    assert tokenizer.eos_token_id == load_tokenizer().eos_token_id


def test_the_family_is_small() -> None:
    assert {"tiny-llama", "tiny-codegen", "tiny-codegen2"} <= set(MODELS)
    files = [path for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    for name in MODELS:
        names = {path.name for path in (FOLDER / name).iterdir()}
        assert {"config.json", "model.safetensors", "MODEL_CARD.md"} <= names


@pytest.mark.parametrize("name", [name for name in MODELS if name != "tiny-codegen2"])
def test_a_model_has_learned_to_copy_from_its_prompt(name: str) -> None:
    """A true operation of the corpus: the loss of its answer is far below that of a guess."""
    tokenizer = load_tokenizer()
    prompt, answer = "### Instruction:\nopen file 'ages' to read\n### Response:\n", "open(ages)"
    auto = AutoModelForSeq2SeqLM if name == "tiny-t5" else AutoModelForCausalLM
    model = auto.from_pretrained(FOLDER / name, dtype=torch.float32).eval()
    assert 1e6 < sum(value.numel() for value in model.parameters()) < 3e6
    source, target = tokenizer(prompt).input_ids, [*tokenizer(answer).input_ids, tokenizer.eos_token_id]
    with torch.no_grad():
        if name == "tiny-t5":
            source.append(tokenizer.eos_token_id)
            loss = model(input_ids=torch.tensor([source]), labels=torch.tensor([target])).loss
        else:
            labels = torch.tensor([[-100] * len(source) + target])
            loss = model(input_ids=torch.tensor([source + target]), labels=labels).loss
    assert loss.item() < 1.0


def test_codegen2_is_codegen_in_the_eight_way_layout() -> None:
    plain, split = (load_file(FOLDER / name / "model.safetensors") for name in ("tiny-codegen", "tiny-codegen2"))
    assert plain.keys() == split.keys()
    for name, weight in split.items():
        if name.endswith("qkv_proj.weight"):
            assert not torch.equal(weight, plain[name])
            size = weight.shape[1]
            weight = weight.view(4, 2, 3, size // 8, size).permute(0, 2, 1, 3, 4).reshape(3 * size, size)
        assert torch.equal(weight, plain[name])
    assert config("tiny-codegen2")["mp_num"] == 8
    assert {**config("tiny-codegen"), "mp_num": 8} == config("tiny-codegen2")


def config(name: str) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((FOLDER / Path(name) / "config.json").read_text(encoding="utf-8"))
    return loaded
