"""The study's prompts: what a model reads, what it should write, and how a candidate is cut out of what it wrote."""

from dataclasses import dataclass

from peft_study.config.schema import PromptForm

FENCE = "```"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt.

    Attributes:
        text: all of it.
        instruction_start: where the instruction begins, in characters; only the instruction may be cut.
        instruction_end: where it ends.
    """

    text: str
    instruction_start: int
    instruction_end: int


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt form with a model's prefix (protocol: "Prompts").

    Attributes:
        form: plain or fenced.
        prefix: text before the prompt, such as CodeT5+'s "Generate Python code: ".
        stop_at_newline: a candidate is one line.
    """

    form: PromptForm = PromptForm.plain
    prefix: str = ""
    stop_at_newline: bool = False

    def prompt(self, instruction: str) -> Prompt:
        """Render the prompt of one instruction; the target follows it without any separator."""
        head = f"{self.prefix}### Instruction:\n"
        fence = f"{FENCE}python\n" if self.form is PromptForm.fenced else ""
        return Prompt(f"{head}{instruction}\n### Response:\n{fence}", len(head), len(head) + len(instruction))

    def target(self, answer: str) -> str:
        """What the model should write after the prompt, without the end-of-sequence token."""
        return f"{answer}\n{FENCE}" if self.form is PromptForm.fenced else answer

    def stop_strings(self) -> list[str]:
        """Texts after which nothing more is read; a newline is stopped at by token instead."""
        return [f"\n{FENCE}"] if self.form is PromptForm.fenced else []

    def candidate(self, generated: str) -> str:
        """Cut the candidate out of the generated text: what stands before the closing fence, or on the first line."""
        if self.form is PromptForm.fenced:
            # A fence that opens the text closes an empty candidate; elsewhere it stands at the start of a line.
            generated = "" if generated.startswith(FENCE) else generated.split(f"\n{FENCE}", 1)[0]
            return generated.strip()
        return generated.split("\n", 1)[0] if self.stop_at_newline else generated
