"""Token ids of the studies' prompts are those of the forms that the replication package uses.

The forms are those of its first version (commit c55e532) for training and of its branch `revision` (3b31320) for
prompting. They are written out here, apart from the project's templates.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from peft_study.cell.encoding import template_of
from peft_study.cell.examples import ExampleChooser
from peft_study.config.compose import compose_cell
from peft_study.config.schema import CellConfig
from peft_study.data.samples import Sample
from peft_study.data.tokens import Limits, encode
from tests.tokenizer_kinds import codegen, codellama, codet5p

KINDS: dict[str, Callable[..., PreTrainedTokenizerBase]] = {
    "codellama-7b": codellama,
    "codegen2-1b": codegen,
    "codet5p-220m": codet5p,
}
TRAIN = [
    Sample("train-0", "double every item of a list", "[2 * n for n in items]"),
    Sample("train-1", "count the vowels of a word", "sum(letter in 'aeiou' for letter in word)"),
    Sample("train-2", "return the last item of a list", "items[-1]"),
    Sample("train-3", "return a word twice", "def double(word):\n    return word + word"),
    Sample("train-4", "sum the letters", "total = 0\nfor letter in word:\n    total += letter"),
]
ASKED = Sample("test-0", "count the letters of a word", "total = len(word)\nreturn total")
FENCED = ["dataset.prompt_form=fenced", "dataset.stop_at_newline=false", "method.preamble=''"]
DRAWN = Random(42).sample(TRAIN, 3)
NEAREST = [TRAIN[1], TRAIN[4]]
"""By the words that they share with ASKED: "count the ... of a word" and "the letters"."""


def cell(model: str, *overrides: str) -> CellConfig:
    return compose_cell([f"model={model}", "dataset=codealpacapy", *overrides])


def fenced(sample: Sample) -> str:
    return f"### Instruction:\n{sample.instruction}\n### Response:\n```python\n{sample.answer}\n```\n\n"


@pytest.mark.parametrize("model", KINDS)
@pytest.mark.parametrize(
    ("method", "shown"),
    [
        (["method=zero-shot"], []),
        (["method=icl", "method.num_examples=3", "seed=42"], DRAWN),
        (["method=rag", "method.num_examples=2", "method.retriever=tfidf"], NEAREST),
    ],
    ids=["zero-shot", "icl", "rag"],
)
def test_a_prompt_of_figures_3_6_and_7_is_the_revisions(
    model: str, method: Sequence[str], shown: Sequence[Sample]
) -> None:
    tokenizer, composed = KINDS[model](), cell(model, *method, *FENCED)
    chooser = ExampleChooser(composed, TRAIN, torch.device("cpu"))
    (examples,) = map(chooser.samples, chooser.for_prompts([ASKED]))
    encoder = model.startswith("codet5p")

    encoded = encode(ASKED, template_of(composed), tokenizer, Limits(None, 128), examples=examples, for_encoder=encoder)

    text = "".join(map(fenced, shown)) + f"### Instruction:\n{ASKED.instruction}\n### Response:\n```python\n"
    assert list(encoded.prompt) == tokenizer(text + "<extra_id_0>" * encoder)["input_ids"]


@pytest.mark.parametrize("strips", [False, True], ids=["keeps white space", "strips white space"])
def test_a_sentinel_stands_as_its_tokenizer_reads_it(strips: bool) -> None:
    tokenizer, composed = codet5p(strips=strips), cell("codet5p-770m", "method=zero-shot", "method.preamble=Write.")

    encoded = encode(ASKED, template_of(composed), tokenizer, Limits(None, 128), for_encoder=True)

    text = f"Write.\n### Instruction:\n{ASKED.instruction}\n### Response:\n<extra_id_0>"
    assert list(encoded.prompt) == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("model", KINDS)
@pytest.mark.parametrize("method", ["lora", "ia3", "prompt", "prefix"])
def test_a_training_sample_is_the_first_versions(model: str, method: str) -> None:
    tokenizer, composed = KINDS[model](), cell(model, f"method={method}")
    encoder = model.startswith("codet5p")

    encoded = encode(ASKED, template_of(composed), tokenizer, Limits(64, 128, shared=True), for_encoder=encoder)

    text = f"### Instruction:\n{ASKED.instruction}\n### Response:\n"
    if encoder:
        assert list(encoded.prompt) == tokenizer(f"Generate Python code: {text}")["input_ids"]
        assert list(encoded.target) == tokenizer(ASKED.answer)["input_ids"]
        assert tokenizer.convert_ids_to_tokens([encoded.target[0], encoded.target[-1]]) == ["<s>", "</s>"]
    else:
        assert list(encoded.prompt) == tokenizer(text)["input_ids"]
        whole = tokenizer(text + ASKED.answer)["input_ids"]
        assert [*encoded.prompt, *encoded.target] == [*whole, tokenizer.eos_token_id]


DATA = Path(__file__).parents[3] / "shared" / "data"


@cache
def rows(name: str, split: str) -> tuple[Sample, ...]:
    lines = (DATA / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    read = [json.loads(line) for line in lines]
    return tuple(Sample(f"{split}-{index}", row["nl"], row["cmd"]) for index, row in enumerate(read))


@pytest.mark.parametrize("model", KINDS)
@pytest.mark.parametrize(
    ("name", "new_tokens"), [pytest.param("conala", 64, marks=pytest.mark.slow), ("codealpacapy", 128)]
)
def test_of_real_rows_no_test_prompt_is_cut_and_few_in_training(model: str, name: str, new_tokens: int) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no copy of {name} beside the checkout")
    learned_from = rows("codealpacapy", "train") + rows("conala", "train")
    texts = tuple(f"### Instruction:\n{row.instruction}\n### Response:\n{row.answer}" for row in learned_from)
    # 6,000 words are a tenth of what published tokenizers have, so that more is cut.
    tokenizer, encoder = KINDS[model](texts, 6000), model.startswith("codet5p")
    composed = cell(model, f"dataset={name}")
    template, dataset = template_of(composed), composed.dataset
    at_test = Limits(None, dataset.max_target_tokens, prompt_positions=2048 - new_tokens)
    in_training = Limits(dataset.max_prompt_tokens, dataset.max_target_tokens, shared=True)

    read = [encode(sample, template, tokenizer, at_test, for_encoder=encoder) for sample in rows(name, "test")]
    learned = [encode(sample, template, tokenizer, in_training, for_encoder=encoder) for sample in rows(name, "train")]

    assert sum(sample.prompt_cut > 0 for sample in read) == 0
    assert sum(sample.prompt_cut > 0 for sample in learned) <= (40 if name == "codealpacapy" else 2)
    assert all(len(sample.prompt) + len(sample.target) <= 64 + new_tokens for sample in learned)
