"""When a candidate is complete, and its text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from peft_study.config.schema import PromptForm
from peft_study.data.continuation import Anchor, text_behind
from peft_study.data.line_ends import LINE_END
from peft_study.data.prompts import INSTRUCTION, Template

# A token holds a character at least. A plain candidate ends with the words that begin the next prompt, another at most
# five characters behind a line break: at a fence and one more. Tokens without text may stand between.
_LAST_TOKENS = {True: 24, False: 8}
# A token by itself may lack a space that it has in the text, never have one more.
_NEXT_PROMPT = re.compile(INSTRUCTION.replace(" ", " ?"))
_UNINDENTED_LINE = re.compile(rf"{LINE_END}\S")


@dataclass(frozen=True, slots=True)
class Sentinel:
    """The token behind which a model writes what its prompt's sentinel stands for.

    Attributes:
        token: its id.
        special: ids of the special tokens, any of which ends the answer.
    """

    token: int
    special: frozenset[int]

    @classmethod
    def of(cls, template: Template, tokenizer: PreTrainedTokenizerBase) -> "Sentinel | None":
        """A template's sentinel; None where it has none."""
        if not template.sentinel:
            return None
        special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        # An unknown character is a part of the answer.
        special -= {tokenizer.unk_token_id}
        return cls(tokenizer.get_vocab()[template.sentinel], frozenset(special))

    def answer(self, new: Sequence[int]) -> Sequence[int]:
        """The tokens between the sentinel and the next special token; all of them where the sentinel is missing."""
        if self.token not in new:
            return new
        behind = new[list(new).index(self.token) + 1 :]
        return behind[: next((place for place, token in enumerate(behind) if token in self.special), None)]


@dataclass(frozen=True, slots=True)
class Continuation:
    """What is written behind one prompt.

    Attributes:
        tokenizer: the model's.
        template: says where a candidate ends.
        end: the prompt's last tokens.
        prompt: the prompt's text.
        sentinel: where the answer begins; None where it begins with the first token.
    """

    tokenizer: PreTrainedTokenizerBase
    template: Template
    end: Anchor
    prompt: str
    sentinel: Sentinel | None = None

    def candidate(self, new: Sequence[int]) -> str:
        """The candidate in new tokens."""
        return self.template.candidate(self._text(new), self.prompt)

    def is_complete(self, new: Sequence[int]) -> bool:
        """Whether whatever follows these new tokens cannot change the candidate."""
        return self.template.is_complete(self._text(new), self.prompt)

    def _text(self, new: Sequence[int]) -> str:
        answer = new if self.sentinel is None else self.sentinel.answer(new)
        return text_behind(self.end, answer, self.tokenizer)


class CompleteCandidates(StoppingCriteria):
    """Ends each sequence when its candidate is complete, by the rule that also cuts the candidate.

    transformers' own stop strings look across the boundary into the prompt, and know nothing of where they stand.

    Args:
        continuations: one a prompt.
        width: positions that the prompt takes before the new tokens.
        texts: of each token by itself, by its id.
    """

    def __init__(self, continuations: Sequence[Continuation], width: int, texts: Mapping[int, str]) -> None:
        self._continuations = continuations
        self._width = width
        self._texts = texts
        self._plain = continuations[0].template.form is PromptForm.plain

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
        of_each = len(new) // len(self._continuations)
        complete = torch.zeros(len(new), dtype=torch.bool)
        tails = new[:, -_LAST_TOKENS[self._plain] :].tolist()
        begun = [row for row, tail in enumerate(tails) if self._may_be_complete(tail)]
        for row, written in zip(begun, new[begun].tolist(), strict=True):
            complete[row] = self._continuations[row // of_each].is_complete(written)
        return complete.to(input_ids.device)

    def _may_be_complete(self, tail: Sequence[int]) -> bool:
        # The text as a whole is read seldom: most lines are indented, and few tokens hold the last character sought.
        if self._plain and INSTRUCTION[-1] not in self._texts.get(tail[-1], ""):
            return False
        sought = _NEXT_PROMPT if self._plain else _UNINDENTED_LINE
        return bool(sought.search("".join(self._texts.get(token, "") for token in tail)))


def token_texts(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The text of each token by itself, by its id; special tokens have none."""
    ids = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    texts = tokenizer.batch_decode([[index] for index in ids], clean_up_tokenization_spaces=False)
    return dict(zip(ids, texts, strict=True))


def newline_tokens(texts: Mapping[int, str]) -> list[int]:
    """Ids of the tokens whose text holds a line break; where a candidate is one line, each of them ends it."""
    return [index for index, text in texts.items() if re.search(LINE_END, text)]
