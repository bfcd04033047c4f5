"""The study's prompts: what a model reads, what it should write, and how a candidate is cut out of what it wrote."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from peft_study.config.schema import PromptForm
from peft_study.data.line_ends import LINE_END
from peft_study.data.package_v1 import clean_up_spaces, cut_at_angle_brackets
from peft_study.data.samples import Sample
from peft_study.data.syntax import block_end, parse

FENCE = "```"
APPS_TASK = (
    "[INST] Write a python code to solve the following coding problem that obeys the constraints and passes the example"
    " test cases. The output code needs to "
)
CALLED, STANDARD_IO = "use the provided function signature", "read from and write to standard IO"
# Behind a line break a fence closes the block, unless a language is named.
_OPENING = re.compile(rf"(?:{FENCE}|\s+{FENCE}(?=\w))(?P<language>[^\r\n]*)")
INSTRUCTION = "### Instruction:"
# A model that was not trained for the end of an answer writes the next prompt behind it.
_NEXT_PROMPT = re.compile(rf"(?:\A|{LINE_END}){INSTRUCTION}")
_CLOSING = re.compile(rf"{LINE_END}{FENCE}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt.

    Attributes:
        text: all of it.
        start: where the sample's own prompt begins, behind the examples.
        instruction_start: where the instruction begins, in characters; only the instruction may be cut.
        instruction_end: where it ends.
        sentinel: the token at which the answer goes, behind the text; empty where it follows the text itself.
    """

    text: str
    instruction_start: int
    instruction_end: int
    start: int = 0
    sentinel: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt form with a model's prefix (protocol: "Prompts").

    The apps form shows a problem's starter code behind the opening fence, without the white space at its end. The
    target is how the solution goes on from there; a solution that does not begin with the starter code is, behind a
    line break, the target as a whole. `program` undoes both.

    The completion form shows nothing but the starter code, which is the instruction.

    Attributes:
        form: plain, fenced, apps or completion.
        prefix: text before the prompt, such as CodeT5+'s "Generate Python code: ".
        stop_at_newline: a candidate is one line.
        preamble: a line before the examples and the prompt; the apps and completion forms have none.
        sentinel: a token of the model's pretraining, behind each prompt and before the model's answer to it.
        cleaned: a convention of the study's package: spaces before punctuation are removed from a candidate.
        cut_at_brackets: likewise: a candidate ends at the first angle bracket.
    """

    form: PromptForm = PromptForm.plain
    prefix: str = ""
    stop_at_newline: bool = False
    preamble: str = ""
    sentinel: str = ""
    cleaned: bool = False
    cut_at_brackets: bool = False

    def prompt(self, sample: Sample, examples: Sequence[Sample] = ()) -> Prompt:
        """Render a sample's prompt; the target follows it without any separator.

        Args:
            sample: what to prompt for.
            examples: solved before it, with a blank line behind each.
        """
        before = self.prefix
        if self.preamble and self.form not in (PromptForm.apps, PromptForm.completion):
            before += f"{self.preamble}\n"
        for example in examples:
            head, tail = self._around(example)
            before += f"{head}{example.instruction}{tail}{self.target(example)}\n\n"
        head, tail = self._around(sample)
        start = len(before) + len(head)
        # A model's prefix belongs to its prompt; preamble and examples come on top.
        own = 0 if before == self.prefix else len(before)
        text = f"{before}{head}{sample.instruction}{tail}"
        return Prompt(text, start, start + len(sample.instruction), own, self.sentinel)

    def _around(self, sample: Sample) -> tuple[str, str]:
        fence = f"{FENCE}python\n"
        if self.form is PromptForm.apps:
            called = sample.tests is not None and sample.tests.fn_name is not None
            head = f"{APPS_TASK}{CALLED if called else STANDARD_IO}:\n"
            tail = f"\n[/INST]\n{fence}{_starter(sample)}"
        elif self.form is PromptForm.completion:
            head, tail = "", ""
        else:
            head = f"{INSTRUCTION}\n"
            tail = f"\n### Response:\n{fence if self.form is PromptForm.fenced else ''}"
        return head, tail

    def target(self, sample: Sample) -> str:
        """What the model should write after the prompt, without the end-of-sequence token."""
        if self.form is PromptForm.plain:
            return sample.answer
        if self.form is PromptForm.completion:
            return sample.answer.removeprefix(sample.instruction)
        code = _continuation(sample) if self.form is PromptForm.apps else sample.answer
        return f"{code}\n{FENCE}"

    @property
    def ends_early(self) -> bool:
        """Whether `is_complete` can say that a candidate is complete; a newline is stopped at by token instead."""
        return self.form is not PromptForm.plain or not self.stop_at_newline

    def is_complete(self, generated: str, prompt: str = "") -> bool:
        """Whether whatever follows cannot change the candidate.

        Args:
            generated: what the model wrote so far.
            prompt: the text before it.
        """
        if self.form is PromptForm.plain:
            return not self.stop_at_newline and _NEXT_PROMPT.search(generated) is not None
        if self.form is PromptForm.completion:
            return _completion_end(generated, prompt) is not None
        code, end = _fenced(generated)
        # After blank lines alone, a language behind the fence would make it an opening one.
        return end is not None and (bool(code.strip()) or end < len(generated))

    def candidate(self, generated: str, prompt: str = "") -> str:
        """Cut the candidate out of the generated text.

        In the plain form that is what stands before the next prompt, or the first line of that.

        In the completion form it is what belongs to the function that the prompt begins: everything before the first
        unindented line, be that a decorator, a fence, a comment or prose. The stop strings of public harnesses (Chen
        et al. 2021, arXiv 2107.03374, section 2.1, and later ones) all begin such a line, but also cut strings and
        brackets that stand over several lines. The first line is always kept: it may start over.

        In the other forms it is what stands before the closing fence. An answer that opens a fence itself begins
        behind that.

        Args:
            generated: what the model wrote behind the prompt.
            prompt: the text before it, which says whether a completion begins inside a string or brackets.
        """
        candidate = self._candidate(clean_up_spaces(generated) if self.cleaned else generated, prompt)
        return cut_at_angle_brackets(candidate) if self.cut_at_brackets else candidate

    def _candidate(self, generated: str, prompt: str) -> str:
        if self.form is PromptForm.plain:
            following = _NEXT_PROMPT.search(generated)
            answer = generated if following is None else generated[: following.start()].rstrip()
            return re.split(LINE_END, answer, maxsplit=1)[0] if self.stop_at_newline else answer
        if self.form is PromptForm.completion:
            return generated[: _completion_end(generated, prompt)]
        code, _ = _fenced(generated)
        # Behind starter code, the white space at the beginning is the program's.
        return code.rstrip() if self.form is PromptForm.apps else code.strip()

    def program(self, candidate: str, sample: Sample) -> str:
        """The whole program that a candidate stands for.

        In the apps form that is the starter code with the candidate behind it. A candidate that starts over is a
        program by itself: the two together are no Python, and it alone is. In the completion form it goes on from the
        instruction. In the other forms nothing changes.

        Args:
            candidate: as `candidate` cut it.
            sample: the sample that was prompted with.
        """
        if self.form is PromptForm.completion:
            return sample.instruction + candidate
        if self.form is not PromptForm.apps:
            return candidate
        starter = _starter(sample)
        if not starter:
            return candidate.strip()
        whole = starter + candidate
        return candidate.strip() if parse(whole) is None and _is_program(candidate) else whole


def _completion_end(generated: str, prompt: str) -> int | None:
    end = block_end(prompt + generated, start=len(prompt))
    return None if end is None else end - len(prompt)


def _fenced(generated: str) -> tuple[str, int | None]:
    """The text before the closing fence, and the position behind that fence, which is None without a fence."""
    opening = _OPENING.match(generated)
    start = opening.end() if opening else 0
    closing = _CLOSING.search(generated, start)
    if closing is not None:
        return generated[start : closing.start()], closing.end()
    rest = generated[start:]
    # Without a language and a closing fence, a fence at the start has closed an empty answer, and prose follows.
    is_prose = opening is not None and not opening["language"].strip() and not _is_program(rest)
    return "" if is_prose else rest, None


def _starter(sample: Sample) -> str:
    # A model writes line breaks and indentation itself; cut off behind them, a prompt would split its tokens.
    return sample.starter_code.rstrip()


def _continuation(sample: Sample) -> str:
    starter, solution = _starter(sample), sample.answer.strip()
    if not starter:
        return solution
    return solution.removeprefix(starter) if solution.startswith(starter) else f"\n{solution}"


def _is_program(code: str) -> bool:
    tree = parse(code)
    return tree is not None and bool(tree.body)
