"""The two prompt forms, and candidates cut out of what a model wrote."""

import pytest

from peft_study.config.schema import PromptForm
from peft_study.data.prompts import Template


def test_the_plain_prompt_is_the_papers() -> None:
    prompt = Template().prompt("sort `xs`")

    assert prompt.text == "### Instruction:\nsort `xs`\n### Response:\n"
    assert prompt.text[prompt.instruction_start : prompt.instruction_end] == "sort `xs`"


def test_a_prefix_stands_before_everything() -> None:
    prompt = Template(prefix="Generate Python code: ").prompt("sort `xs`")

    assert prompt.text.startswith("Generate Python code: ### Instruction:\n")
    assert prompt.text[prompt.instruction_start : prompt.instruction_end] == "sort `xs`"


def test_the_fenced_form_opens_and_closes_a_fence() -> None:
    template = Template(PromptForm.fenced)

    assert template.prompt("sort `xs`").text.endswith("### Response:\n```python\n")
    assert template.target("xs.sort()") == "xs.sort()\n```"
    assert template.candidate(template.target("xs.sort()")) == "xs.sort()"


@pytest.mark.parametrize(
    ("form", "stop_at_newline", "generated", "candidate"),
    [
        (PromptForm.plain, True, "xs.sort()\nprint(xs)", "xs.sort()"),
        (PromptForm.plain, True, "\nxs.sort()", ""),
        (PromptForm.plain, False, "a = 1\nb = 2", "a = 1\nb = 2"),
        (PromptForm.fenced, False, "a = 1\n\nb = 2\n```\n\nmore", "a = 1\n\nb = 2"),
        (PromptForm.fenced, False, "```\nno code", ""),
        (PromptForm.fenced, False, "x = '```'\n```", "x = '```'"),
        (PromptForm.fenced, False, "never closed", "never closed"),
    ],
)
def test_a_candidate_is_what_stands_before_the_stop(
    form: PromptForm, stop_at_newline: bool, generated: str, candidate: str
) -> None:
    assert Template(form, stop_at_newline=stop_at_newline).candidate(generated) == candidate
