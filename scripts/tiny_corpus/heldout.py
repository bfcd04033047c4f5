"""Keep minipy out of the pretraining corpus: its wordings, and its pairings of words with code."""

import re
from collections import defaultdict

from peft_study.data.minipy import SIZES, generate, mappings, sequences, statements, texts
from peft_study.data.minipy.drafts import Piece

STOP = {
    *("the", "of", "in", "a", "and", "it", "them", "is", "are", "to", "on", "at", "by", "with", "from"),
    *("that", "which", "for", "or", "get", "list", "find", "into"),
}
WORD = re.compile(r"[a-z]+")
CODE = re.compile(r"[A-Za-z_]+|\d+|\*\*|//|[<>=!+*/-]=|\S")
COMMON_CODE = frozenset("()[]{}.,:'") | {"n", "w", "k", "v", "for", "in", "if"}
FIELD = re.compile(r"\{[a-z]+\}")


def skeleton(instruction: str) -> str:
    """Remove the values of an instruction: quoted names and numbers."""
    return re.sub(r"\d+", "0", re.sub(r"'[^']*'", "''", instruction))


def minipy_pieces() -> list[Piece]:
    """List every piece of every operation of minipy."""
    pools = [
        value
        for module in (sequences, texts, mappings, statements)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, tuple) and value and isinstance(value[0], Piece)
    ]
    return list({piece.name: piece for pool in pools for piece in pool}.values())


class HeldOut:
    """Refuses a pair with a wording of minipy, or with words of minipy beside minipy's code for them."""

    def __init__(self) -> None:
        self.skeletons = {skeleton(sample.instruction) for split in SIZES for sample in generate(split)}
        self.ties: dict[str, list[tuple[frozenset[str], frozenset[str]]]] = defaultdict(list)
        for piece in minipy_pieces():
            tokens = frozenset(CODE.findall(FIELD.sub(" ", piece.code)))
            code = tokens - COMMON_CODE or tokens
            for phrase in piece.phrases:
                words = frozenset(WORD.findall(FIELD.sub(" ", phrase))) - STOP
                if words and code:
                    self.ties[min(words)].append((words, code))

    def allows(self, instruction: str, answer: str) -> bool:
        """Whether a pair may be in the corpus."""
        if skeleton(instruction) in self.skeletons:
            return False
        words = frozenset(WORD.findall(instruction))
        code: frozenset[str] | None = None
        for word in words & self.ties.keys():
            for tied_words, tied_code in self.ties[word]:
                if tied_words <= words:
                    code = code or frozenset(CODE.findall(answer))
                    if tied_code <= code:
                        return False
        return True
