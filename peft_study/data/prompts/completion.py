"""The completion form: the head of a function, and its body as the answer."""

from peft_study.data.prompts.base import BaseForm
from peft_study.data.samples import Sample
from peft_study.data.syntax import block_end


class Form(BaseForm):
    """A candidate is what belongs to the function that the prompt begins: all before the first unindented line."""

    has_preamble = False

    def around(self, sample: Sample) -> tuple[str, str]:
        """As in `BaseForm`; the prompt is the instruction alone."""
        return "", ""

    def target(self, sample: Sample) -> str:
        return sample.answer.removeprefix(sample.instruction)

    def is_complete(self, generated: str, prompt: str, one_line: bool) -> bool:
        return _end(generated, prompt) is not None

    def candidate(self, generated: str, prompt: str, one_line: bool) -> str:
        """As in `BaseForm`; the prompt says whether a completion begins inside a string or brackets."""
        return generated[: _end(generated, prompt)]

    def program(self, candidate: str, sample: Sample) -> str:
        """As in `BaseForm`: the instruction with the candidate behind it."""
        return sample.instruction + candidate


def _end(generated: str, prompt: str) -> int | None:
    # The unindented line may be a decorator, a fence, a comment or prose. The stop strings of public harnesses (Chen et
    # al. 2021, arXiv 2107.03374, section 2.1, and later ones) all begin such a line, but also cut strings and brackets
    # over several lines. The first line is always kept: it may start over.
    end = block_end(prompt + generated, start=len(prompt))
    return None if end is None else end - len(prompt)
