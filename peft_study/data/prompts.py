"""The study's prompts: what a model reads, what it should write, and how a candidate is cut out of what it wrote."""

from collections.abc import Sequence
from dataclasses import dataclass

from peft_study.config.schema import PromptForm
from peft_study.data.samples import Sample
from peft_study.data.syntax import parse

FENCE = "```"
APPS_TASK = (
    "[INST] Write a python code to solve the following coding problem that obeys the constraints and passes the example"
    " test cases. The output code needs to "
)
COMPLETION_ENDS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where a function that was gone on with has ended (Chen et al. 2021, arXiv 2107.03374, section 2.1)."""
CALLED, STANDARD_IO = "use the provided function signature", "read from and write to standard IO"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt.

    Attributes:
        text: all of it.
        start: where the sample's own prompt begins, behind the examples.
        instruction_start: where the instruction begins, in characters; only the instruction may be cut.
        instruction_end: where it ends.
    """

    text: str
    instruction_start: int
    instruction_end: int
    start: int = 0


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
    """

    form: PromptForm = PromptForm.plain
    prefix: str = ""
    stop_at_newline: bool = False
    preamble: str = ""

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
        return Prompt(f"{before}{head}{sample.instruction}{tail}", start, start + len(sample.instruction), own)

    def _around(self, sample: Sample) -> tuple[str, str]:
        fence = f"{FENCE}python\n"
        if self.form is PromptForm.apps:
            called = sample.tests is not None and sample.tests.fn_name is not None
            head = f"{APPS_TASK}{CALLED if called else STANDARD_IO}:\n"
            tail = f"\n[/INST]\n{fence}{_starter(sample)}"
        elif self.form is PromptForm.completion:
            head, tail = "", ""
        else:
            head = "### Instruction:\n"
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

    def stop_strings(self) -> list[str]:
        """Texts after which nothing more is read; a newline is stopped at by token instead."""
        if self.form is PromptForm.completion:
            return list(COMPLETION_ENDS)
        return [] if self.form is PromptForm.plain else [f"\n{FENCE}"]

    def candidate(self, generated: str) -> str:
        """Cut the candidate out of the generated text: what stands before the closing fence, or on the first line."""
        if self.form is PromptForm.plain:
            return generated.split("\n", 1)[0] if self.stop_at_newline else generated
        if self.form is PromptForm.completion:
            return generated[: min((generated.find(end) for end in COMPLETION_ENDS if end in generated), default=None)]
        # A fence that opens the text closes an empty candidate; elsewhere it stands at the start of a line.
        code = "" if generated.startswith(FENCE) else generated.split(f"\n{FENCE}", 1)[0]
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
