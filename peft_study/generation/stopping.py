"""When a candidate is complete, and its text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from peft_study.data.continuation import Anchor, text_behind
from peft_study.data.line_ends import LINE_END
from peft_study.data.prompts import Template

# A token holds a character at least, and a candidate ends at most five characters behind a line break: at a fence and
# one more. Tokens without text may stand between.
_LAST_TOKENS = 8
_UNINDENTED_LINE = re.compile(rf"{LINE_END}\S")


@dataclass(frozen=True, slots=True)
class Continuation:
    """What is written behind one prompt.

    Attributes:
        tokenizer: the model's.
        template: says where a candidate ends.
        end: the prompt's last tokens.
        prompt: the prompt's text.
    """

    tokenizer: PreTrainedTokenizerBase
    template: Template
    end: Anchor
    prompt: str

    def candidate(self, new: Sequence[int]) -> str:
        """The candidate in new tokens."""
        return self.template.candidate(self._text(new), self.prompt)

    def is_complete(self, new: Sequence[int]) -> bool:
        """Whether the last of the new tokens completes the candidate."""
        # Most lines are indented, which the last tokens show: then the text as a whole need not be read.
        return bool(_UNINDENTED_LINE.search(self._text(new[-_LAST_TOKENS:]))) and self.template.is_complete(
            self._text(new), self.prompt
        )

    def _text(self, new: Sequence[int]) -> str:
        return text_behind(self.end, new, self.tokenizer)


class CompleteCandidates(StoppingCriteria):
    """Ends each sequence when its candidate is complete, by the rule that also cuts the candidate.

    transformers' own stop strings look across the boundary into the prompt, and know nothing of where they stand.

    Args:
        continuations: one a prompt.
        width: positions that the prompt takes before the new tokens.
        newlines: ids of the tokens that hold a line break, at one of which every end begins.
    """

    def __init__(self, continuations: Sequence[Continuation], width: int, newlines: Sequence[int]) -> None:
        self._continuations = continuations
        self._width = width
        self._newlines = torch.tensor(newlines, dtype=torch.long)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Whether each sequence is complete.

        Args:
            input_ids: token ids, equally many sequences of each prompt in the prompts' order; sequences x tokens.
            scores: unused.
            **kwargs: unused.

        Returns:
            sequences, bool.
        """
        new = input_ids[:, self._width :]
        self._newlines = self._newlines.to(new.device)
        complete = torch.isin(new[:, -_LAST_TOKENS:], self._newlines).any(dim=1)
        of_each = len(new) // len(self._continuations)
        for row in complete.nonzero().flatten().tolist():
            complete[row] = self._continuations[row // of_each].is_complete(new[row].tolist())
        return complete


def newline_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens whose text holds a line break; where a candidate is one line, each of them ends it."""
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.batch_decode([[index] for index in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    return [index for index, text in enumerate(texts) if re.search(LINE_END, text) and index not in special]
