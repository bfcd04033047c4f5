"""When a generated sequence is complete, seen by its tokens."""

import pytest
import torch

from peft_study.config.schema import PromptForm
from peft_study.data.continuation import anchor
from peft_study.data.prompts import Template
from peft_study.generation.stopping import CompleteCandidates, CompleteTexts, Continuation, token_texts
from tests.tokenizer_kinds import DECODERS

COMPLETION, FENCED, PLAIN = Template(PromptForm.completion), Template(PromptForm.fenced), Template()
RESPONSE = "### Instruction:\ndouble n\n### Response:\n"
HEAD, FENCE = 'def double(n):\n    """Twice n."""\n', "### Response:\n```python\n"


@pytest.mark.parametrize(
    ("template", "prompt", "needed", "more"),
    [
        (COMPLETION, HEAD, "    return 2 * n\nd", "ef triple(n):\n    return 3 * n\n"),
        (COMPLETION, HEAD, "    return (\nn\n)\n\n`", "``\nThis is twice n.\n"),
        (COMPLETION, HEAD, '    x = """\n# no comment\n"""\n    return n\n@', "cache\n"),
        (COMPLETION, HEAD, "    return n\né", "\n"),
        (COMPLETION, HEAD, "def double(n):\n    return n\nT", "his is twice n."),
        (FENCED, FENCE, "total = n\n\ntotal += n\n```", "\nThis is twice n.\n"),
        (FENCED, FENCE, "```python\ntotal = n\n```", "\n"),
        (FENCED, FENCE, "```\ntotal = n\n```", "\n"),
        (FENCED, FENCE, "\n```\n", "This is nothing."),
        (PLAIN, RESPONSE, "total = n\n\ntotal += n\n\n### Instruction:", "\nreturn n\n### Response:\nreturn n"),
        (PLAIN, RESPONSE, "for letter in word:\n    # ### Instruction:\n    n += n\n### Instruction:", "\n"),
        (PLAIN, RESPONSE, "### Instruction:", "\nreturn n"),
    ],
)
@pytest.mark.parametrize("kind", DECODERS)
def test_a_sequence_ends_with_the_token_that_completes_its_candidate(
    kind: str, template: Template, prompt: str, needed: str, more: str
) -> None:
    tokenizer = DECODERS[kind]()
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    continuation = Continuation(tokenizer, template, anchor(before, tokenizer), prompt)
    complete = CompleteTexts([continuation], token_texts(tokenizer))
    criterion = CompleteCandidates(complete, 1, len(before))
    new = tokenizer(prompt + needed + more, add_special_tokens=False)["input_ids"][len(before) :]
    if tokenizer.decode([*before, *new]) != prompt + needed + more:
        # A token spans the boundary.
        new = tokenizer(needed + more, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode([*before, *new]) == prompt + needed + more

    ends = [
        length
        for length in range(1, len(new) + 1)
        if bool(criterion(torch.tensor([[*before, *new[:length]]]), None).all())
    ]

    written = tokenizer.decode([*before, *new[: ends[0]]])[len(prompt) :].replace("\ufffd", "é")
    assert written.startswith(needed)
    assert not tokenizer.decode([*before, *new[: ends[0] - 1]])[len(prompt) :].startswith(needed)
    assert continuation.candidate(new[: ends[0]]) == continuation.candidate(new)


def test_each_sequence_is_seen_behind_its_own_prompt() -> None:
    tokenizer = DECODERS["byte_level"]()
    heads = [HEAD, HEAD.replace('"""\n', "")]
    ids = [tokenizer(head)["input_ids"] for head in heads]
    width = max(map(len, ids))
    new = [tokenizer(text)["input_ids"] for text in ("    return n\nx", "    return n\n ")]
    end = tokenizer.eos_token_id
    rows = [[end] * (width - len(prompt)) + prompt + text + [end] * (6 - len(text)) for prompt in ids for text in new]
    continuations = [
        Continuation(tokenizer, COMPLETION, anchor(prompt, tokenizer), head)
        for prompt, head in zip(ids, heads, strict=True)
    ]

    rule = CompleteTexts(continuations, token_texts(tokenizer))
    complete = CompleteCandidates(rule, len(continuations), width)(torch.tensor(rows), None)

    # The second prompt ends inside its docstring, where a line may begin without indentation.
    assert complete.tolist() == [True, False, False, False]
