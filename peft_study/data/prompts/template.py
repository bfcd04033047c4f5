"""A prompt form with a model's prefix and a method's preamble."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from peft_study.config.schema import PromptForm
from peft_study.data.package_v1 import clean_up_spaces, cut_at_angle_brackets
from peft_study.data.prompts.base import BaseForm
from peft_study.data.samples import Sample

# Found by name, so that a new form is its module and its entry in the enum.
FORMS: dict[PromptForm, BaseForm] = {
    name: import_module(f"peft_study.data.prompts.{name}").Form() for name in PromptForm
}


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
    """A prompt form with a model's prefix.

    Attributes:
        form: plain, fenced, apps or completion.
        prefix: text before the prompt, such as CodeT5+'s "Generate Python code: ".
        stop_at_newline: a candidate is one line.
        preamble: a line before the examples and the prompt; the apps and completion forms leave it out.
        sentinel: a token of the model's pretraining, behind each prompt and before the model's answer to it.
        cleaned: remove spaces before punctuation from a candidate, as the study's package does.
        cut_at_brackets: end a candidate at the first angle bracket, as the study's package does.
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
        form, before = FORMS[self.form], self.prefix
        if self.preamble and form.has_preamble:
            before += f"{self.preamble}\n"
        # Without the 32 stray spaces that the study's package puts behind each example's instruction.
        for example in examples:
            head, tail = form.around(example)
            before += f"{head}{example.instruction}{tail}{form.target(example)}\n\n"
        head, tail = form.around(sample)
        instruction_start = len(before) + len(head)
        return Prompt(
            text=f"{before}{head}{sample.instruction}{tail}",
            instruction_start=instruction_start,
            instruction_end=instruction_start + len(sample.instruction),
            # A model's prefix belongs to its prompt; preamble and examples come on top.
            start=0 if before == self.prefix else len(before),
            sentinel=self.sentinel,
        )

    def target(self, sample: Sample) -> str:
        """What the model should write after the prompt, without the end-of-sequence token."""
        return FORMS[self.form].target(sample)

    @property
    def ends_early(self) -> bool:
        """Whether `is_complete` can say that a candidate is complete; a newline is stopped at by token instead."""
        return FORMS[self.form].ends_early(self.stop_at_newline)

    def is_complete(self, generated: str, prompt: str = "") -> bool:
        """Whether whatever follows cannot change the candidate.

        Args:
            generated: what the model wrote so far.
            prompt: the text before it.
        """
        return FORMS[self.form].is_complete(generated, prompt, self.stop_at_newline)

    def candidate(self, generated: str, prompt: str = "") -> str:
        """Cut the candidate out of the generated text, as the form says.

        Args:
            generated: what the model wrote behind the prompt.
            prompt: the text before it, which says whether a completion begins inside a string or brackets.
        """
        # Before the cut, as the package's tokenizer did when it decoded.
        if self.cleaned:
            generated = clean_up_spaces(generated)
        candidate = FORMS[self.form].candidate(generated, prompt, self.stop_at_newline)
        return cut_at_angle_brackets(candidate) if self.cut_at_brackets else candidate

    def program(self, candidate: str, sample: Sample) -> str:
        """The whole program that a candidate of a sample, as `candidate` cut it, stands for."""
        return FORMS[self.form].program(candidate, sample)
