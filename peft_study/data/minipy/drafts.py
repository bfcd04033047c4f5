"""Shared by the families of operations: a draft of a sample, a piece of an operation, and variable names."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

# The order of names and pieces is part of the data set: a draw depends on it.
NUMBER_LISTS = (
    *("nums", "values", "scores", "data", "xs", "ages"),
    *("prices", "marks", "levels", "points", "sizes", "items"),
)
WORD_LISTS = (
    *("words", "names", "tags", "lines", "cities", "labels"),
    *("fruits", "tokens", "keys", "files", "users", "parts"),
)
TEXTS = ("text", "line", "title", "name", "s", "message", "path", "word", "label", "code", "query", "row")
MAPPINGS = (
    *("counts", "stock", "d", "totals", "weights", "config"),
    *("rates", "index", "votes", "limits", "budget", "table"),
)
SCALARS = ("a", "b", "n", "x", "y", "width", "height", "step", "size", "limit", "rate", "offset")
TARGETS = ("result", "out", "total", "answer", "res", "found", "output", "final")
LETTERS = "abcdeglmnoprst"


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of an operation: a filter, a mapping, a reduction, a method.

    Attributes:
        name: of the part; names decide which combinations only the test split has.
        phrases: its wordings, with "{...}" fields that the family fills.
        code: its code, with the same fields.
        weight: how often it is drawn, relative to the other pieces of its kind; 0 keeps it for the test split.
    """

    name: str
    phrases: tuple[str, ...]
    code: str
    weight: int = 40


@dataclass(frozen=True, slots=True)
class Draft:
    """A sample without its id and its checks.

    Attributes:
        instruction: the natural-language intent.
        answer: the code that answers it.
        pieces: the names of its parts, outermost first.
        variables: name and kind ("ints", "words", "text", "mapping", "int") of every variable that the answer reads.
        probe: what to evaluate after the answer; "_" is the value of an answer that is an expression.
    """

    instruction: str
    answer: str
    pieces: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    probe: str = "_"


class Source(Random):
    """A random generator that also holds the weight of pieces of weight 0.

    Attributes:
        unseen_weight: their weight in a draw; 0 never draws them.
    """

    unseen_weight = 0


def draw(rng: Source, pieces: Sequence[Piece]) -> Piece:
    """Draw one piece by weight."""
    return rng.choices(pieces, weights=[piece.weight or rng.unseen_weight for piece in pieces])[0]


def mention(rng: Random, name: str, noun: str) -> str:
    """Name a variable as an intent does: quoted, sometimes after its type."""
    return rng.choice((f"'{name}'", f"'{name}'", f"{noun} '{name}'", f"the {noun} '{name}'"))


def fill(template: str, **fields: object) -> str:
    """Put values into "{...}" fields."""
    # `str.format` would also read the other braces, which belong to the code.
    for name, value in fields.items():
        template = template.replace("{" + name + "}", str(value))
    return template
