"""Decide when a candidate is complete, and extract its text."""

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

# The last tokens of a candidate in which its end shows, with room for tokens without text. Other tokens hold at least
# a character.
_PLAIN_END_TOKENS = 24
"""A plain candidate ends where the next prompt begins, so the tokens must cover `INSTRUCTION`."""
_END_TOKENS = 8
"""Other candidates end at most five characters behind a line break: a fence and another character."""
# The text of a separate token may lack a space that it has in context; it never has an additional space.
_NEXT_PROMPT = re.compile(INSTRUCTION.replace(" ", " ?"))
_UNINDENTED_LINE = re.compile(rf"{LINE_END}\S")


@dataclass(frozen=True, slots=True)
class Sentinel:
    """The token behind which a model writes the text that replaces the sentinel in its prompt.

    Attributes:
        token: id of the sentinel token.
        special: ids of the special tokens; any of them ends the answer.
    """

    token: int
    special: frozenset[int]

    @classmethod
    def of(cls, template: Template, tokenizer: PreTrainedTokenizerBase) -> "Sentinel | None":
        """The sentinel of a template; None if the template has no sentinel."""
        # CodeT5+ is pretrained to fill a sentinel: without training it writes the sentinel first, then the answer.
        if not template.sentinel:
            return None
        special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        # The token for an unknown character is special, but part of the answer.
        special -= {tokenizer.unk_token_id}
        return cls(tokenizer.get_vocab()[template.sentinel], frozenset(special))

    def answer(self, new: Sequence[int]) -> Sequence[int]:
        """The tokens between the sentinel and the next special token; all tokens if the sentinel is missing."""
        if self.token not in new:
            return new
        behind = new[list(new).index(self.token) + 1 :]
        return behind[: next((place for place, token in enumerate(behind) if token in self.special), None)]


@dataclass(frozen=True, slots=True)
class Continuation:
    """The continuation of a prompt: turns new tokens into a candidate.

    Attributes:
        tokenizer: the model's tokenizer.
        template: decides where a candidate ends.
        end: the last tokens of the prompt.
        prompt: text of the prompt.
        sentinel: the token behind which the answer begins; None if it begins with the first new token.
    """

    tokenizer: PreTrainedTokenizerBase
    template: Template
    end: Anchor
    prompt: str
    sentinel: Sentinel | None = None

    def candidate(self, new: Sequence[int]) -> str:
        """The text of the candidate in these new tokens."""
        return self.template.candidate(self._text(new), self.prompt)

    def is_complete(self, new: Sequence[int]) -> bool:
        """Whether no further token can change the candidate."""
        return self.template.is_complete(self._text(new), self.prompt)

    def _text(self, new: Sequence[int]) -> str:
        answer = new if self.sentinel is None else self.sentinel.answer(new)
        # Decoded with the end of the prompt. Alone, new tokens lose a leading space with CodeLlama's tokenizer: on
        # HumanEval a model that knows the answers fell from 100 % to 0 (`tests/unit/test_by_heart.py`).
        return text_behind(self.end, answer, self.tokenizer)


class CompleteTexts:
    """Decides by its text whether a candidate is complete, by the rule that also cuts the candidate.

    Args:
        continuations: the continuation of each prompt.
        texts: the text of each token, by its id.
    """

    # The stop strings of transformers do not serve: they also match text that begins in the prompt, and they cannot
    # depend on the position in a line.

    def __init__(self, continuations: Sequence[Continuation], texts: Mapping[int, str]) -> None:
        self._continuations = continuations
        self._texts = texts
        self._is_plain = continuations[0].template.form is PromptForm.plain

    def __call__(self, prompts: Sequence[int], new: torch.Tensor) -> torch.Tensor:
        """Whether each candidate is complete.

        Args:
            prompts: index of each prompt among the continuations.
            new: generated tokens, (prompts, candidates, tokens).

        Returns:
            boolean tensor, (prompts, candidates).
        """
        complete = torch.zeros(new.shape[:2], dtype=torch.bool)
        end_tokens = _PLAIN_END_TOKENS if self._is_plain else _END_TOKENS
        for row, tails in enumerate(new[..., -end_tokens:].tolist()):
            continuation = self._continuations[prompts[row]]
            for column, tail in enumerate(tails):
                if self._may_be_complete(tail):
                    complete[row, column] = continuation.is_complete(new[row, column].tolist())
        return complete.to(new.device)

    def _may_be_complete(self, tail: Sequence[int]) -> bool:
        # Decoding the whole sequence at every step would be slow, so this cheap test comes first. It rarely matches:
        # most lines are indented, and few tokens hold the last character of `INSTRUCTION`.
        if self._is_plain and INSTRUCTION[-1] not in self._texts.get(tail[-1], ""):
            return False
        pattern = _NEXT_PROMPT if self._is_plain else _UNINDENTED_LINE
        return bool(pattern.search("".join(self._texts.get(token, "") for token in tail)))


@dataclass(frozen=True, kw_only=True)
class EndSettings:
    """Where candidates end.

    Attributes:
        room: number of tokens of a candidate at most.
        ends: ids of the tokens that end a candidate.
        pad: id that fills a candidate behind its end.
    """

    room: int
    ends: tuple[int, ...]
    pad: int


class CompleteCandidates(StoppingCriteria):
    """`CompleteTexts` for transformers' `generate`.

    Args:
        complete: decides which candidates are complete.
        prompts: number of prompts in the batch.
        width: number of positions of the prompt before the new tokens.
    """

    def __init__(self, complete: CompleteTexts, prompts: int, width: int) -> None:
        self._complete, self._prompts, self._width = complete, prompts, width

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Whether each sequence is complete.

        Args:
            input_ids: token ids, (sequences, tokens): the same number of sequences for each prompt, in the order of
                the prompts.
            scores: unused.
            **kwargs: unused.

        Returns:
            boolean tensor of shape (sequences,).
        """
        new = input_ids[:, self._width :].unflatten(0, (self._prompts, -1))
        return self._complete(range(self._prompts), new).flatten()


def token_texts(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The text of each token when decoded separately, by its id. Special tokens are left out."""
    ids = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    texts = tokenizer.batch_decode([[index] for index in ids], clean_up_tokenization_spaces=False)
    return dict(zip(ids, texts, strict=True))


def newline_tokens(texts: Mapping[int, str]) -> list[int]:
    """Ids of the tokens whose text holds a line break. Each of them ends a candidate of a single line."""
    return [index for index, text in texts.items() if re.search(LINE_END, text)]
