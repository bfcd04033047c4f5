"""The fenced form: an instruction, and code between Markdown fences as its answer."""

import re

from peft_study.data.line_ends import LINE_END
from peft_study.data.prompts.base import BaseForm
from peft_study.data.prompts.plain import INSTRUCTION, RESPONSE
from peft_study.data.samples import Sample
from peft_study.data.syntax import is_program

FENCE = "```"
OPENED = f"{FENCE}python\n"
# Behind a line break a fence closes the block, unless a language is named.
_OPENING = re.compile(rf"(?:{FENCE}|\s+{FENCE}(?=\w))(?P<language>[^\r\n]*)")
_CLOSING = re.compile(rf"{LINE_END}{FENCE}")


class Form(BaseForm):
    """A candidate is what stands before the closing fence. An answer that opens a fence itself begins behind that."""

    def around(self, sample: Sample) -> tuple[str, str]:
        return f"{INSTRUCTION}\n", f"\n{RESPONSE}\n{OPENED}"

    def target(self, sample: Sample) -> str:
        return f"{sample.answer}\n{FENCE}"

    def is_complete(self, generated: str, prompt: str, one_line: bool) -> bool:
        code, end = fenced_code(generated)
        # After blank lines alone, a language behind the fence would make it an opening one.
        return end is not None and (bool(code.strip()) or end < len(generated))

    def candidate(self, generated: str, prompt: str, one_line: bool) -> str:
        return fenced_code(generated)[0].strip()


def fenced_code(generated: str) -> tuple[str, int | None]:
    """The text before the closing fence, and the position behind that fence, which is None without a fence."""
    opening = _OPENING.match(generated)
    start = opening.end() if opening else 0
    closing = _CLOSING.search(generated, start)
    if closing is not None:
        return generated[start : closing.start()], closing.end()
    rest = generated[start:]
    # Without a language and a closing fence, a fence at the start has closed an empty answer, and prose follows.
    is_prose = opening is not None and not opening["language"].strip() and not is_program(rest)
    return "" if is_prose else rest, None
