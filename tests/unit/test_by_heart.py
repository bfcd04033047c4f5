"""Models that know their answers by heart reproduce them, with every kind of tokenizer and prompt form."""

from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration

from peft_study.config.schema import Device, GenerationConfig, Precision, PromptForm
from peft_study.data import tokens
from peft_study.data.prompts import Template
from peft_study.data.samples import Sample
from peft_study.generation.decode import Decoder
from peft_study.models.loading import Model
from peft_study.models.precision import choose
from tests.tokenizer_kinds import DECODERS, FUNCTIONS, codet5p, t5

CPU = choose(Device.cpu, Precision.fp32)
GREEDY = GenerationConfig(num_beams=1, num_candidates=1, batch_size=2)
BEAMS = GenerationConfig(num_beams=3, num_candidates=2, batch_size=3)
FENCED = [
    Sample("test-3", "double n in place", "def run(n):\n    n += n\n    return n\n\n\ntotal = run(4)"),
    Sample("test-4", "sum the letters", "total = 0\n# each letter\nfor letter in word:\n    total += letter"),
]
PLAIN = [
    Sample("test-5", "print n twice", "for total in items:\n    print(n)\n\nprint(n)"),
    Sample("test-6", "return the last item", "return items[-1]"),
]
COMPLETED = [
    Sample(f"test-{index}", head, head + body, starter_code=head) for index, (head, body) in enumerate(FUNCTIONS)
]
QUICK = ("byte_level", "appending", "codellama", "llama_without_space")
"""A model of each takes a second; those of the other tokenizers are slow tests."""
FORMS = {PromptForm.completion: COMPLETED, PromptForm.fenced: FENCED, PromptForm.plain: PLAIN}
# What models add, and what has to be cut off.
TAILS = {
    "test-0": "\n\ndef triple(n):\n    return 3 * n\n",
    "test-1": "```\nThis returns the number.\n",
    "test-2": "",
    "test-3": "\n```\n\nThis doubles n.\n",
    "test-4": "\n```",
    "test-5": "\n\n### Instruction:\ncount the letters\n### Response:\nsum(word)",
    "test-6": "\n### Instruction:\n",
}


def written(form: PromptForm, sample: Sample) -> str:
    code = sample.answer.removeprefix(sample.instruction) if form is PromptForm.completion else sample.answer
    # One answer opens the fence itself.
    opened = "```python\n" if sample.id == "test-4" else ""
    return f"{opened}{code}{TAILS[sample.id]}"


def learned(model: Model, rows: Sequence[tuple[list[int], list[int]]]) -> Model:
    """Train a decoder on prompts and targets until it knows the targets by heart."""
    width = max(len(prompt) + len(target) for prompt, target in rows)
    ids = torch.tensor([[*prompt, *target] + [0] * (width - len(prompt) - len(target)) for prompt, target in rows])
    labels = ids.clone()
    for row, (prompt, target) in zip(labels, rows, strict=True):
        row[: len(prompt)] = row[len(prompt) + len(target) :] = tokens.IGNORED_LABEL
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(200):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.01:
            break
    return model.eval()


def around(tokenizer: PreTrainedTokenizerBase, text: str, added: str) -> tuple[list[int], list[int]]:
    """A prompt and what follows it as training elsewhere makes them: from the whole text, where it can be split."""
    prompt, whole = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, text + added))
    rest = whole[len(prompt) :] if whole[: len(prompt)] == prompt else tokenizer(added)["input_ids"]
    rest = [token for token in rest if token not in tokenizer.all_special_ids]
    begin = [tokenizer.bos_token_id] if tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id] else []
    return [*begin, *prompt], [*rest, tokenizer.eos_token_id]


@cache
def by_heart(kind: str) -> tuple[Model, PreTrainedTokenizerBase]:
    torch.manual_seed(0)
    tokenizer = DECODERS[kind]()
    tokenizer.pad_token = tokenizer.eos_token
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    rows = [
        around(tokenizer, Template(form).prompt(sample).text, written(form, sample))
        for form, samples in FORMS.items()
        for sample in samples
    ]
    return learned(LlamaForCausalLM(config), rows), tokenizer


def programs(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    samples: Sequence[Sample],
    settings: GenerationConfig,
) -> list[str]:
    prompts = [
        tokens.encode(
            sample, template, tokenizer, tokens.Limits(200, 200), for_encoder=model.config.is_encoder_decoder
        ).prompt
        for sample in samples
    ]
    decoder = Decoder(model, tokenizer, template, settings, 120, CPU)
    firsts = {item.index: item.candidates[0] for batch in decoder.generate(prompts) for item in batch}
    return [template.program(firsts[index], sample) for index, sample in enumerate(samples)]


@pytest.mark.parametrize("settings", [GREEDY, BEAMS], ids=["greedy", "beams"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in DECODERS]
)
def test_what_a_decoder_knows_is_scored_as_known(kind: str, form: PromptForm, settings: GenerationConfig) -> None:
    model, tokenizer = by_heart(kind)

    texts = programs(model, tokenizer, Template(form), FORMS[form], settings)

    assert [text.rstrip() for text in texts] == [sample.answer.rstrip() for sample in FORMS[form]]


ENCODED = [Sample("test-0", "double n", "n += n"), Sample("test-1", "sum the letters", "total = sum(letter)")]


@pytest.mark.parametrize(
    ("kind", "prefix", "behind_prompt", "around_answer"),
    [
        pytest.param(t5, "", "", ("", ""), id="t5"),
        pytest.param(codet5p, "Generate Python code: ", "", ("", ""), id="codet5p trained"),
        pytest.param(
            codet5p, "", "<extra_id_0>", ("<extra_id_0>", ""), id="codet5p ends behind it", marks=pytest.mark.slow
        ),
        pytest.param(codet5p, "", "<extra_id_0>", ("<extra_id_0>", "<extra_id_1> n"), id="codet5p goes on behind it"),
        pytest.param(
            codet5p, "", "<extra_id_0>", ("n<extra_id_0>", ""), id="codet5p writes before it", marks=pytest.mark.slow
        ),
        pytest.param(codet5p, "", "<extra_id_0>", ("", ""), id="codet5p leaves it out", marks=pytest.mark.slow),
    ],
)
def test_what_an_encoder_decoder_knows_is_scored_as_known(
    kind: Callable[[], PreTrainedTokenizerBase], prefix: str, behind_prompt: str, around_answer: tuple[str, str]
) -> None:
    torch.manual_seed(0)
    tokenizer = kind()
    template = Template(prefix=prefix, sentinel=behind_prompt)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    sizes = {"d_model": 64, "d_ff": 128, "d_kv": 16, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=len(tokenizer), decoder_start_token_id=tokenizer.pad_token_id, **ids, **sizes)
    )
    # The tokenizer itself reads special tokens and puts others around, as whoever trained the model let it.
    texts = [f"{prefix}### Instruction:\n{each.instruction}\n### Response:\n{behind_prompt}" for each in ENCODED]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    before, behind = around_answer
    answers = [f"{before}{sample.answer}{behind}" for sample in ENCODED]
    labels = tokenizer(answers, padding=True, return_tensors="pt")["input_ids"]
    labels = labels.masked_fill(labels == tokenizer.pad_token_id, tokens.IGNORED_LABEL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    texts = programs(model.eval(), tokenizer, template, ENCODED, BEAMS)

    assert texts == [sample.answer for sample in ENCODED]
