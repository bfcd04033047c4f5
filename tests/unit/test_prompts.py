"""The prompt forms, and candidates cut out of what a model wrote."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        (PromptForm.plain, False, "a = 1\n\nb = 2\n\n### Instruction:\nmore", "a = 1\n\nb = 2"),
        (PromptForm.plain, False, "a = 1\r\n### Instruction:\r\nmore", "a = 1"),
        (PromptForm.plain, False, "### Instruction:\nmore", ""),
        (PromptForm.plain, False, "a = 1  ### Instruction:\nb = 2", "a = 1  ### Instruction:\nb = 2"),
        (PromptForm.plain, False, "a = 1\n### Instructions\nb = 2", "a = 1\n### Instructions\nb = 2"),
        (PromptForm.plain, False, "    a = 1\n    ### Instruction:\n", "    a = 1\n    ### Instruction:\n"),
        (PromptForm.plain, True, "### Instruction:\nmore", ""),
        (PromptForm.plain, True, "a = 1\n### Instruction:\nmore", "a = 1"),
        (PromptForm.fenced, False, "a = 1\n\nb = 2\n```\n\nmore", "a = 1\n\nb = 2"),
        (PromptForm.fenced, False, "```\nno code", ""),
        (PromptForm.fenced, False, "x = '```'\n```", "x = '```'"),
        (PromptForm.fenced, False, "never closed", "never closed"),
        (PromptForm.fenced, False, "```python\nxs.sort()\n```\nmore", "xs.sort()"),
        (PromptForm.fenced, False, "```\nxs.sort()\n```", "xs.sort()"),
        (PromptForm.fenced, False, "```\nxs.sort()", "xs.sort()"),
        (PromptForm.fenced, False, "\n```python\nxs.sort()\n```", "xs.sort()"),
        (PromptForm.fenced, False, "\n\n```python\nxs.sort()", "xs.sort()"),
        (PromptForm.fenced, False, "```python\n```", ""),
        (PromptForm.fenced, False, "```", ""),
        (PromptForm.fenced, False, "\n```\nno code", ""),
        (PromptForm.fenced, False, "a = 1\r\n```\r\nmore", "a = 1"),
        (PromptForm.fenced, False, "```python\ra = 1\r```\rmore", "a = 1"),
        (PromptForm.plain, True, "xs.sort()\r\nprint(xs)", "xs.sort()"),
        (PromptForm.plain, True, "xs.sort()\rprint(xs)", "xs.sort()"),
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


def test_an_empty_answer_behind_whole_starter_code_ends_at_its_fence() -> None:
    assert APPS.candidate("\n```\nThis prints 1.") == ""


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


COMPLETION = Template(PromptForm.completion)
BODY = "    return 2 * n\n"


@pytest.mark.parametrize(
    "rest",
    [
        "def other():\n    pass",
        "class A:",
        "# Example",
        "@cache\ndef other():\n    pass",
        "print(double(2))",
        "if __name__ == '__main__':\n    main()",
        "assert double(1) == 2",
        "from math import pi",
        "import math",
        "FACTOR = 2",
        "```\nThis returns twice n.",
        '"""Another text."""',
        "This function isn't recursive.",
        "<file_sep>other.py",
        ") # not open",
        "é",
    ],
)
@pytest.mark.parametrize("blank", ["", "\n", "\n\n", "    \n"])
def test_a_completion_ends_where_an_unindented_line_begins(rest: str, blank: str) -> None:
    generated = f"{BODY}{blank}{rest}"

    assert COMPLETION.candidate(generated, HEAD) == f"{BODY}{blank}"[:-1]
    assert COMPLETION.is_complete(generated[: len(BODY + blank) + 1], HEAD)
    assert not COMPLETION.is_complete(BODY + blank, HEAD)


@pytest.mark.parametrize(
    "generated",
    [
        "",
        "    # a comment that isn't code\n    if n:\n        return 2 * n\n",
        "    return sum(\n[\n    n,\nn, # it's (\n]\n)\n",
        '    text = """\n# no comment\n```\ndef no_function():\n"""\n    return text\n',
        "    text = r'\\\\d'\n    return '\\'' + '\"(' + text\n",
        "    text = '''\\'''\nit\n'''\n    return text\n",
        "    return n + \\\nn\n",
        "    return 'a\\\nb'\n",
        "    @cache\n    def inner():\n        return n\n\n    return inner() * 2\n",
        "    return f'{n[\"a\"]}' + '(' # (\n",
        "def double(n):\n    return n + n\n",
    ],
)
def test_a_completion_keeps_all_that_belongs_to_its_function(generated: str) -> None:
    for line_end in ("\n", "\r\n", "\r"):
        text = generated.replace("\n", line_end)
        assert COMPLETION.candidate(text, HEAD) == text
        assert COMPLETION.candidate(f"{text}print(1)", HEAD) == (text.removesuffix(line_end) if text else "print(1)")
        assert not COMPLETION.is_complete(text, HEAD)


@pytest.mark.parametrize(
    ("prompt", "generated", "candidate"),
    [
        ('def f():\n    """Say\n', 'yes.\n"""\n    return 1\nx', 'yes.\n"""\n    return 1'),
        ("def f():\n    return [\n", "1\n]\nprint(1)", "1\n]"),
        ("def f():", "\n    return 1\nf()", "\n    return 1"),
        ("def f():\n    '''It isn't'''\n", "    return 1\nf()", "    return 1"),
    ],
)
def test_a_completion_may_begin_inside_of_something(prompt: str, generated: str, candidate: str) -> None:
    assert COMPLETION.candidate(generated, prompt) == candidate


PIECES = [
    "### Instruction",
    ":",
    "\n",
    "    ",
    "x",
    "def f():",
    "```",
    "python",
    "(",
    ")",
    '"""',
    "'",
    "#",
    "\\",
    "\r",
    "é",
]


@settings(max_examples=300, deadline=None)
@given(text=st.lists(st.sampled_from(PIECES), max_size=25).map("".join), form=st.sampled_from(PromptForm))
def test_what_stops_the_generation_leaves_the_candidate_as_it_is(text: str, form: PromptForm) -> None:
    template = Template(form)
    stops = [length for length in range(len(text) + 1) if template.is_complete(text[:length], HEAD)]

    candidates = {template.candidate(text[:length], HEAD) for length in stops}

    assert candidates <= {template.candidate(text, HEAD)}
    assert template.ends_early or not stops


SOLUTIONS = Path(__file__).parents[3] / "shared" / "data" / "humaneval" / "test.jsonl"


def test_published_solutions_are_kept_whole() -> None:
    if not SOLUTIONS.is_file():
        pytest.skip("no copy of humaneval beside the checkout")

    for line in SOLUTIONS.read_text(encoding="utf-8").splitlines():
        problem = json.loads(line)
        for rest in ("", "\ncheck(candidate)", "\n```", "Here is why."):
            text = problem["canonical_solution"] + rest
            assert COMPLETION.candidate(text, problem["prompt"]).rstrip() == problem["canonical_solution"].rstrip()
