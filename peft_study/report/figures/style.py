"""Colours and markers, the same in every figure for the same model or method, for print and for the page.

The colours are those of Okabe and Ito (2008, "Color Universal Design"), told apart with every common colour blindness;
markers and hatches tell apart what is printed in grey.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY = "#6E6E6E"
# Instead of their yellow, which a thin line on white does not show.
OCHRE = "#997700"


@dataclass(frozen=True)
class Style:
    """How a series is drawn.

    Attributes:
        colour: "#rrggbb".
        marker: matplotlib's name: o, s, ^, v, D, P, X, *, <, >, p, h.
        hatch: matplotlib's, of bars.
        line: matplotlib's style of a histogram's outline: -, --.
    """

    colour: str
    marker: str
    hatch: str = ""
    line: str = "-"

    @property
    def plotly_symbol(self) -> str:
        """The marker under plotly's name."""
        return PLOTLY_SYMBOLS[self.marker]

    @property
    def plotly_dash(self) -> str:
        """The line's style under plotly's name."""
        return PLOTLY_DASHES[self.line]


PLOTLY_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "v": "triangle-down",
    "D": "diamond",
    "P": "cross",
    "X": "x",
    "*": "star",
    "<": "triangle-left",
    ">": "triangle-right",
    "p": "pentagon",
    "h": "hexagon",
}

PLOTLY_DASHES = {"-": "solid", "--": "dash"}

_LENGTHS = " tokens of "
_LINES_OF_LENGTHS = {"prompt": "-", "answer": "--"}
"""The same for all models, whose colours may look alike in grey."""

_KNOWN = {
    # A model family has one hue, its sizes have markers.
    "codet5p-220m": Style(BLUE, "o"),
    "codet5p-770m": Style(BLUE, "s"),
    "codegen-350m-mono": Style(GREEN, "o"),
    "codegen2-1b": Style(GREEN, "s"),
    "codegen2-3.7b": Style(GREEN, "^"),
    "codegen2-7b": Style(GREEN, "D"),
    "codellama-7b": Style(VERMILION, "o"),
    "codellama-7b-instruct": Style(VERMILION, "s"),
    "codellama-7b-python": Style(VERMILION, "^"),
    "codellama-13b": Style(VERMILION, "D"),
    "codellama-13b-python": Style(VERMILION, "D"),
    "codellama-34b": Style(VERMILION, "P"),
    "codellama-34b-python": Style(VERMILION, "P"),
    "tiny-t5": Style(BLUE, "X"),
    "tiny-codegen": Style(GREEN, "X"),
    "tiny-codegen2": Style(GREEN, "*"),
    "tiny-llama": Style(VERMILION, "X"),
    # Methods, a quantised one with its base's marker turned or filled otherwise.
    "full": Style(BLACK, "s", ""),
    "lora": Style(BLUE, "o", ""),
    "lora+int8": Style(SKY, "^", "//"),
    "lora+nf4": Style(SKY, "v", "xx"),
    "ia3": Style(GREEN, "D", ".."),
    "prompt": Style(ORANGE, "P", "\\\\"),
    "prefix": Style(PURPLE, "X", "++"),
    "zero-shot": Style(GREY, "*", "--"),
    "icl": Style(VERMILION, "<", "oo"),
    "rag": Style(OCHRE, ">", "||"),
    # Data sets.
    "conala": Style(BLUE, "o", ""),
    "codealpacapy": Style(ORANGE, "s", "//"),
    "apps": Style(GREEN, "^", ".."),
    # Lines.
    "limit": Style(BLACK, "o"),
    "pareto": Style(GREY, "o"),
}

_OTHERS = tuple(
    Style(colour, marker, hatch)
    for marker, hatch in (("h", ""), ("p", "//"), ("<", ".."))
    for colour in (PURPLE, ORANGE, SKY, GREY, OCHRE, GREEN, BLUE, VERMILION)
)


def lengths_key(part: str, model: str) -> str:
    """The key of a histogram of lengths in tokens.

    Args:
        part: "prompt" or "answer".
        model: whose tokenizer counted; its colour is that of its other series.
    """
    return f"{part}{_LENGTHS}{model}"


def styles_of(keys: Iterable[str]) -> dict[str, Style]:
    """The style of every key.

    Args:
        keys: of one drawing; those that are not known take what is left, in the order in which they come, and begin
            anew after the 24th.
    """
    found: dict[str, Style] = {}
    others: dict[str, Style] = {}
    for key in keys:
        part, is_lengths, model = key.partition(_LENGTHS)
        name, line = (model, _LINES_OF_LENGTHS.get(part, "-")) if is_lengths else (key, "-")
        style = _KNOWN.get(name) or others.setdefault(name, _OTHERS[len(others) % len(_OTHERS)])
        found[key] = replace(style, line=line)
    return found
