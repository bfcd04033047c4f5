"""The prompt forms, and candidates cut out of what a model wrote."""

import pytest

from peft_study.config.schema import PromptForm
from peft_study.data.prompts import Template
from peft_study.data.samples import ProgramTests, Sample

APPS = Template(PromptForm.apps)
TASK = (
    "[INST] Write a python code to solve the following coding problem that obeys the constraints and passes the example"
    " test cases. The output code needs to "
)
CLASS = "class Solution:\n    def f(self, n):"
SORT = Sample("test-0", "sort `xs`", "xs.sort()")


def test_the_plain_prompt_is_the_papers() -> None:
    prompt = Template().prompt(SORT)

    assert prompt.text == "### Instruction:\nsort `xs`\n### Response:\n"
    assert prompt.text[prompt.instruction_start : prompt.instruction_end] == "sort `xs`"


def test_a_prefix_stands_before_everything() -> None:
    prompt = Template(prefix="Generate Python code: ").prompt(SORT)

    assert prompt.text.startswith("Generate Python code: ### Instruction:\n")
    assert prompt.text[prompt.instruction_start : prompt.instruction_end] == "sort `xs`"


def test_the_fenced_form_opens_and_closes_a_fence() -> None:
    template = Template(PromptForm.fenced)

    assert template.prompt(SORT).text.endswith("### Response:\n```python\n")
    assert template.target(SORT) == "xs.sort()\n```"
    assert template.candidate(template.target(SORT)) == "xs.sort()"


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


def problem(answer: str = "print(1)", starter_code: str = "", fn_name: str | None = None) -> Sample:
    tests = ProgramTests(("1",), ("2",), fn_name)
    return Sample("test-0", "Print `n`.", answer, tests=tests, starter_code=starter_code)


@pytest.mark.parametrize(
    ("sample", "guide", "end"),
    [
        (problem(), "read from and write to standard IO", ""),
        (SORT, "read from and write to standard IO", ""),
        (problem(fn_name="f"), "use the provided function signature", ""),
        (problem(starter_code="def f(n):\n\t"), "read from and write to standard IO", "def f(n):"),
        (problem(starter_code="def f(n):\n    ", fn_name="f"), "use the provided function signature", "def f(n):"),
    ],
    ids=["standard input", "without tests", "call", "starter code", "call with starter code"],
)
def test_the_apps_form_is_code_llama_instructs(sample: Sample, guide: str, end: str) -> None:
    prompt = APPS.prompt(sample)

    assert prompt.text == f"{TASK}{guide}:\n{sample.instruction}\n[/INST]\n```python\n{end}"
    assert prompt.text[prompt.instruction_start : prompt.instruction_end] == sample.instruction


@pytest.mark.parametrize(
    ("starter_code", "solution", "target"),
    [
        ("", "print(1)\n", "print(1)"),
        ("def f(n):\n\t", "def f(n):\n    return n", "\n    return n"),
        ("def f(n):", "def f(n): return n", " return n"),
        (f"{CLASS}\n        ", f"\n{CLASS}\n        return n\n", "\n        return n"),
        ("def f(n):\n\t", "import re\ndef f(n):\n  return n", "\nimport re\ndef f(n):\n  return n"),
        ("def f(n):\n\t", "f = abs", "\nf = abs"),
        ("def f(n):\n    pass", "def f(n):\n    pass", ""),
        ("  \n", "print(1)", "print(1)"),
    ],
)
def test_a_target_goes_on_behind_the_starter_code_and_gives_the_solution_back(
    starter_code: str, solution: str, target: str
) -> None:
    sample = problem(solution, starter_code)

    assert APPS.target(sample) == f"{target}\n```"
    assert APPS.program(APPS.candidate(APPS.target(sample)), sample) == solution.strip()


@pytest.mark.parametrize(
    ("starter_code", "generated", "program"),
    [
        pytest.param("", "print(1)\n```\nThis prints 1.", "print(1)", id="no starter code"),
        pytest.param("", "```\nno code", "", id="empty"),
        pytest.param("", "  \nprint('```')", "print('```')", id="a blank line first"),
        pytest.param("def f(n):", "\n    return n\n```", "def f(n):\n    return n", id="goes on"),
        pytest.param("def f(n):", "\n    return n\n\nf(1)", "def f(n):\n    return n\n\nf(1)", id="goes on and calls"),
        pytest.param("def f(n):", "\ndef f(n):\n    return 2\n```", "def f(n):\n    return 2", id="starts over"),
        pytest.param("def f(n):", "\n    return (n", "def f(n):\n    return (n", id="broken"),
        pytest.param("def f(n):", "\n```", "def f(n):", id="nothing"),
        pytest.param("def f(n):", "\n# later\n```", "def f(n):\n# later", id="a comment"),
        pytest.param("import re\n", "\nprint(re)\n```", "import re\nprint(re)", id="whole starter code"),
    ],
)
def test_a_program_is_whole(starter_code: str, generated: str, program: str) -> None:
    assert APPS.program(APPS.candidate(generated), problem(starter_code=starter_code)) == program


@pytest.mark.parametrize("form", [PromptForm.plain, PromptForm.fenced])
def test_in_the_other_forms_a_candidate_is_the_program(form: PromptForm) -> None:
    assert Template(form).program(" x\n", problem(starter_code="def f(n):")) == " x\n"


HEAD = 'def double(n):\n    """Twice n."""\n'
DOUBLE = Sample("test-1", HEAD, f"{HEAD}    return 2 * n\n", starter_code=HEAD)


def test_the_completion_form_goes_on_from_a_functions_head() -> None:
    template = Template(PromptForm.completion, preamble="Generate Python code.")

    assert template.prompt(DOUBLE).text == HEAD
    assert template.target(DOUBLE) == "    return 2 * n\n"
    assert template.program(template.target(DOUBLE), DOUBLE) == DOUBLE.answer


@pytest.mark.parametrize(
    ("generated", "candidate"),
    [
        ("    return 2 * n\n\n\ndef other():\n    pass", "    return 2 * n\n\n"),
        ("    return 2 * n\nprint(double(2))\nclass A:", "    return 2 * n"),
        ("    # a comment\n    if n:\n        return 2 * n\n", "    # a comment\n    if n:\n        return 2 * n\n"),
        ("", ""),
    ],
)
def test_a_completion_ends_where_something_else_begins(generated: str, candidate: str) -> None:
    assert Template(PromptForm.completion).candidate(generated) == candidate
