"""What every prompt form has to say."""

from abc import ABC, abstractmethod
from typing import ClassVar

from peft_study.data.samples import Sample


class BaseForm(ABC):
    """One form of prompts: its text, its target, and the candidate in what a model wrote.

    Attributes:
        has_preamble: whether a preamble may stand before the prompt.
    """

    has_preamble: ClassVar[bool] = True

    @abstractmethod
    def around(self, sample: Sample) -> tuple[str, str]:
        """The text before and behind a sample's instruction."""

    @abstractmethod
    def target(self, sample: Sample) -> str:
        """What the model should write after the prompt, without the end-of-sequence token."""

    def ends_early(self, one_line: bool) -> bool:
        """Whether `is_complete` can say that a candidate is complete.

        Args:
            one_line: candidates are one line; generation stops at the token of the line break.
        """
        return True

    # On text and not on tokens: a fence or a line break may be part of several tokens.
    @abstractmethod
    def is_complete(self, generated: str, prompt: str, one_line: bool) -> bool:
        """Whether whatever follows cannot change the candidate.

        Args:
            generated: what the model wrote so far.
            prompt: the text before it.
            one_line: as for `ends_early`.
        """

    @abstractmethod
    def candidate(self, generated: str, prompt: str, one_line: bool) -> str:
        """Cut the candidate out of the generated text.

        Args:
            generated: what the model wrote.
            prompt: the text before it.
            one_line: the candidate is the first line.
        """

    def program(self, candidate: str, sample: Sample) -> str:
        """The whole program that a candidate of a sample, as `candidate` cut it, stands for."""
        return candidate
