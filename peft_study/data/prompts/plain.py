"""The plain form: an instruction, and bare code as its answer."""

import re

from peft_study.data.line_ends import LINE_END
from peft_study.data.prompts.base import BaseForm
from peft_study.data.samples import Sample

INSTRUCTION, RESPONSE = "### Instruction:", "### Response:"
# A model that was not trained for the end of an answer writes the next prompt behind it.
_NEXT_PROMPT = re.compile(rf"(?:\A|{LINE_END}){INSTRUCTION}")


class Form(BaseForm):
    """A candidate is what stands before the next prompt, or the first line of that."""

    def around(self, sample: Sample) -> tuple[str, str]:
        return f"{INSTRUCTION}\n", f"\n{RESPONSE}\n"

    def target(self, sample: Sample) -> str:
        return sample.answer

    def ends_early(self, one_line: bool) -> bool:
        # Each token with a newline ends a beam, which costs no decoding.
        return not one_line

    def is_complete(self, generated: str, prompt: str, one_line: bool) -> bool:
        return not one_line and _NEXT_PROMPT.search(generated) is not None

    def candidate(self, generated: str, prompt: str, one_line: bool) -> str:
        following = _NEXT_PROMPT.search(generated)
        answer = generated if following is None else generated[: following.start()].rstrip()
        return re.split(LINE_END, answer, maxsplit=1)[0] if one_line else answer
